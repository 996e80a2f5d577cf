"""A JSON API with pages → JSON lines. What looks like the whole answer and is not, is refused."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from include.contracts.connectors import Cursor, Http, dated
from include.contracts.source import Compression, Feed, Mode, Source
from include.ingestion.connectors import lines
from include.ingestion.connectors.connections import connection, is_loopback
from include.ingestion.connectors.errors import RefusedError, UpstreamError

if TYPE_CHECKING:
    import httpx
    from airflow.sdk import Connection
    from tenacity import RetryCallState
    from upath import UPath

log = logging.getLogger(__name__)

PASSING = {408, 425, 429, 500, 502, 503, 504}
LARGEST_PAGE = 64 << 20  # bytes; a page is held in memory
LONGEST_WAIT = 60.0  # seconds between two tries, where the API does not ask for more
MOST_SAID = 300  # characters of what an API says that a message has

Row = dict[str, Any]


class PassingError(UpstreamError):
    """A page that another try, a little later, may bring. ``after``: seconds that the API asks to wait first.

    ``said`` is what the API itself says, which is for no log: it may repeat the token.
    """

    def __init__(self, message: str, after: float = 0, said: str = "") -> None:
        super().__init__(f"{message}: {said}" if said else message)
        self.after, self.brief = after, message


def fetch(connector: Http, source: Source, feed: Feed, day: date, part: UPath) -> bool:
    """Write the rows of ``day`` to ``part``. Returns whether the night has a file."""
    login = connection(connector.connection)
    with client(connector, login) as api, secret(login.password):
        unique = () if connector.repeats else feed.unique
        found = (row for page in pages(api, connector, day, unique) for row in page)
        rows = lines.write(
            part, feed.compression is Compression.GZIP, (json.dumps(row, allow_nan=False) for row in found)
        )
    return rows > 0 or feed.mode is Mode.UPSERT


@contextmanager
def secret(password: str | None) -> Iterator[None]:
    """Errors without ``password``: an API that refuses a token may well repeat it."""
    try:
        yield
    except (UpstreamError, RefusedError) as error:
        if not password or password not in str(error):
            raise
        raise type(error)(str(error).replace(password, "***")) from None


def client(connector: Http, login: Connection) -> httpx.Client:
    """A client of the API that ``login`` describes. Redirects are not followed: they would take the token along.

    Raises RefusedError for an address that is none, and where a password would be sent for everybody to read.
    """
    import httpx

    name, host = connector.connection, login.host or ""
    try:
        base = httpx.URL(host if "://" in host else f"{login.schema or 'https'}://{host}")
    except httpx.InvalidURL as error:
        raise RefusedError(f"the host of the connection {name} is no address ({error})") from None
    if base.scheme not in ("http", "https") or not base.host:
        raise RefusedError(
            f"the connection {name} names no host, or another scheme than https: https://api.example.com"
        )
    if base.userinfo or base.query:
        raise RefusedError(
            f"the host of the connection {name} holds a login or a query. Put login and password into their own fields"
        )
    if login.port:
        base = base.copy_with(port=login.port)
    here = is_loopback(base.host)
    if login.password and base.scheme == "http" and not here:
        raise RefusedError(
            f"the connection {name} has a password and its host is http://{base.host}: everybody on the way could read "
            "it. Use https, which http may stand for only on this machine"
        )
    headers = {"Accept": "application/json"}
    basic = httpx.BasicAuth(login.login, login.password or "") if login.login else None
    if login.password and not basic:
        if not re.fullmatch("[!-~]+", login.password):
            # The client would refuse it too, and say it.
            raise RefusedError(f"the password of the connection {name} is no token: it has a blank, or a line break")
        header, _, value = connector.authorization.partition(":")
        headers[header] = value.strip().format(token=login.password)
    # A proxy of the environment is for what is elsewhere.
    return httpx.Client(base_url=base, headers=headers, auth=basic, timeout=connector.timeout, trust_env=not here)


def pages(api: httpx.Client, connector: Http, day: date, unique: Sequence[str] = ()) -> Iterator[list[Row]]:
    """The pages of ``day``, each its rows. Raises UpstreamError or RefusedError for what cannot be the whole answer.

    ``unique`` are the columns in which no two rows are equal, where a row must not be on two pages.
    """
    path = dated(connector.path, day)
    query: dict[str, Any] = {connector.size_parameter: connector.size} if connector.size_parameter else {}
    if not isinstance(connector.paging, Cursor):
        query[connector.paging.parameter] = connector.paging.first
    seen: dict[bytes, int] = {}
    keys: dict[int, int] = {}
    asked: set[str] = set()
    rows, longest, last = 0, 0, 0.0
    total: Any = None
    for number in range(1, connector.most_pages + 1):
        time.sleep(max(0.0, last + 1 / connector.per_second - time.monotonic()))
        last = time.monotonic()
        reached = total is not None and rows == total and not isinstance(connector.paging, Cursor)
        try:
            page = ask(api, connector, path, query)
        except RefusedError:
            if reached:
                return  # behind the last page there is none
            raise
        found = rows_of(connector, page, number)
        digest = sha256(json.dumps(found).encode()).digest()
        again = bool(found) and seen.setdefault(digest, number) != number
        if reached and (again or not found):
            return
        if again:
            raise UpstreamError(f"{path}: page {number} has the same rows as page {seen[digest]}")
        rows += len(found)
        total = same_total(connector, path, page, total, number)
        if reached:
            raise UpstreamError(f"{path}: {connector.total} is {total!r} and more rows came, on page {number}")
        once(path, found, unique, number, keys)
        yield found
        if isinstance(connector.paging, Cursor):
            cursor = page.get(connector.paging.key) if isinstance(page, dict) else None
            ended = cursor is None or cursor is False or cursor == ""
            if not ended and (isinstance(cursor, bool) or not isinstance(cursor, str | int)):
                raise RefusedError(f"{path}: {connector.paging.key} of page {number} is {cursor!r}: it names no page")
            if not ended and str(cursor) in asked:
                raise UpstreamError(f"{path}: page {number} names a page that was there before: {cursor!r}")
            asked.add(str(cursor))
            query[connector.paging.parameter] = cursor
        else:
            # Behind a full page there may be another one, whatever the total says: some count no further than 10,000.
            ended = not found or (rows == total and len(found) < longest)
            query[connector.paging.parameter] = connector.paging.first + number
        longest = max(longest, len(found))
        if ended:
            return check_total(connector, path, total, rows)
    raise RefusedError(f"{path}: more than {connector.most_pages} pages. Raise most_pages, if that is right")


def same_total(connector: Http, path: str, page: Any, before: Any, number: int) -> Any:
    """What ``page`` says there is on all pages, or the pages ``before`` have. They must not differ.

    A row that goes, or comes, moves those behind it to another page: one would be on none that is read, or on two.
    """
    total = page.get(connector.total) if connector.total and isinstance(page, dict) else None
    if before is not None and total is not None and total != before:
        raise UpstreamError(
            f"{path}: the {connector.total} was {before!r} and is {total!r} on page {number}: the rows have changed "
            "while they were read"
        )
    return before if total is None else total


def once(path: str, rows: list[Row], unique: Sequence[str], number: int, keys: dict[int, int]) -> None:
    """Hold the rows of page ``number`` against ``keys``, which says where each was: none may be on an earlier page.

    One that is shows that rows move between the pages, and then others are on none.
    """
    for row in rows if unique else ():
        key = {name: row.get(name) for name in unique}
        if None in key.values():
            continue
        if (before := keys.setdefault(hash(json.dumps(key)), number)) != number:
            raise UpstreamError(
                f"{path}: the row {brief(key)} is on page {before} and on page {number}: rows move between the pages, "
                "and others may be on none. Ask for an order in which they stay, as by the key; or set repeats in the "
                "spec, where the API rightly gives a row twice"
            )


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


def failure(connector: Http, page: Any) -> Row:
    """What a page says beside its rows that went wrong, itself or in an object right below it. Empty: nothing."""
    if not isinstance(page, dict):
        return {}
    beside = {key: value for key, value in page.items() if key != connector.rows}
    said = [beside, *(value for value in beside.values() if isinstance(value, dict))]
    return {
        key: value
        for one in said
        for key, value in one.items()
        if (key.lower() in connector.failures and value) or (key.lower() in connector.successes and value is False)
    }


def brief(value: Any) -> str:
    """``value`` as JSON, cut off where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_SAID else f"{text[:MOST_SAID]}…"


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
        said = error.brief if isinstance(error, PassingError) else error
        log.warning("%s; try %d in %.1f s", said, state.attempt_number + 1, state.upcoming_sleep)

    try:
        url = httpx.URL(path).copy_merge_params(query)
    except httpx.InvalidURL as error:
        raise RefusedError(f"{connector.path}: no address ({error}). Mend the path in the spec") from None
    if url.scheme or url.host:
        # It would get the token that is the connection's host's.
        raise RefusedError(f"{connector.path}: a path is below the host of the connection, and names none of its own")
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
                raise RefusedError(f"{url}: {answer.status_code} {advice(answer, connector.connection)}")
            for piece in answer.iter_bytes():
                body += piece
                if len(body) > LARGEST_PAGE:
                    raise RefusedError(
                        f"{url}: a page of more than {LARGEST_PAGE >> 20} MiB: ask for fewer rows a page"
                    )
                if time.monotonic() > until:
                    raise PassingError(f"{url}: not whole after {connector.timeout:g} s")
    except httpx.HTTPError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise RefusedError(
                f"{url}: {error}. Look at the host of the connection {connector.connection}, or give the services "
                "the authority's certificate as SSL_CERT_FILE"
            ) from None
        raise PassingError(f"{url}: {type(error).__name__}: {error}") from error
    try:
        page = json.loads(body, object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        # Also what is cut off looks like this, where nobody says how long it should be.
        raise PassingError(f"{url}: not JSON ({error})", said=repr(bytes(body[:80]))) from None
    if failed := failure(connector, page):
        raise PassingError(
            f"{url}: 200, but by its {', '.join(failed)} the answer failed (where that says no such thing, leave it "
            "out of failures or successes in the spec)",
            said=brief(failed),
        )
    return page


def advice(answer: httpx.Response, name: str) -> str:
    """What a status means that no other try will mend, and what to do, in words."""
    status = answer.status_code
    if status in (401, 403):
        return f"{answer.reason_phrase}. Look at the password of the connection {name}, and what it may read"
    if 300 <= status < 400:
        to = answer.headers.get("Location", "").partition("?")[0]
        return (
            f"{answer.reason_phrase}, to {to[:MOST_SAID]}: a redirect is not followed, it would take the token along. "
            f"Name where it leads in the connection {name}, or as the path in the spec"
        )
    return f"{answer.reason_phrase}. Look at the path in the spec and the host of the connection {name}"


def _object(pairs: list[tuple[str, Any]]) -> Row:
    """An object of which each key is there once: of two values nobody could say which one is right."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise ValueError(f"the key {twice[:80]!r} is there twice in an object")
    return found


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
