"""A JSON API with pages → JSON lines. What looks like the whole answer and is not, is refused."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from include.sources.connectors import Cursor, Http, lines
from include.sources.connectors.connections import connection
from include.sources.connectors.errors import RefusedError, UpstreamError
from include.sources.spec import Feed, Mode, Source

if TYPE_CHECKING:
    import httpx
    from airflow.sdk import Connection
    from tenacity import RetryCallState
    from upath import UPath

log = logging.getLogger(__name__)

PASSING = {408, 425, 429, 500, 502, 503, 504}
LARGEST_PAGE = 64 << 20  # bytes; a page is held in memory
LONGEST_WAIT = 60.0  # seconds between two tries, where the API does not ask for more

Row = dict[str, Any]


class PassingError(UpstreamError):
    """A page that another try, a little later, may bring. ``after``: seconds that the API asks to wait first."""

    def __init__(self, message: str, after: float = 0) -> None:
        super().__init__(message)
        self.after = after


def fetch(connector: Http, source: Source, feed: Feed, day: date, part: UPath) -> bool:
    """Write the rows of ``day`` to ``part``. Returns whether the night has a file."""
    with client(connector, connection(connector.connection)) as api:
        found = (row for page in pages(api, connector, day) for row in page)
        rows = lines.write(part, feed.gzip, (json.dumps(row, allow_nan=False) for row in found))
    return rows > 0 or feed.mode is Mode.UPSERT


def client(connector: Http, login: Connection) -> httpx.Client:
    """A client of the API that ``login`` describes. Redirects are not followed: they would take the token along."""
    import httpx

    host = login.host or ""
    base = httpx.URL(host if "://" in host else f"{login.schema or 'https'}://{host}")
    if login.port:
        base = base.copy_with(port=login.port)
    headers = {"Accept": "application/json"}
    basic = httpx.BasicAuth(login.login, login.password or "") if login.login else None
    if login.password and not basic:
        name, _, value = connector.authorization.partition(":")
        headers[name] = value.strip().format(token=login.password)
    return httpx.Client(base_url=base, headers=headers, auth=basic, timeout=connector.timeout)


def pages(api: httpx.Client, connector: Http, day: date) -> Iterator[list[Row]]:
    """The pages of ``day``, each its rows. Raises UpstreamError or RefusedError for what cannot be the whole answer."""
    path = connector.path.format(day=day, next_day=day + timedelta(1))
    query: dict[str, Any] = {connector.size_parameter: connector.size} if connector.size_parameter else {}
    if not isinstance(connector.paging, Cursor):
        query[connector.paging.parameter] = connector.paging.first
    seen: dict[bytes, int] = {}
    asked: set[str] = set()
    rows, last = 0, 0.0
    for number in range(1, connector.most_pages + 1):
        time.sleep(max(0.0, last + 1 / connector.per_second - time.monotonic()))
        last = time.monotonic()
        page = ask(api, connector, path, query)
        found = rows_of(connector, page, number)
        rows += len(found)
        digest = sha256(json.dumps(found).encode()).digest()
        if found and seen.setdefault(digest, number) != number:
            raise UpstreamError(f"{path}: page {number} has the same rows as page {seen[digest]}")
        yield found
        total = page.get(connector.total) if connector.total and isinstance(page, dict) else None
        if isinstance(connector.paging, Cursor):
            cursor = page.get(connector.paging.key) if isinstance(page, dict) else None
            ended = cursor is None or cursor is False or cursor == ""
            if not ended and str(cursor) in asked:
                raise UpstreamError(f"{path}: page {number} names a page that was there before: {cursor!r}")
            asked.add(str(cursor))
            query[connector.paging.parameter] = cursor
        else:
            ended = not found or rows == total
            query[connector.paging.parameter] = connector.paging.first + number
        if ended:
            return check_total(connector, path, total, rows)
    raise RefusedError(f"{path}: more than {connector.most_pages} pages. Raise most_pages, if that is right")


def check_total(connector: Http, path: str, total: Any, rows: int) -> None:
    """The rows that came must be those that the API says there are."""
    if connector.total and total != rows:
        raise UpstreamError(f"{path}: {connector.total} is {total!r} and {rows} rows came")


def rows_of(connector: Http, page: Any, number: int) -> list[Row]:
    """The rows of a page, without the keys that are not wanted."""
    found = page if not connector.rows else page.get(connector.rows) if isinstance(page, dict) else None
    if not isinstance(found, list) or not all(isinstance(row, dict) for row in found):
        where = f"under {connector.rows!r}" if connector.rows else "as a whole"
        keys = ", ".join(sorted(page)[:10]) if isinstance(page, dict) else type(page).__name__
        raise RefusedError(f"{connector.path}: page {number} is no list of objects {where}; it has: {keys}")
    return [{key: value for key, value in row.items() if key not in connector.unwanted} for row in found]


def ask(api: httpx.Client, connector: Http, path: str, query: dict[str, Any]) -> Any:
    """One page, tried again while that may help, with waits that double and are drawn by chance."""
    import httpx
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    by_chance = wait_random_exponential(multiplier=connector.backoff, max=LONGEST_WAIT)

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.after if isinstance(error, PassingError) else 0.0
        # Chance is added to what was asked for, so that many who were told the same do not come back together.
        return asked + by_chance(state)

    def say(state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("%s; try %d in %.1f s", error, state.attempt_number + 1, state.upcoming_sleep)

    url = httpx.URL(path).copy_merge_params(query)
    return Retrying(
        retry=retry_if_exception_type(PassingError),
        wait=wait,
        stop=stop_after_attempt(connector.tries),
        before_sleep=say,
        reraise=True,
    )(lambda: page_at(api, connector, url))


def page_at(api: httpx.Client, connector: Http, url: httpx.URL) -> Any:
    """What is at ``url``, read as JSON. Raises PassingError or RefusedError."""
    import httpx

    until = time.monotonic() + connector.timeout
    body = bytearray()
    try:
        with api.stream("GET", url) as answer:
            if answer.status_code in PASSING:
                after = wanted_wait(answer.headers.get("Retry-After", ""))
                if after > connector.patience:
                    raise UpstreamError(f"{url}: {answer.status_code}, come back in {after:.0f} s: too long to wait")
                raise PassingError(f"{url}: {answer.status_code}", after)
            if answer.status_code != 200:
                raise RefusedError(
                    f"{url}: {answer.status_code} {answer.reason_phrase}. Look at the path in the spec and the "
                    f"connection {connector.connection}"
                )
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > LARGEST_PAGE:
                    raise RefusedError(
                        f"{url}: a page of more than {LARGEST_PAGE >> 20} MiB: ask for fewer rows a page"
                    )
                if time.monotonic() > until:
                    raise PassingError(f"{url}: not whole after {connector.timeout:g} s")
    except httpx.HTTPError as error:
        raise PassingError(f"{url}: {type(error).__name__}: {error}") from error
    try:
        return json.loads(body, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        # Also what is cut off looks like this, where nobody says how long it should be.
        raise PassingError(f"{url}: not JSON ({error}): {bytes(body[:80])!r}") from None


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no value")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"{text} is no number of 64 bits")
    return value


def wanted_wait(header: str) -> float:
    """The seconds that a Retry-After asks for: a number of them, or a date. 0 where it is neither."""
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
