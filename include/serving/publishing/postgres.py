"""A day of predictions → rows of a PostgreSQL table, in one transaction with the marker that says so.

The marker, a row of ``<table>__published``, is locked first: who publishes the same day at once waits for it, and then
sees what the other has done. A kill at any point leaves the transaction undone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from include.contracts.publishing import REVISION, ToPostgres
from include.contracts.use_case import UseCase
from include.ingestion.connectors.connections import connection, is_address, is_loopback
from include.ingestion.connectors.database import CONNECT_TIMEOUT, PASSED_ON
from include.serving.publishing.content import Day, State
from include.serving.publishing.errors import TargetAwayError, TargetRefusedError
from include.serving.publishing.target import Outcome

if TYPE_CHECKING:
    import psycopg
    from psycopg.sql import SQL, Composed, Identifier

# Of each kind of column how a table of ours has it, and which kinds hold every value of it as it is.
TYPES: dict[type[pl.DataType], tuple[str, frozenset[str]]] = {
    pl.String: ("text", frozenset(("text", "varchar", "bpchar"))),
    pl.Float64: ("double precision", frozenset(("float8", "numeric"))),
    pl.Float32: ("real", frozenset(("float4", "float8", "numeric"))),
    pl.Int64: ("bigint", frozenset(("int8", "int4", "numeric"))),
    pl.Int32: ("integer", frozenset(("int8", "int4", "numeric"))),
    pl.Int16: ("smallint", frozenset(("int8", "int4", "int2", "numeric"))),
    pl.Int8: ("smallint", frozenset(("int8", "int4", "int2", "numeric"))),
    pl.Boolean: ("boolean", frozenset(("bool",))),
    pl.Date: ("date", frozenset(("date",))),
    pl.Datetime: ("timestamp with time zone", frozenset(("timestamptz", "timestamp"))),
}
MARKER = """
    use_case text NOT NULL, prediction_day date NOT NULL, revision integer NOT NULL, content text NOT NULL,
    rows bigint NOT NULL, changed bigint NOT NULL, gone bigint NOT NULL,
    table_created bigint NOT NULL, table_version bigint NOT NULL,
    published_at timestamp with time zone NOT NULL, PRIMARY KEY (use_case, prediction_day)
"""
COLUMNS = """
    SELECT attname::text, typname::text, format_type(atttypid, atttypmod), attnotnull AND NOT atthasdef
        AND attidentity = ''
    FROM pg_catalog.pg_attribute JOIN pg_catalog.pg_type ON pg_type.oid = atttypid
    WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped
"""
UNIQUE = """
    SELECT array_agg(attname::text ORDER BY attname::text)
    FROM pg_catalog.pg_index JOIN pg_catalog.pg_attribute ON attrelid = indrelid AND attnum = ANY (indkey)
    WHERE indrelid = to_regclass(%s) AND indisunique AND indimmediate AND indpred IS NULL AND indexprs IS NULL
        AND indisvalid
    GROUP BY indexrelid
