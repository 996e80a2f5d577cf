"""The SQL endpoint: Arrow's Flight server before DuckDB, with logins, roles, limits and a log.

Clients are those of Flight SQL: Arrow's JDBC driver in DBeaver and others, ADBC in Python, R, Go, Power BI.
"""

from __future__ import annotations

import base64
import binascii
import os
import resource
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.flight as flight

from include.core.errors import NocturneError
from include.core.settings import Settings
from include.serving.sql import engine, protocol
from include.serving.sql.access import LAYERS, Role, RulesError, Table, roles
from include.serving.sql.log import QueryLog
from include.serving.sql.personal import Personal
from include.serving.sql.snapshot import Lake, tables
from include.serving.sql.users import NOBODY, User, users

AT_ONCE = 4
"""So many statements compute at a time, and share the memory; others wait."""
SESSION_SECONDS, SESSIONS = 12 * 3600, 1000
STATEMENT_SECONDS, STATEMENTS = 3600, 1000
"""How long a session, and a statement that was prepared, is kept while nobody uses it; and how many are, at most."""
BESIDES_BYTES = 2 * 2**30
"""What the process may take beside the memory of statements: code, and files that are being read."""


@dataclass
class Session:
    """One login, until it is idle for long or its user is changed or removed."""

    name: str
    user: User
    used: float = field(default_factory=time.monotonic)


