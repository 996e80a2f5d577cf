"""Pages that Airflow's menu opens: model health, lineage of a prediction, quarantine, model cards, and dbt's own.

Everything here asks for Airflow's login and its permission to read assets: what a plugin adds to Airflow's web server
has no login of its own; the figures for Prometheus alone ask for a token instead. A landing file, which may hold what
is personal, asks for the permission to read connections as well: who may see how to log in at an upstream may see what
it sent. Of Airflow's simple roles those are ``op`` and ``admin``. From others the quarantine hides what is personal.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Coroutine
from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_asset, requires_access_connection
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from jinja2 import Environment, PackageLoader, select_autoescape

from include.contracts import naming
from include.core.settings import settings
from include.governance import docs
from include.ingestion.files import UnreadableFileError, opened
from include.ingestion.landing import files_of
from include.local.environment import environment
from include.sources import source, sources
from include.use_cases import unreadable, use_case, use_cases
from include.web import health, judgement, metrics
from include.web.tables import Tables

READ_SECONDS = 120
READERS = 2  # that run at once: each is a process of 220 MiB
QUEUE_SECONDS = 15  # that a further one waits for its turn
# What a reader has said, None where it has failed; and then why.
Read = tuple[dict[str, Any] | None, str]
DRAWN_AT_ONCE = 2
"""Pages of model health: each is read in a thread, which needs the processor and a few megabytes."""
STATIC = {
    "nocturne.css": "text/css",
    "nocturne.js": "text/javascript",
    "uPlot.iife.min.js": "text/javascript",
    "uPlot.min.css": "text/css",
    "uPlot.LICENSE": "text/plain",
}
# Nothing is asked of other servers, and no other site frames the pages.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
        "style-src 'self' 'unsafe-inline'; img-src data:; "
        "font-src data:; connect-src 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
FILES = Path(__file__).parent / "static"
TEXT = ("csv", "jsonl")
MOST_RANGES = 12  # of nights that follow each other, each with a button


def app() -> FastAPI:
    """The pages, each behind the login of the Airflow that mounts them."""
    pages = FastAPI(
        dependencies=[Depends(requires_access_asset("GET"))], docs_url=None, redoc_url=None, openapi_url=None
    )
    pages.exception_handler(HTTPException)(_to_login)
    pages.get("/health")(model_health)
    pages.get("/health/{case_name}")(health_of_case)
    pages.get("/static/{name}")(static)
    pages.get("/dbt")(dbt)
    pages.get("/lineage")(lineage)
    pages.get("/quarantine")(quarantine)
    pages.get("/card")(card)
    # a route of Starlette's: the login that all others ask for is no program's
    pages.add_route("/metrics", metrics.Page(metrics.Figures(components=metrics.of_airflow)).answer, methods=["GET"])
    raw = [Depends(requires_access_connection("GET"))]
    pages.get("/landing/{source_name}/{feed_name}/{name:path}", dependencies=raw)(landing_file)
    pages.state.readers = asyncio.Semaphore(READERS)
    pages.state.drawing = asyncio.Semaphore(DRAWN_AT_ONCE)
    pages.state.tables = Tables()
    return pages


async def _to_login(request: Request, error: HTTPException) -> Response:
    """Who is not logged in is sent to the login where it is a browser that asks; others are told."""
    if error.status_code == 401 and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(get_auth_manager().get_url_login(next_url=str(request.url)), status_code=303)
    return Response(str(error.detail), error.status_code, error.headers, media_type="text/plain")


async def model_health(request: Request) -> Response:
    """Every use case in a line, the worst first. 503 where too many ask at once."""
    tables: Tables = request.app.state.tables
    lines = await _drawn(request, lambda: health.overview(tables, use_cases()))
    return _html(
        "health.html",
        here="health",
        lines=lines,
        summary=judgement.summary_of(lines),
        unreadable=unreadable(),
        spark_nights=health.SPARK_NIGHTS,
    )


async def health_of_case(
    request: Request,
    case_name: str,
    first: Annotated[str, Query(alias="from")] = "",
    last: Annotated[str, Query(alias="to")] = "",
) -> Response:
    """The health of one use case, of the newest nights or of those that are asked for.

    404 for a use case that is none, 400 for nights that are none, 503 where too many ask at once.
    """
    if case_name not in use_cases():
        return _html("message.html", 404, here="health", up="../", message=f"There is no use case {case_name}.")
    try:
        asked = [date.fromisoformat(day) if day else None for day in (first, last)]
        window = health.Window(*asked)
    except ValueError:
        return _html("message.html", 400, here="health", up="../", message="A night is written as 2013-06-01.")
    tables, case = request.app.state.tables, use_case(case_name)
    page = await _drawn(request, lambda: health.page(tables, case, window))
    return _html(
        "health_case.html",
        here="health",
        up="../",
        page=page,
        drawn=health.drawn(page),
        ranges=health.ranges(page["measured"]),
        mlflow=settings().mlflow_link,
    )


def static(name: str) -> Response:
    """A style sheet or a script of the pages, or the licence of one."""
    if name not in STATIC:
        raise HTTPException(404, f"there is no {name}")
    kept = HEADERS | {"Cache-Control": "private, max-age=86400"}  # its address changes with its content
    return Response((FILES / name).read_bytes(), media_type=STATIC[name], headers=kept)


def dbt() -> Response:
    """dbt's pages: models, columns, lineage."""
    page = docs.page()
    if not page.exists():
        return _html("message.html", message="The pages are not there yet: the first run of a night builds them.")
    return HTMLResponse(page.read_bytes(), headers=HEADERS)