"""
# By the beginning of what PostgreSQL calls SQLSTATE: what no other try will mend, and what will.
FOR_A_PERSON = {
    "28": "Look at its login and password",
    "3D": "Look at its schema, which is the name of the database",
    "42501": "Give its login the rights that docs/publish-predictions.md names",
    "22": "Make the column of the table wide enough, or mend what is predicted",
    "23": "A constraint of the table refuses what is predicted: take it off, or mend that",
    "42": "Mend the table, or the spec",
    "25006": "It is a replica, which nobody may write to: name the primary",
    "0A": "Mend the table, or the spec",
}
AWAY = {"08", "40", "53", "55", "57", "58"}


class Postgres:
    """A table that is reached."""

    def __init__(self, case: UseCase, target: ToPostgres) -> None:
        self.case, self.target = case, target
        self.where = f"{target.table} by the connection {target.connection}"
        with self._told():
            self.server = connected(target)

    def close(self) -> None:
        self.server.close()

    def send(self, day: Day) -> Outcome:
        import psycopg

        with self._told(day.day), self.server.transaction() as begun:
            outcome = self._send(day)
            if outcome.verb in ("nothing", "newer"):
                raise psycopg.Rollback(begun)
        return outcome

    def _send(self, day: Day) -> Outcome:
        # For this transaction alone: between this machine and the server there may be a pool, which shares sessions.
        self.server.execute("SET LOCAL TIME ZONE 'UTC'; SET LOCAL search_path = pg_catalog")
        self.server.execute(_sql(f"SET LOCAL statement_timeout = '{int(self.target.timeout)}s'"))
        self._make(day)
        columns = self._columns(day)
        self._require_own()
        before = self._locked(day.day)
        if before is None and not day.rows.height:
            return Outcome("nothing")
        revision, content, state, counts = before or (0, "", State(0, -1), (0, 0))
        if state > day.sequence:
            return Outcome("newer", revision)
        if content == day.content:
            if state < day.sequence:  # or an older content than this one could still come after it
                self._mark(day, revision, counts)
            return Outcome("same", revision, day.rows.height, *counts)
        counts = self._replace(day, columns, revision + 1)
        self._mark(day, revision + 1, counts)
        return Outcome("sent", revision + 1, day.rows.height, *counts)

    # --- the tables ---

    @property
    def table(self) -> Identifier:
        from psycopg.sql import Identifier

        return Identifier(*self.target.table.split("."))

    @property
    def marker(self) -> Identifier:
        from psycopg.sql import Identifier

        schema, name = self.target.table.split(".")
        return Identifier(schema, f"{name}__published")

    def _make(self, day: Day) -> None:
        """Make the tables where they are missing."""
        from psycopg.sql import SQL, Identifier

        if all(self._exists(one) for one in (self.table, self.marker)):
            return
        # Two at once: `IF NOT EXISTS` is no lock.
        self.server.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [self.target.table])
        key = SQL(", ").join(map(Identifier, self.case.key))
        made = [
            SQL("{} {}").format(Identifier(name), _sql(type_of(self.case, name, kind)[0]))
            for name, kind in day.rows.schema.items()
            if name in self.case.key or not day.rows[name].is_null().all()
        ]
        made += [SQL("{} integer NOT NULL").format(Identifier(REVISION)), SQL("PRIMARY KEY ({})").format(key)]
        self.server.execute(SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(self.table, SQL(", ").join(made)))
        self.server.execute(SQL("CREATE TABLE IF NOT EXISTS {} ({})").format(self.marker, _sql(MARKER)))

    def _exists(self, table: Identifier) -> bool:
        (found,) = self._row("SELECT to_regclass(%s) IS NOT NULL", [table.as_string()])
        return bool(found)

    def _columns(self, day: Day) -> list[str]:
        """The columns to write, in their order. Raises TargetRefusedError where the table does not fit."""
        found = self.server.execute(COLUMNS, [self.table.as_string()]).fetchall()
        there = {name: (kind, written) for name, kind, written, _ in found}
        rows = day.rows
        # What the table lacks and no row has is a class of another version.
        wanted = [name for name in rows.columns if name in there or name in self.case.key or _has_values(rows, name)]
        kinds: dict[str, pl.DataType] = {name: rows.schema[name] for name in wanted} | {REVISION: pl.Int32()}
        if missing := {name: kind for name, kind in kinds.items() if name not in there}:
            mends = ", ".join(
                f"ADD COLUMN {name} {type_of(self.case, name, kind)[0]}" for name, kind in missing.items()
            )
            raise TargetRefusedError(
                f"{self.where}: it has no column {', '.join(missing)}. Make it: ALTER TABLE {self.target.table} {mends}"
            )
        odd = [
            f"{name} is {there[name][1]} and should be {type_of(self.case, name, kind)[0]}"
            for name, kind in kinds.items()
            if not _holds(type_of(self.case, name, kind)[1], *there[name])
        ]
        if odd:
            raise TargetRefusedError(f"{self.where}: {'; '.join(odd)}: values would not arrive as they are. Alter it")
        if full := [name for name, _, _, is_needed in found if is_needed and name not in kinds]:
            raise TargetRefusedError(
                f"{self.where}: the column {full[0]} must have a value, and predictions have none for it. Give it a "
                "default, or take its NOT NULL off"
            )
        keys = [sorted(one) for (one,) in self.server.execute(UNIQUE, [self.table.as_string()])]
        if sorted(self.case.key) not in keys:
            raise TargetRefusedError(
                f"{self.where}: nothing says that {', '.join(self.case.key)} are unique in it. Make it so: ALTER TABLE "
                f"{self.target.table} ADD UNIQUE ({', '.join(self.case.key)})"
            )
        return wanted

    def _require_own(self) -> None:
        """Raise TargetRefusedError where rows of somebody else are in the table: they would be taken for gone ones."""
        from psycopg.sql import SQL

        others = SQL("SELECT use_case FROM {} WHERE use_case <> %s LIMIT 1").format(self.marker)
        if found := self.server.execute(others, [self.case.name]).fetchone():
            raise TargetRefusedError(
                f"{self.where}: {found[0]} publishes there too, and each would remove the other's rows. Name another "
                "table in one of the specs"
            )
        strange = SQL("SELECT EXISTS (SELECT FROM {}) AND NOT EXISTS (SELECT FROM {})").format(self.table, self.marker)
        (is_strange,) = self._row(strange)
        if is_strange:
            raise TargetRefusedError(
                f"{self.where}: it has rows that were not published by Nocturne, which would be taken for predictions "
                "that are gone. Empty it, or name another table in the spec"
            )

    # --- a day ---

    def _locked(self, day: date) -> tuple[int, str, State, tuple[int, int]] | None:
        """The marker of ``day``, which nobody else changes until this transaction ends; None where there is none."""
        from psycopg.sql import SQL

        made = SQL(
            "INSERT INTO {} VALUES (%s, %s, 0, '', 0, 0, 0, 0, -1, transaction_timestamp()) ON CONFLICT DO NOTHING"
        ).format(self.marker)
        is_new = self.server.execute(made, [self.case.name, day]).rowcount == 1
        asked = SQL(
            "SELECT revision, content, table_created, table_version, changed, gone FROM {} "
            "WHERE use_case = %s AND prediction_day = %s FOR UPDATE"
        ).format(self.marker)
        revision, content, created, version, changed, gone = self._row(asked, [self.case.name, day])
        return None if is_new else (revision, content, State(created, version), (changed, gone))

    def _mark(self, day: Day, revision: int, counts: tuple[int, int]) -> None:
        from psycopg.sql import SQL

        marked = SQL(
            "UPDATE {} SET revision = %s, content = %s, rows = %s, changed = %s, gone = %s, "
            "table_created = %s, table_version = %s, "
            "published_at = transaction_timestamp() WHERE use_case = %s AND prediction_day = %s"
        ).format(self.marker)
        state = day.sequence
        values = [
            revision,
            day.content,
            day.rows.height,
            *counts,
            state.created,
            state.version,
            self.case.name,
            day.day,
        ]
        self.server.execute(marked, values)

    def _replace(self, day: Day, columns: Sequence[str], revision: int) -> tuple[int, int]:
        """Make the rows of ``day`` those of the table. Returns how many are new or changed, and how many are gone."""
        from psycopg.sql import SQL, Identifier, Literal

        names = SQL(", ").join(map(Identifier, columns))
        new = Identifier("_published")
        self.server.execute(SQL("DROP TABLE IF EXISTS pg_temp.{}").format(new))
        self.server.execute(
            SQL("CREATE TEMPORARY TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(
                new, names, self.table
            )
        )
        with self.server.cursor().copy(SQL("COPY {} ({}) FROM STDIN").format(new, names)) as copy:
            for row in day.rows.select(columns).iter_rows():
                copy.write_row(row)
        same_key = _joined(" AND ", "t.{0} = n.{0}", self.case.key)
        gone = self.server.execute(
            SQL("DELETE FROM {} AS t WHERE t.{} = %s AND NOT EXISTS (SELECT FROM {} AS n WHERE {})").format(
                self.table, Identifier(self.case.day), new, same_key
            ),
            [day.day],
        ).rowcount
        others = [name for name in columns if name not in self.case.key]
        changed = self.server.execute(
            SQL(
                "INSERT INTO {table} AS t ({names}, {revision}) SELECT {names}, {number} FROM {new} "
                "ON CONFLICT ({key}) DO UPDATE SET {set}, {revision} = excluded.{revision} "
                "WHERE ({old}) IS DISTINCT FROM ({is_now})"
            ).format(
                table=self.table,
                names=names,
                revision=Identifier(REVISION),
                number=Literal(revision),
                new=new,
                key=SQL(", ").join(map(Identifier, self.case.key)),
                set=_joined(", ", "{0} = excluded.{0}", others),
                old=_joined(", ", "t.{0}", others),
                is_now=_joined(", ", "excluded.{0}", others),
            )
        ).rowcount
        return changed, gone

    def _row(self, query: Any, values: Sequence[Any] = ()) -> tuple[Any, ...]:
        found = self.server.execute(query, values).fetchone()
        if found is None:
            raise TargetAwayError(f"{self.where}: what was there a moment ago is gone")
        return tuple(found)

    @contextmanager
    def _told(self, day: date | None = None) -> Iterator[None]:
        """Errors of PostgreSQL as ours: what it said, where, and what to do."""
        import psycopg

        where = f"{self.where}, {day}" if day else self.where
        try:
            yield
        except psycopg.Error as error:
            state, said = error.sqlstate or "", said_by(error)
            if state[:2] in AWAY and state != "25006":
                raise TargetAwayError(f"{where}: {said}. Nothing of the day was published") from None
            for begin, mends in FOR_A_PERSON.items():
                if state.startswith(begin):
                    raise TargetRefusedError(f"{where}: {said}. {mends}. Nothing of the day was published") from None
            for pattern, mends in AT_LOGIN.items():
                if re.search(pattern, said):
                    raise TargetRefusedError(f"{where}: {said}. {mends}") from None
            raise TargetAwayError(f"{where}: {said}") from None


# What the library says before there is a session, and PostgreSQL's code is not known.
AT_LOGIN = {
    "password authentication failed|no pg_hba.conf entry|role .* does not exist|no password supplied": (
        "Look at its login and password"
    ),
    "database .* does not exist": "Look at its schema, which is the name of the database",
    "SSL|sslmode|certificate": "Look at sslmode and the certificates in its extra",
}


def connected(target: ToPostgres) -> psycopg.Connection:
    """A session of the database. Raises RefusedError, TargetRefusedError, and psycopg's errors."""
    import psycopg

    name, login = target.connection, connection(target.connection)
    host = login.host or ""
    if not (host and login.schema):
        raise TargetRefusedError(f"the connection {name} names no host, or no database as its schema")
    if not is_address(host):
        raise TargetRefusedError(f"the host of the connection {name} is {host[:80]!r}, which is no name and no address")
    extra = login.extra_dejson
    # Elsewhere than on this machine the password and the rows are not sent for everybody to read.
    encrypted = {} if is_loopback(host) else {"sslmode": "require"}
    given: dict[str, Any] = encrypted | {key: str(extra[key]) for key in PASSED_ON if key in extra}
    return psycopg.connect(
        host=host,
        port=login.port or 5432,
        dbname=login.schema,
        user=login.login or "",
        password=login.password or "",
        connect_timeout=CONNECT_TIMEOUT,
        application_name="nocturne",
        autocommit=True,  # a transaction is what `transaction` begins
        prepare_threshold=None,  # a pool would not know what another session has prepared
        **given,
    )


