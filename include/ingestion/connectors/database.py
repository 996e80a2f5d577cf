"""A PostgreSQL table → Parquet, read by Spark over JDBC."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from include.contracts.connectors import Database
from include.contracts.source import Feed, Mode, Source
from include.core.storage import for_spark, remove
from include.ingestion.connectors.connections import connection, is_address, is_loopback
from include.ingestion.connectors.errors import RefusedError, UpstreamError
from include.lake import spark as lake

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from pyspark.sql import DataFrame, DataFrameReader, SparkSession
    from upath import UPath

log = logging.getLogger(__name__)

CONNECT_TIMEOUT = 10  # seconds
# What of a connection's extra the driver is told.
PASSED_ON = ("sslmode", "sslrootcert", "sslcert", "sslkey")

# Of each column of a table the short name of its type, and how a person would write it.
Kinds = dict[str, tuple[str, str]]
MOMENTS = ("date", "timestamp", "timestamptz")
# How the columns of some types are asked for, so that each value arrives, or breaks its own row and no other.
ASKED = {
    # Spark would round it to the 18 digits behind the point of a type of its own, and the driver reads no NaN. A number
    # that no double can be becomes NaN, which the contract has no place for.
    "numeric": (
        "CASE WHEN abs({0}) BETWEEN 5e-324 AND 1.7976931348623157e308 OR {0} = 0 "
        "OR {0}::text IN ('NaN', 'Infinity', '-Infinity') THEN {0}::float8 WHEN {0} IS NOT NULL THEN 'NaN' END"
    ),
    "bpchar": "{0}::text",  # without the blanks that fill a char(n) up, which mean nothing in SQL
    # Infinity is no time that Spark knows. What it becomes is outside of the years that the contract takes.
    **dict.fromkeys(
        MOMENTS, "CASE WHEN {0} > '9999-12-31' THEN '9999-12-31' WHEN {0} < '0002-01-01' THEN '0002-01-01' ELSE {0} END"
    ),
}
SETTLE_STEP = 1.0  # seconds between two looks
# What is open in the database now, and as of when it is. Anybody may ask all of it.
STATE = """
    WITH RECURSIVE parts(oid) AS (
        SELECT pg_catalog.to_regclass('{table}')::oid
        UNION ALL SELECT inhrelid FROM pg_catalog.pg_inherits JOIN parts ON inhparent = oid
    ) SELECT
        (
            SELECT string_agg(transactionid::text, ' ')
            FROM pg_catalog.pg_locks LEFT JOIN pg_catalog.pg_stat_activity USING (pid)
            WHERE locktype = 'transactionid' AND mode = 'ExclusiveLock' AND pid IS DISTINCT FROM pg_backend_pid()
                AND coalesce(datname = current_database(), true)
        ) AS open,
        EXISTS (
            SELECT FROM pg_catalog.pg_locks
            WHERE relation IN (SELECT oid FROM parts) AND granted AND pid <> pg_backend_pid()
                AND mode IN ('RowExclusiveLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock')
        ) AS writers,
        state.replica,
        CASE WHEN NOT state.replica OR state.current THEN statement_timestamp()
        ELSE coalesce(pg_last_xact_replay_timestamp(), 'epoch') END AT TIME ZONE 'UTC' AS now
    FROM (SELECT
        pg_is_in_recovery() AS replica,
        pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn()
            AND EXISTS (SELECT FROM pg_catalog.pg_stat_wal_receiver) AS current
    ) AS state