async def lineage(
    request: Request, prediction: Annotated[str, Query()] = "", case: Annotated[str, Query()] = "flight_delays"
) -> Response:
    """What a prediction was made of, down to the landing files. 503 where too many ask at once."""
    if case not in use_cases():
        raise HTTPException(404, f"no use case {case}")
    found, problem = None, ""
    if prediction.strip():
        trace = _read("trace", "--json", f"--use-case={case}", f"--prediction={prediction.strip()}")
        found, problem = await _while_wanted(request, _in_turn(request.app.state.readers, trace))
    return _html(
        "lineage.html",
        here="lineage",
        prediction=prediction,
        case=use_case(case),
        cases=sorted(use_cases()),
        found=found,
        problem=problem,
        mlflow=settings().mlflow_link,
        airflow=settings().airflow_link,
    )


async def quarantine(
    request: Request,
    user: GetUserDep,
    source_name: Annotated[str, Query(alias="source")] = "",
    feed_name: Annotated[str, Query(alias="feed")] = "",
    first: Annotated[str, Query(alias="from")] = "",
    last: Annotated[str, Query(alias="to")] = "",
) -> Response:
    """Rows that broke their contract, by night and what is wrong, with samples. 503 where too many ask at once.

    404 for a source or feed that is none, 400 for nights that are none. What is personal is hidden from whoever may
    not open a landing file.
    """
    source_name = source_name or next(iter(sources()))
    if source_name not in sources():
        return _html("message.html", 404, message=f"There is no source {source_name}.")
    feeds = [feed.name for feed in source(source_name).feeds]
    if feed_name and feed_name not in feeds:
        return _html("message.html", 404, message=f"Source {source_name} has no feed {feed_name}.")
    try:
        nights = {name: str(date.fromisoformat(day)) for name, day in (("--from", first), ("--to", last)) if day}
    except ValueError:
        return _html("message.html", 400, message="A night is written as 2013-06-01.")
    shows_all = get_auth_manager().is_authorized_connection(method="GET", user=user)
    options = [f"{name}={value}" for name, value in ({"--feed": feed_name} | nights).items() if value]
    reader = _read("quarantine", f"--source={source_name}", *options, *(["--all"] if shows_all else []))
    found, problem = await _while_wanted(request, _in_turn(request.app.state.readers, reader))
    return _html(
        "quarantine.html",
        here="quarantine",
        asked={"source": source_name, "feed": feed_name, "first": first, "last": last},
        sources=sorted(sources()),
        feeds=feeds,
        found=found,
        problem=problem,
        dag=f"lakehouse_reprocess_{source_name}",
        most_ranges=MOST_RANGES,
    )


async def card(
    request: Request, case: Annotated[str, Query()] = "", version: Annotated[str, Query(pattern=r"^\d{0,9}$")] = ""
) -> Response:
    """The card of a version, or of the champion; without a use case, what there is to choose from."""
    if case and case not in use_cases():
        return _html("message.html", 404, message=f"There is no use case {case}.")
    problem = ""
    if case:
        which = [f"--version={version}"] if version else []
        reader = _read("card", "--json", f"--use-case={case}", *which)
        found, problem = await _while_wanted(request, _in_turn(request.app.state.readers, reader))
        if found is not None:
            return HTMLResponse(found["html"], headers=HEADERS)
    return _html("cards.html", here="card", case=case, version=version, cases=sorted(use_cases()), problem=problem)