class Logins:
    """Who is logged in, by the token that was given out."""

    def __init__(self, log: QueryLog) -> None:
        self.log = log
        self._sessions: dict[str, Session] = {}
        self._lock, self._one_at_a_time = threading.Lock(), threading.Lock()

    def begin(self, header: str) -> str:
        """The token for who brings ``Basic …``. Raises FlightUnauthenticatedError."""
        try:
            padded = header.rstrip("=") + "=" * (-len(header.rstrip("=")) % 4)  # ADBC leaves the padding out
            name, _, password = base64.b64decode(padded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            raise flight.FlightUnauthenticatedError("the login is not understood") from None
        user = users().get(name)
        with self._one_at_a_time:  # each try takes 16 MiB and a core
            known = (user or NOBODY).knows(password)
        if user is None or not known:
            self.log.write("refused", user=name[:63])
            raise flight.FlightUnauthenticatedError("user or password is wrong: `make sql-user` makes another one")
        token, now = secrets.token_urlsafe(32), time.monotonic()
        with self._lock:
            alive = {one: it for one, it in self._sessions.items() if now - it.used < SESSION_SECONDS}
            self._sessions = dict(sorted(alive.items(), key=lambda one: one[1].used)[1 - SESSIONS :])
            self._sessions[token] = Session(name, user)
        self.log.write("login", user=name, role=user.role)
        return token

    def find(self, token: str) -> Session:
        """Whose token this is. Raises FlightUnauthenticatedError."""
        session = self._sessions.get(token)
        if session is None or time.monotonic() - session.used > SESSION_SECONDS:
            raise flight.FlightUnauthenticatedError("a login is missing, or is over: connect again")
        if users().get(session.name) != session.user:
            raise flight.FlightUnauthenticatedError(f"{session.name} has been changed or removed: connect again")
        session.used = time.monotonic()
        return session


class _Caller(flight.ServerMiddleware):
    def __init__(self, session: Session, token: str) -> None:
        self.session, self.token = session, token

    def sending_headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


class _Door(flight.ServerMiddlewareFactory):
    def __init__(self, logins: Logins) -> None:
        self.logins = logins

    def start_call(self, info: flight.CallInfo, headers: Mapping[str, list[str]]) -> _Caller:
        """Lets a call in that brings a login or its token; each call is asked."""
        brought = next((value[0] for name, value in headers.items() if name.lower() == "authorization"), "")
        kind, _, value = str(brought).partition(" ")
        try:
            token = self.logins.begin(value) if kind.lower() == "basic" else value
            return _Caller(self.logins.find(token), token)
        except OSError as error:
            raise flight.FlightUnavailableError(f"nothing is answered, since nothing can be logged: {error}") from None


class _NoHandshake(flight.ServerAuthHandler):
    """The door has asked already, by the header."""

    def authenticate(self, outgoing: Any, incoming: Any) -> None:
        pass

    def is_valid(self, token: bytes) -> bytes:
        return b""


@dataclass
class Statement:
    """What was asked, by whom, and is computed when it is fetched."""

    owner: str
    sql: str
    question: engine.Question
    parameters: list[Any]
    used: float = field(default_factory=time.monotonic)


class Statements:
    """Statements by the handle that their client has for them."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Statement] = {}
        self._lock = threading.Lock()

    def keep(self, statement: Statement) -> bytes:
        handle, now = secrets.token_bytes(16), time.monotonic()
        with self._lock:
            alive = {one: it for one, it in self._kept.items() if now - it.used < STATEMENT_SECONDS}
            self._kept = dict(sorted(alive.items(), key=lambda one: one[1].used)[1 - STATEMENTS :])
            self._kept[handle] = statement
        return handle

    def find(self, handle: bytes, owner: str) -> Statement:
        """Raises FlightServerError where ``owner`` has no such statement."""
        statement = self._kept.get(handle)
        if statement is None or statement.owner != owner:
            raise flight.FlightServerError("there is no such statement, or not any more: ask again")
        statement.used = time.monotonic()
        return statement

    def forget(self, handle: bytes, owner: str) -> None:
        with self._lock, suppress(flight.FlightServerError):
            self.find(handle, owner)
            del self._kept[handle]


@contextmanager
def _told() -> Iterator[None]:
    """Errors as clients of Flight show them: the message, and a status that is not the server's fault."""
    try:
        yield
    except flight.FlightError:
        raise
    except RulesError as error:
        raise flight.FlightUnavailableError(str(error)) from None
    except NocturneError as error:
        raise flight.FlightServerError(str(error)) from None
    except OSError as error:
        raise flight.FlightUnavailableError(f"{error.strerror}: a table, or the log, cannot be reached") from None
    except (pa.ArrowException, LookupError, TypeError, ValueError) as error:
        # what nobody foresaw: Arrow would send the client a traceback of this process
        raise flight.FlightServerError(f"{type(error).__name__}: {str(error)[:500]}") from None


class Endpoint(flight.FlightServerBase):
    """Answers one question at a time of each client, at most ``AT_ONCE`` in all."""

    def __init__(self, settings: Settings, log: QueryLog, lake: Lake, folder: Path) -> None:
        self.lake, self.log, self.folder = lake, log, folder
        self.seconds = settings.sql_seconds
        memory = int(settings.sql_memory_gib * 2**30)
        self.limits = engine.Limits(memory // AT_ONCE, memory, settings.spark_cores)
        self.statements = Statements()
        self._turns = threading.BoundedSemaphore(AT_ONCE)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        super().__init__(
            f"grpc://{host}:{settings.sql_port}",
            auth_handler=_NoHandshake(),
            middleware={"door": _Door(Logins(log))},
        )

    # --- who asks

    @staticmethod
    def _session(context: flight.ServerCallContext) -> Session:
        caller = context.get_middleware("door")
        assert isinstance(caller, _Caller)  # noqa: S101  # no call gets past the door without
        return caller.session

    @staticmethod
    def _role(session: Session) -> Role:
        role = roles().get(session.user.role)
        if role is None:
            raise RulesError(f"{session.name} has the role {session.user.role!r}, which config/sql.toml has no more")
        return role

    # --- Flight

    def get_flight_info(
        self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor
    ) -> flight.FlightInfo:
        """How to fetch the answer to a statement, or to a question of metadata."""
        with _told():
            session, command = self._session(context), bytes(descriptor.command or b"")
            name, asked = protocol.unpacked(command)
            if name == "CommandStatementQuery":
                statement = self._statement(session, asked.query)
                schema, _ = self._schemas(session, statement)
                command = protocol.packed("TicketStatementQuery", handle=self.statements.keep(statement))
            elif name == "CommandPreparedStatementQuery":
                schema, _ = self._schemas(session, self.statements.find(asked.handle, session.name))
            else:
                schema = self._metadata(session, name, asked).schema
        return flight.FlightInfo(schema, descriptor, [flight.FlightEndpoint(command, [])], -1, -1)

    def get_schema(self, context: flight.ServerCallContext, descriptor: flight.FlightDescriptor) -> flight.SchemaResult:
        """The columns of an answer."""
        return flight.SchemaResult(self.get_flight_info(context, descriptor).schema)

    def do_get(self, context: flight.ServerCallContext, ticket: flight.Ticket) -> flight.FlightDataStream:
        """The rows of an answer, as they are computed."""
        with _told():
            session = self._session(context)
            name, asked = protocol.unpacked(ticket.ticket)
            if name not in ("TicketStatementQuery", "CommandPreparedStatementQuery"):
                return flight.RecordBatchStream(self._metadata(session, name, asked))
            statement = self.statements.find(asked.handle, session.name)
            if name == "TicketStatementQuery":
                self.statements.forget(asked.handle, session.name)
        answer = self._answer(session, statement, context)
        schema = next(answer)
        return flight.GeneratorStream(schema, answer)

    def do_action(self, context: flight.ServerCallContext, action: flight.Action) -> list[bytes]:
        """Prepare a statement, or forget it. Everything else would change something."""
        with _told():
            session = self._session(context)
            name, asked = protocol.unpacked(action.body.to_pybytes() if action.body else b"")
            if name == "ActionCreatePreparedStatementRequest":
                statement = self._statement(session, asked.query)
                schema, parameters = self._schemas(session, statement)
                values = {
                    "handle": self.statements.keep(statement),
                    "dataset_schema": schema.serialize().to_pybytes(),
                    "parameter_schema": parameters.serialize().to_pybytes(),
                }
                return [protocol.packed("ActionCreatePreparedStatementResult", **values)]
            if name == "ActionClosePreparedStatementRequest":
                self.statements.forget(asked.handle, session.name)
                return []
            raise protocol.UnknownMessageError(f"{action.type} is not done here: this endpoint answers questions only")

    def do_put(
        self,
        context: flight.ServerCallContext,
        descriptor: flight.FlightDescriptor,
        reader: flight.MetadataRecordBatchReader,
        writer: flight.FlightMetadataWriter,
    ) -> None:
        """Take the values of a prepared statement's parameters, one row. Nothing else is put here."""
        with _told():
            session = self._session(context)
            name, asked = protocol.unpacked(bytes(descriptor.command or b""))
            if name != "CommandPreparedStatementQuery":
                raise protocol.UnknownMessageError("nothing can be changed here: this endpoint answers questions only")
            statement = self.statements.find(asked.handle, session.name)
            given = reader.read_all()
            if given.num_rows != 1:
                raise engine.RefusedError(f"the parameters of one question are one row, and these are {given.num_rows}")
            statement.parameters = [column[0].as_py() for column in given.columns]
            writer.write(pa.py_buffer(protocol.bare("DoPutPreparedStatementResult", handle=asked.handle)))

    # --- what there is

    def _shown(self, session: Session, wanted: Callable[[Table], bool]) -> dict[Table, tuple[int, Any]]:
        return self.lake.shown(self._role(session), [table for table in tables() if wanted(table)])

    def _metadata(self, session: Session, name: str, asked: Any) -> pa.Table:
        if name == "CommandGetSqlInfo":
            return protocol.information(list(asked.info))
        if name == "CommandGetTableTypes":
            return protocol.rows(protocol.TABLE_TYPES, [("TABLE",)])
        if name in protocol.EMPTY:
            return protocol.rows(protocol.EMPTY[name], [])
        if name == "CommandGetCatalogs":
            return protocol.rows(protocol.CATALOGS, [(engine.CATALOGUE,)])
        if name == "CommandGetDbSchemas":
            layers = [one for one in LAYERS if self._is_meant(asked, one)]
            return protocol.rows(protocol.SCHEMAS, [(engine.CATALOGUE, one) for one in sorted(layers)])
        if name == "CommandGetTables":
            return self._tables(session, asked)
        raise protocol.UnknownMessageError(f"{name} is not answered here: this endpoint answers questions only")

    @staticmethod
    def _is_meant(asked: Any, layer: str) -> bool:
        return asked.catalog in ("", engine.CATALOGUE) and protocol.matches(asked.db_schema_filter_pattern, layer)

    def _tables(self, session: Session, asked: Any) -> pa.Table:
        def is_meant(table: Table) -> bool:
            return self._is_meant(asked, table.layer) and protocol.matches(asked.table_name_filter_pattern, table.name)

        is_wanted = not asked.table_types or "TABLE" in asked.table_types
        found = self._shown(session, is_meant) if is_wanted else {}
        lines = [(engine.CATALOGUE, table.layer, table.name, "TABLE") for table in found]
        if not asked.include_schema:
            return protocol.rows(protocol.TABLES, lines)
        columns = [dataset.schema.remove_metadata().serialize().to_pybytes() for _, dataset in found.values()]
        return protocol.rows(
            protocol.WITH_SCHEMA, [(*line, schema) for line, schema in zip(lines, columns, strict=True)]
        )

    # --- statements

    def _statement(self, session: Session, sql: str) -> Statement:
        try:
            question = engine.read(sql)
            parameters = engine.parameters_of(sql)
        except engine.RefusedError as error:
            self.log.write("refused", user=session.name, statement=sql, why=str(error)[:500])
            raise
        return Statement(session.name, sql, question, [None] * len(parameters))

    def _schemas(self, session: Session, statement: Statement) -> tuple[pa.Schema, pa.Schema]:
        """The columns of the answer, and the parameters."""
        found = {table: dataset for table, (_, dataset) in self._shown(session, statement.question.wants).items()}
        with engine.database(found, self.limits, self.folder) as connection:
            try:
                schema = engine.schema_of(engine.asked(connection, statement.sql, statement.parameters))
            except duckdb.Error as error:
                raise engine.RefusedError(str(error)) from None
        return schema, engine.parameters_of(statement.sql)

    def _answer(self, session: Session, statement: Statement, context: flight.ServerCallContext) -> Iterator[Any]:
        """First the schema of the answer, then its batches. Logs how it ended, whichever way."""
        begun, rows, outcome = time.monotonic(), 0, "abandoned"
        what = {"id": secrets.token_hex(8), "user": session.name, "role": session.user.role, "peer": context.peer()}
        found: dict[Table, tuple[int, Any]] = {}
        with _told():
            self.log.write("begun", **what, statement=statement.sql, parameters=len(statement.parameters))
        try:
            with self._turn(begun) as interruptible, _told():
                found = self._shown(session, statement.question.wants)
                datasets = {table: dataset for table, (_, dataset) in found.items()}
                with engine.database(datasets, self.limits, self.folder) as connection:
                    interruptible(connection)
                    answer = engine.asked(connection, statement.sql, statement.parameters)
                    reader = answer.to_arrow_reader(engine.BATCH_ROWS)
                    yield reader.schema
                    for batch in reader:
                        rows += batch.num_rows
                        yield batch
            outcome = "done"
        except GeneratorExit:
            raise
        except BaseException as error:
            outcome = f"failed: {str(error)[:500]}"
            if time.monotonic() - begun >= self.seconds:
                outcome = f"stopped after {self.seconds:g} s"
                raise flight.FlightTimedOutError(
                    f"stopped after {self.seconds:g} s, the most that a statement may take (NOCTURNE_SQL_SECONDS)"
                ) from None
            if isinstance(error, duckdb.OutOfMemoryException):
                raise flight.FlightServerError(f"more memory than a statement may take: {error}") from None
            if isinstance(error, duckdb.Error):
                raise flight.FlightServerError(str(error)) from None
            raise
        finally:
            versions = {str(table): version for table, (version, _) in found.items()}
            with suppress(OSError):
                self.log.write(
                    "ended",
                    **what,
                    outcome=outcome,
                    rows=rows,
                    seconds=round(time.monotonic() - begun, 3),
                    versions=versions,
                )

    @contextmanager
    def _turn(self, begun: float) -> Iterator[Callable[[duckdb.DuckDBPyConnection], None]]:
        """One of the places at which statements compute, until the statement's time is over.

        A client that does not read on cannot be sent away by the server: so its place is given to the next one then.
        Yields what names the database to interrupt. Raises FlightUnavailableError where no place gets free.
        """
        left = self.seconds - (time.monotonic() - begun)
        if not self._turns.acquire(timeout=left):
            raise flight.FlightUnavailableError(f"{AT_ONCE} statements are computed already: try again later")
        running, freed, lock = list[duckdb.DuckDBPyConnection](), threading.Event(), threading.Lock()

        def free() -> None:
            with lock:
                if not freed.is_set():
                    freed.set()
                    self._turns.release()

        def stop() -> None:
            for connection in running:
                connection.interrupt()
            free()

        timer = threading.Timer(max(0, self.seconds - (time.monotonic() - begun)), stop)
        timer.daemon = True
        timer.start()
        try:
            yield running.append
        finally:
            timer.cancel()
            running.clear()
            free()


def give_way(settings: Settings) -> None:
    """Have this process be the first that suffers: nights come before questions."""
    os.nice(10)
    with suppress(OSError):  # not on every system
        Path("/proc/self/oom_score_adj").write_text("800")
    memory = int(settings.sql_memory_gib * 2**30) + BESIDES_BYTES
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))


def serve(settings: Settings) -> int:
    """Answer until a signal comes. Returns the exit code."""
    folder = settings.var / "sql"
    spill = folder / "spill"
    shutil.rmtree(spill, ignore_errors=True)  # of one that was killed
    spill.mkdir(parents=True)
    give_way(settings)
    roles()  # rules that are not understood are told at the start
    personal = Personal(folder)
    personal.known()
    endpoint = Endpoint(settings, QueryLog(settings.log / "sql.jsonl"), Lake(personal), spill)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=endpoint.shutdown).start())
    print(f"nocturne: SQL is answered at {settings.sql_url}", flush=True)
    endpoint.serve()
    return 0