"""
CUT_BY = {"int2", "int4", "int8", "numeric", "date", "timestamptz"}

# What the database says that no other try will mend, and what will.
FOR_A_PERSON = {
    "password authentication failed|no pg_hba.conf entry|role .* does not exist": "Look at its login and password",
    "database .* does not exist": "Look at its schema, which is the name of the database",
    "row-level security": "A policy hides rows from its login. Give it BYPASSRLS, or read a view of what it may see",
    "permission denied": "Give its login the right to read it",
    "SSL|sslmode|[Cc]ertificate": "Look at sslmode and the certificates in its extra",
    "does not exist|Bad value for type|out of range|invalid input syntax": "Mend the spec, or the table",
    "ClassNotFoundException|No suitable driver": "Spark lacks the driver: make setup, then make down up",
}


def fetch(connector: Database, source: Source, feed: Feed, day: date, part: UPath) -> bool:
    """Write the rows of ``day`` to ``part``, in the order of their key. Returns whether the night has a file."""
    spark, login = (
        lake.apache_spark("the connector of databases"),
        options_of(connector, connection(connector.connection)),
    )
    with told(connector):
        there = kinds(spark, login, connector)
        check(connector, feed, there)
        settle(spark, login, connector, source.ends(feed.night(day)))
        night = night_of(connector, source, day, there)
        rows, bounds = look(spark, login, connector, night)
        if not rows and feed.mode is not Mode.UPSERT:
            return False
        # One part is a statement, which sees one moment. Of several each sees its own: nothing may change in between.
        in_parts = bool(connector.partition and bounds)
        before = content(spark, login, feed, night) if in_parts else ""
        written = write(read(spark, login, connector, feed, night, bounds, there), feed, part)
        if written != rows:
            raise UpstreamError(
                f"{connector.table} {day}: {rows} rows were there and {written} came, it has changed in between"
            )
        if in_parts and content(spark, login, feed, night) != before:
            raise UpstreamError(f"{connector.table} {day}: it has changed while its parts were read")
    log.info("%s %s: %d rows", connector.table, day, rows)
    return True


def options_of(connector: Database, login: Connection) -> dict[str, str]:
    """How to reach the database and log in, in Spark's words.

    Nothing in a connection but what is named here becomes an option of the driver, some of which load code.
    """
    name, host = connector.connection, login.host or ""
    if not (host and login.schema):
        raise RefusedError(f"the connection {name} names no host, or no database as its schema")
    if not is_address(host):
        raise RefusedError(
            f"the host of the connection {name} is {host[:80]!r}, which is no name and no address of one"
        )
    at = f"[{host}]" if ":" in host else host
    extra = login.extra_dejson
    # Elsewhere than on this machine the password and the rows are not sent for everybody to read.
    encrypted = {} if is_loopback(host) else {"sslmode": "require"}
    passed_on = {key: str(extra[key]) for key in PASSED_ON if key in extra}
    return {
        "url": f"jdbc:postgresql://{at}:{login.port or 5432}/{quote(login.schema, safe='')}",
        "driver": "org.postgresql.Driver",
        "user": login.login or "",
        "password": login.password or "",
        "fetchsize": str(connector.fetch_size),
        "connectTimeout": str(CONNECT_TIMEOUT),
        "socketTimeout": str(connector.timeout),
        # What a time without a zone means. And a policy that hides rows from this login is an error, not fewer rows.
        "sessionInitStatement": "SET TIME ZONE 'UTC'; SET row_security = off",
        "preferTimestampNTZ": "true",
        **encrypted,
        **passed_on,
    }


@contextmanager
def told(connector: Database) -> Iterator[None]:
    """Errors of Spark and of the driver as ours: what the database said, by which connection, and what to do."""
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    try:
        yield
    except (PySparkException, Py4JError) as error:
        said, where = cause(error), f"{connector.table} by the connection {connector.connection}"
        for pattern, mends in FOR_A_PERSON.items():
            if re.search(pattern, said):
                raise RefusedError(f"{where}: {said}. {mends}") from None
        raise UpstreamError(f"{where}: {said}") from None


def cause(error: Exception) -> str:
    """What the driver said, in a line, which Spark tells only behind a message of its own."""
    # Spark Connect brings the causes with its stack trace, a Spark in this process with its description.
    stack = getattr(error, "_stacktrace", None) or getattr(error, "_stackTrace", None) or ""
    text = f"{error}\n{stack}"
    found = re.findall(r"org\.postgresql\.util\.PSQLException: (.+)", text) or re.findall(r"(?:ERROR|FATAL): .+", text)
    found += re.findall(r"(?:ClassNotFoundException|SQLException): .+", text)
    return str((found or [str(error).strip().partition("\n")[0]])[0]).strip().rstrip(".")


def kinds(spark: SparkSession, login: dict[str, str], connector: Database) -> Kinds:
    """The columns of the table and their types; of a domain that is the type that it stands for."""
    # As a text of the query, in which quotes are doubled.
    name = table(connector).replace("'", "''")
    rows = ask(
        spark,
        login,
        f"""WITH RECURSIVE base(place, name, type, modifier) AS (
            SELECT attnum, attname, atttypid, atttypmod FROM pg_catalog.pg_attribute
            WHERE attrelid = pg_catalog.to_regclass('{name}') AND attnum > 0 AND NOT attisdropped
            UNION ALL
            SELECT place, name, typbasetype, typtypmod FROM base JOIN pg_catalog.pg_type ON oid = type
            WHERE typtype = 'd'
        ) SELECT name::text, typname::text AS kind, format_type(type, modifier) AS written
        FROM base JOIN pg_catalog.pg_type ON oid = type WHERE typtype <> 'd' ORDER BY place""",  # noqa: S608
    )
    return {row["name"]: (row["kind"], row["written"]) for row in rows.load().collect()}


def check(connector: Database, feed: Feed, there: Kinds) -> None:
    """Raise RefusedError where the table is not there, lacks a column, or has one of a type that cannot be taken."""
    where = f"{connector.table} by the connection {connector.connection}"
    if not there:
        raise RefusedError(f"{where}: there is no such table, or its login may not see it. It is named schema.table")
    named = [*(column.name for column in feed.columns), connector.watermark, connector.partition]
    if missing := sorted({name for name in named if name and name not in there}):
        raise RefusedError(f"{where}: no column {', '.join(missing)}. It has {', '.join(there)[:300]}")
    problems = [
        f"column {column.name} is {there[column.name][1]}, which is no {column.type}: {mends}"
        for column in feed.columns
        for mends in [unfit(column.type, there[column.name][0])]
        if mends
    ]
    for name, fit, what in (
        (connector.watermark, MOMENTS, "watermark, which is a date or a timestamp"),
        (connector.partition, CUT_BY, "partition, which is a whole number, a date, or a timestamp with time zone"),
    ):
        if name and there[name][0] not in fit:
            problems.append(f"column {name} is {there[name][1]}, which is no {what}")
    if problems:
        raise RefusedError(f"{where}: {'; '.join(problems)}")


def unfit(promised: str, kind: str) -> str:
    """What to do where a column of ``kind`` would arrive as something else than it is; empty where it would not.

    Another type than promised is else seen in the file, as any file's is.
    """
    if kind == "numeric" and promised != "double" and not promised.startswith("decimal"):
        return "promise a double or a decimal, or read a view that casts it"
    if "<" in promised:
        return "promise a string, which holds it as JSON: what a database brings is flat"
    if kind in ("time", "timetz") and promised == "timestamp":
        return "promise a string, and read a view that casts it to text"
    return ""


def settle(spark: SparkSession, login: dict[str, str], connector: Database, ends: datetime) -> None:
    """Wait until no row of a night that is over at ``ends`` can come any more.

    A row has the time at which its transaction began, or an earlier one, and others see it when that has committed:
    after the night was read it would be in no night. So what is open now is waited for, ``connector.settle`` seconds at
    most, for it may have nothing to do with this table; what has written to the table is not passed over. And a replica
    must have heard of all that was committed by then, after the end of the night. Raises UpstreamError.
    """
    until, first = time.monotonic() + connector.settle, None
    while True:
        (now,) = ask(spark, login, STATE.format(table=table(connector).replace("'", "''"))).load().collect()
        there = set((now["open"] or "").split())
        first = there if first is None else first
        # A replica does not say what is open on its primary.
        heard = ends + timedelta(seconds=connector.settle if now["replica"] else 0)
        early, pending = now["now"].replace(tzinfo=UTC) < heard, first & there
        if not early and not pending:
            return
        if time.monotonic() >= until:
            break
        time.sleep(SETTLE_STEP)
    if early:
        raise UpstreamError(
            f"{connector.table}: what is there is of {now['now']:%Y-%m-%d %H:%M:%S} UTC, and the night ended at "
            f"{ends:%Y-%m-%d %H:%M:%S}: a replica that lags behind, or a clock that is slow"
        )
    if now["writers"]:
        raise UpstreamError(
            f"{connector.table}: a transaction that has written to it is still open after {connector.settle:g} s: its "
            "rows would be in no night"
        )
    log.info("%s is read beside open transactions, none of which has written to it", connector.table)


def look(
    spark: SparkSession, login: dict[str, str], connector: Database, night: str
) -> tuple[int, tuple[str, str] | None]:
    """How many rows the night has, and the first and last value of the partition column, where it has one."""
    column = quoted(connector.partition) if connector.partition else "NULL"
    what = f"count(*) AS rows, min({column})::text AS low, max({column})::text AS high"
    (found,) = ask(spark, login, f"SELECT {what} {night}").load().collect()
    bounds = (found["low"], found["high"]) if found["low"] is not None else None
    return found["rows"], connector.bounds or bounds


def read(
    spark: SparkSession,
    login: dict[str, str],
    connector: Database,
    feed: Feed,
    night: str,
    bounds: tuple[str, str] | None,
    there: Kinds,
) -> DataFrame:
    """The night's rows. The bounds say where to cut them into parts; rows outside of them are in the outer parts."""
    names = [column.name for column in feed.columns]
    # As a text it keeps every digit, and what no decimal can be breaks its row.
    exact = {column.name for column in feed.columns if column.kind == "decimal"}
    asked = dict.fromkeys([*names, *filter(None, [connector.partition])])
    ways = {name: "{0}::text" if name in exact else ASKED.get(there[name][0], "{0}") for name in asked}
    values = ", ".join(f"{way.format(quoted(name))} AS {quoted(name)}" for name, way in ways.items())
    rows = ask(spark, login, f"SELECT {values} {night}")
    if connector.partition and bounds:
        rows = rows.options(
            partitionColumn=connector.partition,
            lowerBound=bounds[0],
            upperBound=bounds[1],
            numPartitions=connector.partitions,
        )
    return rows.load().select(*map(escaped, names))