async def _drawn[Data](request: Request, read: Callable[[], Data]) -> Data:
    """What ``read`` gives, in a thread, so that Airflow answers others meanwhile; a few at once."""
    return await _in_turn(request.app.state.drawing, asyncio.to_thread(read))


async def _while_wanted(request: Request, work: Coroutine[Any, Any, Read]) -> Read:
    """What ``work`` returns; it is cancelled when the browser goes."""
    answer, gone = asyncio.create_task(work), asyncio.create_task(_gone(request))
    try:
        await asyncio.wait([answer, gone], return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise HTTPException(499, "nobody waits for the answer")
        return answer.result()
    finally:
        answer.cancel()
        gone.cancel()
        await asyncio.wait([answer, gone])


async def _gone(request: Request) -> None:
    """Return when the browser has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _in_turn[Found](turns: asyncio.Semaphore, work: Coroutine[Any, Any, Found]) -> Found:
    """What ``work`` returns, one of so many at once. 503 where its turn does not come within QUEUE_SECONDS."""
    try:
        await asyncio.wait_for(turns.acquire(), QUEUE_SECONDS)
    except BaseException as error:
        work.close()
        if not isinstance(error, TimeoutError):
            raise
        headers = {"Retry-After": str(QUEUE_SECONDS)}
        raise HTTPException(503, "too many pages are asked for at once: try again in a moment", headers) from None
    try:
        return await work
    finally:
        turns.release()


async def _read(command: str, *arguments: str) -> Read:
    """The JSON that a command of ours prints, or what it said instead.

    A process of its own: what it imports would take hundreds of megabytes of the web server for good. It gets none of
    the server's secrets, and ends with the request.
    """
    argv = [sys.executable, "-m", "include.cli", command, *arguments]
    process = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=PIPE, env=environment(settings(), frozenset())
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), READ_SECONDS)
    except TimeoutError:
        return None, f"no answer within {READ_SECONDS} s"
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        return None, (err.decode().strip().splitlines() or ["it failed"])[-1].removeprefix(f"nocturne {command}: ")
    return json.loads(out), ""


def landing_file(source_name: str, feed_name: str, name: str) -> Response:
    """A landing file as it is now; of what several are named like, a list of them.

    It is one of those that the source promises for a day: whatever else a path leads to is not there.
    """
    try:
        feed = source(source_name).feed(feed_name)
    except (KeyError, StopIteration):
        raise HTTPException(404, f"no feed {source_name}/{feed_name}") from None
    said = naming.read(feed.pattern, name)
    files = files_of(source(source_name), feed, said[0]) if said else {}
    if files and said and name == naming.name_of(feed.pattern, said[0]) and not feed.is_one_file:
        depth = name.count("/")
        return _html(
            "files.html",
            up="../" * (depth + 3),
            what=f"{source_name}/{feed_name}/{name}",
            names=list(files),
            folder="../" * depth,
        )
    try:
        file = opened(files[name])
    except (FileNotFoundError, KeyError):
        raise HTTPException(404, f"{source_name}/{feed_name}: no {name} is there") from None
    except UnreadableFileError as error:
        raise HTTPException(404, str(error)) from None

    def pieces() -> Any:
        with file:
            while piece := file.read(1 << 20):
                yield piece

    kind = "text/plain; charset=utf-8" if feed.extension in TEXT else "application/octet-stream"
    return StreamingResponse(pieces(), media_type=kind, headers=HEADERS)


def _html(template: str, status: int = 200, **values: Any) -> HTMLResponse:
    shared = {"up": "", "here": "", "assets": _assets()}
    return HTMLResponse(_templates().get_template(template).render(shared | values), status, headers=HEADERS)


@cache
def _templates() -> Environment:
    return Environment(loader=PackageLoader("include.web", "templates"), autoescape=select_autoescape())


@cache
def _assets() -> str:
    """What the address of a style sheet or script ends with: another content is another address."""
    return hashlib.sha256(b"".join((FILES / name).read_bytes() for name in STATIC)).hexdigest()[:12]
