"""The embedded engine behind its door: ``python -m include.local.embedded``, what the service ``spark`` runs then.

Sail (pysail) serves Spark Connect on a TCP port and asks nobody for anything: no token, no Unix socket. So it listens
in a network of its own, which ends with this process and which no other process can reach, and this process stands
before it: it listens where Spark would, asks for the installation's token, and passes on what comes with it.

Sail's catalogue is its session's and begins empty. The door adds the tables of the lake that a request names before it
passes the request on, so that every client finds what it finds on Spark: tasks, dbt, Great Expectations, a person.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
import psutil

from include.local.private_network import NoPrivateNetworkError, enter_private_network, refusal
from include.local.programs import SESSION_SECONDS

LOOPBACK, ENGINE_PORT, DOOR_PORT = "127.0.0.1", 50051, 50052
"""Inside the network of its own, where nobody else can have taken them."""
START_SECONDS = 60
LAYERS = ("bronze", "silver", "gold", "ledger")
SERVICE = "/spark.connect.SparkConnectService/"
NAMING = {SERVICE + "ExecutePlan", SERVICE + "AnalyzePlan"}
"""The calls that can name a table."""
RELEASE, RELEASE_SECONDS = SERVICE + "ReleaseExecute", 0.05
INTERRUPT = SERVICE + "Interrupt"
INTERRUPT_SECONDS, RUNAWAY_SECONDS = 5, 10
"""How long the engine may take to answer an interrupt, and to compute while nobody waits for anything."""
RESTING = 0.1
"""Seconds of a core, in one second, below which it rests: on a busy machine one at work may get only a few tenths."""
# In which field a request says that its client has been answered in this session before.
ANSWERED_BEFORE = {
    SERVICE + name: number
    for name, number in (("ExecutePlan", 8), ("AnalyzePlan", 17), ("Config", 8), ("AddArtifacts", 7))
}

# A night's rows come in messages of megabytes; a connection without calls stays, since there is nobody to dial again.
OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.client_idle_timeout_ms", 2**31 - 1),
]
PR_SET_PDEATHSIG = 1

Metadata = tuple[tuple[str, str | bytes], ...]
Execute = Callable[["Session", str], Awaitable[None]]


def listen(host: str, port: int) -> socket.socket:
    """The socket of the door. Before ``enter_private_network``: it is for those outside."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=64)


# --- what the door reads of a request, and writes itself: a few fields of Spark Connect's messages. Their own classes
# take pandas, 140 MB and seconds to import.


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message that have a length, as (number, content)."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 2:
            length, at = _varint(data, at)
            yield key >> 3, data[at : at + length]
            at += length
        elif key & 7 == 0:
            _, at = _varint(data, at)
        else:
            at += {1: 8, 5: 4}[key & 7]


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def message(*parts: tuple[int, bytes]) -> bytes:
    """A protobuf message of fields that have a length."""
    return b"".join(_number(number << 3 | 2) + _number(len(content)) + content for number, content in parts)


@dataclass(frozen=True)
class Session:
    """Whose session of the engine: its id, and the user as the client's message has it."""

    id: bytes
    user: bytes

    @classmethod
    def of(cls, request: bytes) -> Session:
        """The session that a request of any kind is for."""
        found = dict[int, bytes]()
        for number, content in fields(request):
            if number in (1, 2):
                found.setdefault(number, content)
            if len(found) == 2:
                break
        return cls(found.get(1, b""), found.get(2, b""))

    def statement(self, sql: str) -> bytes:
        """The request that runs one SQL command in this session."""
        query = message((10, message((1, sql.encode()))))  # Relation.sql.query
        command = message((5, message((6, query))))  # Command.sql_command.input
        return message((1, self.id), (2, self.user), (6, str(uuid4()).encode()), (3, message((2, command))))


# --- the catalogue


def tables(lake: Path) -> dict[str, Path]:
    """``<layer>.<name>`` → folder, of every Delta table of the lake."""
    found = {}
    for layer in LAYERS:
        with suppress(FileNotFoundError):
            for one in os.scandir(lake / layer):
                if one.is_dir() and Path(one.path, "_delta_log").is_dir():
                    found[f"{layer}.{one.name}"] = Path(one.path)
    return found


def named(request: bytes, known: dict[str, Path]) -> list[str]:
    """Those of the ``known`` tables whose name occurs in a request, in whichever way it is quoted.

    One too many costs a hundredth of a second; a request that lists tables gets all of them.
    """
    if re.search(rb"(?i)show\s+tables?\b|listTables|\blist_tables", request):
        return list(known)
    return [table for table in known if table.partition(".")[2].encode() in request]