def said_by(error: psycopg.Error) -> str:
    """What PostgreSQL said, in a line, with the column that it was about. Not the row, which may be personal."""
    said = (error.diag.message_primary or str(error).strip().partition("\n")[0]).strip().rstrip(".")
    context = error.diag.context or ""
    if found := re.search(r"COPY \S+, line (\d+), column (\w+)", context):
        said = f"row {found[1]}, column {found[2]}: {said}"
    elif error.diag.column_name:
        said = f"column {error.diag.column_name}: {said}"
    return said


def type_of(case: UseCase, name: str, kind: pl.DataType) -> tuple[str, frozenset[str]]:
    """How a table has a column of ``kind``, and which kinds of PostgreSQL hold it."""
    found = TYPES.get(kind.base_type())
    if found is None:
        raise TargetRefusedError(f"gold.{case.predictions_table}: {name} is {kind}, which PostgreSQL is not given")
    return found


def _holds(kinds: frozenset[str], kind: str, written: str) -> bool:
    # A numeric with a scale would round without a word.
    return kind in kinds and not (kind == "numeric" and "(" in written)


def _has_values(rows: pl.DataFrame, name: str) -> bool:
    return rows[name].null_count() < rows.height


def _sql(text: str) -> SQL:
    from psycopg.sql import SQL

    return SQL(text)


def _joined(between: str, each: str, names: Sequence[str]) -> Composed:
    from psycopg.sql import Identifier

    return _sql(between).join(_sql(each).format(Identifier(name)) for name in names)
