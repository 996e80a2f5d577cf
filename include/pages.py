"""Pages that Airflow's menu opens: dbt's own, and the way from a prediction back to its landing files.

Everything here asks for Airflow's login and its permission to read assets: what a plugin adds to Airflow's web server
has no login of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.core_api.security import requires_access_asset
from fastapi import Depends, FastAPI, HTTPException, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from jinja2 import Environment, PackageLoader, select_autoescape

from include.lineage import docs
from include.settings import settings
from include.sources import source
from include.sources.files import UnreadableFileError, opened
from include.sources.landing import path_of
from include.use_cases import use_case
from include.use_cases.spec import use_cases

TRACE_SECONDS = 120
# The pages are of one file each: nothing is asked of other servers, and no other site frames them.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; img-src data:; "
        "font-src data:; connect-src 'self'; form-action 'self'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
TEXT = ("csv", "jsonl")


def app() -> FastAPI:
    """The pages, each behind the login of the Airflow that mounts them."""
    pages = FastAPI(
        dependencies=[Depends(requires_access_asset("GET"))], docs_url=None, redoc_url=None, openapi_url=None
    )
    pages.exception_handler(HTTPException)(_to_login)
    pages.get("/dbt")(dbt)
    pages.get("/lineage")(lineage)
    pages.get("/landing/{source_name}/{feed_name}/{day}")(landing_file)
    return pages


async def _to_login(request: Request, error: HTTPException) -> Response:
    """Who is not logged in is sent to the login where it is a browser that asks; others are told."""
    if error.status_code == 401 and "text/html" in request.headers.get("accept", ""):
        return RedirectResponse(get_auth_manager().get_url_login(next_url=str(request.url)), status_code=303)
    return Response(str(error.detail), error.status_code, media_type="text/plain")


def dbt() -> Response:
    """dbt's pages: models, columns, lineage."""
    page = docs.page()
    if not page.exists():
        return _html("message.html", message="The pages are not there yet: the first run of a night builds them.")
    return HTMLResponse(page.read_bytes(), headers=HEADERS)


def lineage(prediction: Annotated[str, Query()] = "", case: Annotated[str, Query()] = "flight_delays") -> Response:
    """What a prediction was made of, down to the landing files."""
    if case not in use_cases():
        raise HTTPException(404, f"no use case {case}")
    found, problem = _traced(prediction.strip(), case) if prediction.strip() else (None, "")
    return _html(
        "lineage.html",
        prediction=prediction,
        case=use_case(case),
        cases=sorted(use_cases()),
        found=found,
        problem=problem,
        mlflow=settings().mlflow_url,
        airflow=settings().airflow_url,
    )


def _traced(prediction: str, case: str) -> tuple[dict[str, Any] | None, str]:
    """The chain as ``python -m include.lineage`` has it, or what it said instead.

    A process of its own: what it imports would take hundreds of megabytes of the web server for good.
    """
    command = [sys.executable, "-m", "include.lineage", "--json", "--use-case", case, "--", prediction]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TRACE_SECONDS)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {TRACE_SECONDS} s"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["it failed"])[-1].removeprefix("trace: ")
    return json.loads(done.stdout), ""


def landing_file(source_name: str, feed_name: str, day: date) -> Response:
    """A landing file as it is now. Named by what a source promises, never by a path."""
    try:
        feed = source(source_name).feed(feed_name)
    except (KeyError, StopIteration):
        raise HTTPException(404, f"no feed {source_name}/{feed_name}") from None
    path = path_of(source(source_name), feed, day)
    try:
        file = opened(path)
    except FileNotFoundError:
        raise HTTPException(404, f"{path} is not there") from None
    except UnreadableFileError as error:
        raise HTTPException(404, str(error)) from None

    def pieces() -> Any:
        with file:
            while piece := file.read(1 << 20):
                yield piece

    kind = "text/plain; charset=utf-8" if feed.extension in TEXT else "application/octet-stream"
    return StreamingResponse(pieces(), media_type=kind, headers=HEADERS)


def _html(template: str, **values: Any) -> HTMLResponse:
    environment = Environment(loader=PackageLoader("include", "templates"), autoescape=select_autoescape())
    return HTMLResponse(environment.get_template(template).render(**values), headers=HEADERS)