@dataclass
class Catalogue:
    """Which tables of the lake each session of the engine knows."""

    lake: Path
    execute: Execute
    seen: dict[Session, set[str]] = field(default_factory=dict)
    used: dict[Session, float] = field(default_factory=dict)
    locks: dict[Session, asyncio.Lock] = field(default_factory=dict)
    begun: set[Session] = field(default_factory=set)

    async def prepare(self, request: bytes) -> None:
        """Have the session of ``request`` know the tables that it names."""
        session = Session.of(request)
        self._forget_idle(session)
        # Two statements of one session may come at once: the second waits until its tables are there too.
        async with self.locks.setdefault(session, asyncio.Lock()):
            seen = self.seen.get(session)
            if seen is None:
                for layer in LAYERS:
                    await self.execute(session, f"CREATE SCHEMA IF NOT EXISTS {layer} LOCATION '{self.lake / layer}'")
                seen = self.seen.setdefault(session, set())
            there = tables(self.lake)
            for table in named(request, {name: there[name] for name in there.keys() - seen}):
                # One that cannot be read must not keep the others away: the request itself will say what is wrong.
                with suppress(grpc.RpcError):
                    await self.execute(
                        session, f"CREATE TABLE IF NOT EXISTS {table} USING delta LOCATION '{there[table]}'"
                    )
                    seen.add(table)

    def is_lost(self, method: str, request: bytes) -> bool:
        """Whether a client goes on with a session that the engine does not have any more.

        It would get an empty one without a word: without its settings, as the one that dbt makes of ANSI mode.
        """
        session = Session.of(request)
        self._forget_idle(session)
        answered_before = any(number == ANSWERED_BEFORE.get(method) for number, _ in fields(request))
        if session not in self.begun and answered_before:
            return True
        self.begun.add(session)
        return False

    def _forget_idle(self, session: Session) -> None:
        """The engine drops what nobody uses; used again it begins empty."""
        now = time.monotonic()
        for one in [one for one, last in self.used.items() if now - last > SESSION_SECONDS - 60]:
            if one in self.locks and self.locks[one].locked():
                continue
            for kept in (self.seen, self.used, self.locks):
                kept.pop(one, None)
            self.begun.discard(one)
        self.used[session] = now


# --- what nobody waits for


@dataclass
class Runaways:
    """Sees to it that what was interrupted, or whose client is gone, does not go on for ever.

    The engine drops a query between two batches, and a join may have none for hours. Where it computes on although no
    call is there that it could be for, it is ended, and started anew by the supervisor.
    """

    process: psutil.Process
    calls: int = 0
    watch: asyncio.Task[None] | None = None

    def look_out(self) -> None:
        """Something was broken off: watch the engine until it rests."""
        if self.watch is None or self.watch.done():
            self.watch = asyncio.create_task(self._until_it_rests())

    async def _until_it_rests(self) -> None:
        alone = 0
        with suppress(psutil.NoSuchProcess):
            while alone < RUNAWAY_SECONDS:
                before = self._computed()
                await asyncio.sleep(1)
                rests = self._computed() - before < RESTING
                if self.calls == 0 and rests:
                    return
                alone = 0 if self.calls else alone + 1
            self.end("goes on with what nobody waits for")

    def end(self, why: str) -> None:
        """End the engine, and with it the door."""
        print(f"nocturne: the engine {why}: it is started anew", flush=True)
        with suppress(psutil.NoSuchProcess):
            self.process.kill()

    def _computed(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)


# --- the door