def content(spark: SparkSession, login: dict[str, str], feed: Feed, night: str) -> str:
    """A sum of the night's rows: equal before and after a reading, nothing has changed in between."""
    names = ", ".join(quoted(column.name) for column in feed.columns)
    what = f"coalesce(sum(hashtextextended(ROW({names})::text, 0)), 0)::text AS content"
    (found,) = ask(spark, login, f"SELECT {what} {night}").load().collect()
    return str(found["content"])


def write(rows: DataFrame, feed: Feed, part: UPath) -> int:
    """Write ``rows`` as the one file ``part`` and return how many they are. The same rows make the same file."""
    import pyarrow.parquet

    folder = part.with_name(f"{part.stem}.spark.part")  # Spark writes folders
    try:
        order = map(escaped, feed.unique or rows.columns)
        rows.repartition(1).sortWithinPartitions(*order).write.parquet(for_spark(folder))
        (file,) = folder.glob("part-*.parquet")
        file.replace(part)
    finally:
        remove(folder)
    with part.open("rb") as written:
        return int(pyarrow.parquet.read_metadata(written).num_rows)


def ask(spark: SparkSession, login: dict[str, str], query: str) -> DataFrameReader:
    """A reader of what ``query`` brings."""
    return spark.read.format("jdbc").options(**login, dbtable=f"({query}) AS night")


def night_of(connector: Database, source: Source, day: date, there: Kinds) -> str:
    """Where the rows of ``day`` are: the business day of its source, or the date that a column without a zone has."""
    column, first, last = quoted(connector.watermark), str(day), str(day + timedelta(1))
    if there[connector.watermark][0] == "timestamptz":
        first, last = source.ends(day - timedelta(1)).isoformat(), source.ends(day).isoformat()
    # The bounds have no type of their own: they take that of the column.
    return f"FROM {table(connector)} WHERE {column} >= '{first}' AND {column} < '{last}'"


def table(connector: Database) -> str:
    """The table's name as SQL has it, whatever is in it."""
    return ".".join(map(quoted, connector.table.split(".")))


def quoted(name: str) -> str:
    """``name`` as an identifier of SQL, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def escaped(name: str) -> str:
    """``name`` as a column of Spark, whatever is in it."""
    return "`" + name.replace("`", "``") + "`"