class Door(grpc.GenericRpcHandler):
    """Passes every call that brings the token on to the engine, and refuses the others."""

    def __init__(self, engine: grpc.aio.Channel, token: str, catalogue: Catalogue, runaways: Runaways) -> None:
        self.engine, self.token, self.catalogue = engine, f"Bearer {token}", catalogue
        self.runaways = runaways
        self.releasing = dict[tuple[bytes, bytes], bytes]()
        self.tasks = set[asyncio.Task[None]]()

    def service(self, call: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        """What answers ``call``. All are treated as streams both ways, which for others are streams of one."""
        metadata: Metadata = tuple(call.invocation_metadata or ())
        brought = dict(metadata).get("authorization", "")
        brought = brought.decode("latin1") if isinstance(brought, bytes) else brought
        if not secrets.compare_digest(brought.encode(), self.token.encode()):
            return grpc.stream_stream_rpc_method_handler(_refuse)
        method = str(call.method)
        if method == RELEASE:
            return grpc.unary_unary_rpc_method_handler(self._release)
        if method == INTERRUPT:
            return grpc.unary_unary_rpc_method_handler(self._interrupt)

        async def answer(requests: AsyncIterable[bytes], context: Any) -> AsyncIterator[bytes]:
            async for one in self._pass_on(method, metadata, requests, context):
                yield one

        return grpc.stream_stream_rpc_method_handler(answer)

    async def _release(self, request: bytes, context: Any) -> bytes:
        """Answer a client that has read some messages of a result, and tell the engine when there is time.

        A client says so after each message, the last time before it ends, and waits for every answer: of a large result
        thousands. The newest of an operation says all that the earlier ones do.
        """
        said = dict(fields(request))
        key = (said.get(1, b""), said.get(3, b""))
        if key not in self.releasing:
            self.tasks.add(task := asyncio.create_task(self._release_newest(key)))
            task.add_done_callback(self.tasks.discard)
        self.releasing[key] = request
        return message((1, key[0]), (2, key[1]))

    async def _interrupt(self, request: bytes, context: Any) -> bytes:
        """Have the engine drop a query. With joins on all of its threads it does not even hear that."""
        try:
            answer: bytes = await self.engine.unary_unary(INTERRUPT)(request, timeout=INTERRUPT_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                self.runaways.end("does not hear an interrupt")
            await context.abort(error.code(), error.details() or "")
        self.runaways.look_out()
        return answer

    async def _release_newest(self, key: tuple[bytes, bytes]) -> None:
        await asyncio.sleep(RELEASE_SECONDS)
        with suppress(grpc.RpcError):  # a session that is gone has released everything
            await self.engine.unary_unary(RELEASE)(self.releasing.pop(key))

    async def _pass_on(
        self, method: str, metadata: Metadata, requests: AsyncIterable[bytes], context: Any
    ) -> AsyncIterator[bytes]:
        async def prepared() -> AsyncIterator[bytes]:
            request = first
            while request is not None:
                if method in NAMING:
                    await self.catalogue.prepare(request)
                yield request
                request = await anext(several, None)

        several = aiter(requests)
        first = await anext(several, None)
        if first is not None and method in ANSWERED_BEFORE and self.catalogue.is_lost(method, first):
            lost = (
                "[INVALID_HANDLE.SESSION_NOT_FOUND] the engine was started anew, or nobody used the session for an hour"
            )
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, lost)
        kept = [(name, value) for name, value in metadata if name not in ("authorization", "user-agent")]
        call = self.engine.stream_stream(method)(prepared(), metadata=kept, timeout=context.time_remaining())
        ended = False
        self.runaways.calls += 1
        try:
            async for answer in call:
                yield answer
            ended = True
            code, details = await call.code(), await call.details()
        except grpc.aio.AioRpcError as error:
            code, details = error.code(), error.details()
        finally:
            call.cancel()  # whoever asked has gone; no matter where it is through
            self.runaways.calls -= 1
            if not ended:
                self.runaways.look_out()
        if code != grpc.StatusCode.OK:
            await context.abort(code, details or "", tuple(await call.trailing_metadata() or ()))


async def _refuse(requests: AsyncIterable[bytes], context: Any) -> AsyncIterator[bytes]:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token of this installation is missing or wrong")
    yield b""  # never: it makes this a stream


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _connect_through(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """From the network outside into the own one: gRPC takes no socket that is open already."""
    try:
        inner_reader, inner_writer = await asyncio.open_connection(LOOPBACK, DOOR_PORT)
    except OSError:
        writer.close()
        return
    await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))


async def serve(listener: socket.socket, token: str, lake: Path, engine: asyncio.subprocess.Process) -> int:
    """Stand before the engine until it ends, and return its exit code."""
    channel = grpc.aio.insecure_channel(f"{LOOPBACK}:{ENGINE_PORT}", options=OPTIONS)

    async def execute(session: Session, sql: str) -> None:
        async for _ in channel.unary_stream(SERVICE + "ExecutePlan")(session.statement(sql)):
            pass

    ended = asyncio.ensure_future(engine.wait())
    ready = asyncio.ensure_future(channel.channel_ready())
    await asyncio.wait({ended, ready}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        print("nocturne: the embedded engine did not start", flush=True)
        return 1
    server = grpc.aio.server(options=OPTIONS)
    door = Door(channel, token, Catalogue(lake, execute), Runaways(psutil.Process(engine.pid)))
    server.add_generic_rpc_handlers((door,))
    server.add_insecure_port(f"{LOOPBACK}:{DOOR_PORT}")
    await server.start()
    front = await asyncio.start_server(_connect_through, sock=listener)
    print("nocturne: the embedded engine is up", flush=True)
    code = await ended
    front.close()
    return code


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


async def run(listener: socket.socket, token: str, lake: Path, environment: dict[str, str]) -> int:
    """Start the engine and serve it; both end together."""
    argv = [sys.executable, "-m", "pysail", "spark", "server", "--ip", LOOPBACK, "--port", str(ENGINE_PORT)]
    engine = await asyncio.create_subprocess_exec(*argv, env=environment, preexec_fn=_end_with_parent)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, engine.terminate)
    try:
        return await serve(listener, token, lake, engine)
    finally:
        with suppress(ProcessLookupError):
            engine.kill()


def main() -> int:
    from include.core.settings import settings
    from include.local.checks import no_private_network
    from include.local.environment import SPARK_TOKEN
    from include.local.launch import GIVEN_UP

    here, environment = settings(), dict(os.environ)
    token = environment.pop(SPARK_TOKEN)
    listener = listen(here.host, here.spark_port)
    # Tried by another process first: one that has half entered such a network cannot go back.
    if here.container and (reason := refusal()):
        print(f"nocturne: the engine shares the network of this container with the services: {reason}", flush=True)
    else:
        try:
            enter_private_network()
        except NoPrivateNetworkError as error:
            # Without it any user of this machine could do all that the services can: not even loopback is ours.
            print(f"nocturne: {no_private_network(str(error))}", flush=True)
            return GIVEN_UP
    return asyncio.run(run(listener, token, Path(str(here.lake)), environment))


if __name__ == "__main__":
    sys.exit(main())
