"""An API that answers well, and every way in which a local one misbehaves: a whole landing file, or none."""

from __future__ import annotations

import gzip
import json
import logging
import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from include.contracts.connectors import Cursor, Http, Numbered
from include.contracts.source import Column, Compression, Feed, Format, Mode, Source
from include.core.partitions import Partitions
from include.ingestion import landing
from include.ingestion.connectors import http as module
from include.ingestion.connectors.connections import is_loopback
from include.ingestion.connectors.errors import RefusedError, UpstreamError
from include.ingestion.connectors.fetch import fetch

DAY = date(2020, 6, 1)
API = Http(
    connection="toys_api",
    path="trips?day={day}&before={next_day}",
    paging=Cursor(),
    total="total",
    size=2,
    per_second=1000,
    timeout=20,
    tries=3,
    backoff=0.01,
)
FEED = Feed(
    name="trips",
    description="trips",
    columns=(Column("number", "int", "which trip", required=True), Column("kind", "string", "by what")),
    key=("number",),
    format=Format.JSONL,
    compression=Compression.GZIP,
    connector=API,
)
SOURCE = Source("toys", "toys", "tests", "anybody", "0 0 * * *", 6, DAY, (FEED,))
ROWS = [{"number": n, "kind": "bus"} for n in range(5)]
TOKEN = "a-token-that-nobody-may-see"


@dataclass
class Answer:
    """What the server says to one request. ``length`` is what it claims the body to be long."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    pause: float = 0  # before the answer
    drip: float = 0  # between two bytes of it


@dataclass
class Server:
    """A server that gives each request the next of ``answers``, and the last one again and again."""

    address: str
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)

    def asked(self, name: str) -> list[str]:
        return [request["query"].get(name, [""])[0] for request in self.requests]


@pytest.fixture
def server(home: Path, connect: Callable[..., None]) -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            served.requests.append(
                {"path": parts.path, "query": parse_qs(parts.query), "headers": dict(self.headers), "at": time.time()}
            )
            answer = served.answers.pop(0) if len(served.answers) > 1 else served.answers[0]
            time.sleep(answer.pause)
            try:
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.length != -1:
                    self.send_header("Content-Length", str(answer.length or len(answer.body)))
                self.end_headers()
                for n in range(len(answer.body)) if answer.drip else ():
                    self.wfile.write(answer.body[n : n + 1])
                    time.sleep(answer.drip)
                self.wfile.write(b"" if answer.drip else answer.body)
            except OSError:
                pass  # whoever asked has given up

        def log_message(self, *_: Any) -> None:
            pass

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    served = Server(f"http://127.0.0.1:{listening.server_address[1]}")
    connect("toys_api", conn_type="http", host=f"{served.address}/v1", password=TOKEN)
    yield served
    listening.shutdown()
    listening.server_close()


def page(rows: list[dict[str, Any]], cursor: object = None, total: object = 5) -> Answer:
    return Answer(json.dumps({"items": rows, "next": cursor, "total": total}).encode())


GOOD = (page(ROWS[:2], "b"), page(ROWS[2:4], "c"), page(ROWS[4:]))


def fetched(server: Server, *answers: Answer, feed: Feed = FEED, api: Http = API) -> Path | None:
    server.answers[:] = answers
    return fetch(SOURCE, replace(feed, connector=api), DAY)


def rows_of(path: Path | None) -> list[Any]:
    assert path is not None
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in text.splitlines() if line]


def refused(server: Server, *answers: Answer, api: Http = API, error: type[Exception] = UpstreamError) -> str:
    """What is said when ``answers`` are refused, after which nothing may lie in landing."""
    with pytest.raises(error) as raised:
        fetched(server, *answers, api=api)
    folder = landing.path_of(SOURCE, FEED, DAY).parent
    assert list(folder.iterdir()) == [], "nothing half, not even hidden"
    assert TOKEN not in str(raised.value)
    return str(raised.value)


def test_all_pages_become_one_landing_file_that_the_look_through_accepts(server: Server, home: Path) -> None:
    path = fetched(server, *GOOD)
    assert path == home / "landing" / "toys" / "trips" / "2020-06-01.jsonl.gz"
    assert rows_of(path) == ROWS
    assert landing.look_through(path, FEED)["rows"] == 5


def test_it_asks_for_the_day_with_the_token_page_by_page(server: Server) -> None:
    fetched(server, *GOOD)
    assert [request["path"] for request in server.requests] == ["/v1/trips"] * 3
    assert server.asked("day") == ["2020-06-01"] * 3
    assert server.asked("before") == ["2020-06-02"] * 3
    assert server.asked("limit") == ["2"] * 3
    assert server.asked("cursor") == ["", "b", "c"]
    assert {request["headers"]["Authorization"] for request in server.requests} == {f"Bearer {TOKEN}"}


def test_a_login_is_basic_and_another_header_may_carry_the_token(
    server: Server, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched(server, *GOOD, api=replace(API, authorization="X-Api-Key: {token}")).unlink()
    assert server.requests[-1]["headers"]["X-Api-Key"] == TOKEN
    connect("toys_api", conn_type="http", host=server.address, login="me", password=TOKEN)
    fetched(server, *GOOD)
    assert server.requests[-1]["headers"]["Authorization"].startswith("Basic ")


def test_the_address_may_be_in_parts(server: Server, connect: Callable[..., None]) -> None:
    port = int(server.address.rsplit(":", 1)[1])
    connect("toys_api", conn_type="http", schema="http", host="127.0.0.1", port=port)
    assert rows_of(fetched(server, *GOOD)) == ROWS
    assert "Authorization" not in server.requests[-1]["headers"]


def test_after_a_kill_there_is_nothing_and_the_next_try_brings_the_whole(server: Server, home: Path) -> None:
    """A process of its own is killed with SIGKILL in the middle of the second page."""
    slow = replace(API, timeout=30)
    server.answers[:] = [page(ROWS[:2], "b"), replace(page(ROWS[2:4], "c"), drip=0.2)]
    child = multiprocessing.get_context("fork").Process(target=fetch, args=(SOURCE, replace(FEED, connector=slow), DAY))
    child.start()
    until = time.monotonic() + 30
    while len(server.requests) < 2 and time.monotonic() < until:
        time.sleep(0.01)
    child.kill()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    (half,) = landing.path_of(SOURCE, FEED, DAY).parent.iterdir()
    assert half.name.startswith(".")
    assert landing.landed(SOURCE, Partitions(DAY, DAY)) == {}
    server.requests.clear()
    assert rows_of(fetched(server, *GOOD)) == ROWS


def test_numbered_pages_end_with_an_empty_one(server: Server) -> None:
    """A page that is not full may be one of a server that gives fewer rows than it is asked for."""
    api = replace(API, paging=Numbered(), size=1000, total="")
    assert rows_of(fetched(server, page(ROWS[:2]), page(ROWS[2:4]), page(ROWS[4:]), page([]), api=api)) == ROWS
    assert server.asked("page") == ["1", "2", "3", "4"]


def test_numbered_pages_end_where_the_total_is_reached(server: Server) -> None:
    fetched(server, page(ROWS[:3]), page(ROWS[3:]), Answer(b"", 404), api=replace(API, paging=Numbered(first=0)))
    assert server.asked("page") == ["0", "1"]


def test_a_page_may_be_the_list_itself(server: Server) -> None:
    api = replace(API, paging=Numbered(), rows="", total="")
    assert rows_of(fetched(server, Answer(json.dumps(ROWS).encode()), Answer(b"[]"), api=api)) == ROWS


def test_keys_that_are_not_wanted_are_left_out(server: Server) -> None:
    rows = [row | {"links": {"self": "/trips/1"}} for row in ROWS]
    assert rows_of(fetched(server, page(rows), api=replace(API, unwanted=("links",)))) == ROWS


def test_the_same_answer_makes_the_same_bytes(server: Server) -> None:
    path = fetched(server, *GOOD)
    assert path
    before = path.read_bytes()
    path.unlink()
    time.sleep(1.1)  # what gzip would stamp has whole seconds
    fetched(server, *GOOD)
    assert path.read_bytes() == before


def test_a_day_without_rows_has_no_file(server: Server) -> None:
    assert fetched(server, page([], total=0)) is None


def test_a_day_without_changes_has_a_file_that_says_so(server: Server) -> None:
    columns = (*FEED.columns, Column("op", "string", "what", required=True), Column("at", "int", "when", required=True))
    feed = replace(FEED, columns=columns, mode=Mode.UPSERT, op="op", sequence="at")
    path = fetched(server, page([], total=0), feed=feed)
    assert path
    assert landing.look_through(path, feed)["rows"] == 0


@pytest.mark.parametrize(
    "bad",
    [
        Answer(b"", 500),
        Answer(b"", 503),
        Answer(b"slow down", 429),
        Answer(b"{}", pause=3),
        Answer(b'{"items": [' + b" " * 40, length=-1),
        Answer(b'{"items": []}', length=500),
        Answer(b"<html>an error of a proxy</html>"),
        Answer(b'{"items": [{"number": NaN}]}'),
        Answer(json.dumps({"items": ROWS[2:4], "next": "c", "total": 5}).encode(), drip=0.1),
    ],
    ids=["500", "503", "429", "hangs", "cut off unsaid", "cut off", "no JSON", "NaN", "drips"],
)
def test_what_passes_is_tried_again(server: Server, bad: Answer) -> None:
    good = [replace(answer) for answer in GOOD]
    api = replace(API, timeout=2) if bad.pause or bad.drip else API
    assert rows_of(fetched(server, good[0], bad, *good[1:], api=api)) == ROWS
    assert server.asked("cursor") == ["", "b", "b", "c"], "the page that failed, and no other"


def test_what_does_not_pass_is_given_up(server: Server) -> None:
    assert "500" in refused(server, GOOD[0], Answer(b"", 500))
    assert len(server.requests) == 1 + API.tries


def test_nobody_there_is_given_up(server: Server, connect: Callable[..., None]) -> None:
    connect("toys_api", conn_type="http", host="http://127.0.0.1:1")
    assert "ConnectError" in refused(server, *GOOD)


def test_retry_after_is_honoured(server: Server) -> None:
    fetched(server, Answer(b"", 429, {"Retry-After": "1"}), *GOOD)
    assert server.requests[1]["at"] - server.requests[0]["at"] >= 1


def test_retry_after_may_be_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=90)
    assert 85 < module.wanted_wait(format_datetime(soon, usegmt=True)) <= 90
    assert module.wanted_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert module.wanted_wait("soon") == module.wanted_wait("") == 0


def test_a_wait_beyond_patience_is_left_to_the_next_try_of_the_task(server: Server) -> None:
    said = refused(server, Answer(b"", 503, {"Retry-After": "7200"}))
    assert "come back in 7200 s" in said
    assert len(server.requests) == 1


def test_waits_double_and_are_drawn_by_chance(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    highest: list[float] = []

    def uniform(low: float, high: float) -> float:
        highest.append(high)
        return 0.0

    monkeypatch.setattr("tenacity.wait.random.uniform", uniform)
    refused(server, Answer(b"", 500), api=replace(API, tries=5, backoff=0.5))
    assert highest[-4:] == [1, 2, 4, 8]


def test_requests_keep_their_distance(server: Server) -> None:
    fetched(server, *GOOD, api=replace(API, per_second=5))
    times = [request["at"] for request in server.requests]
    assert min(later - earlier for earlier, later in pairwise(times)) > 0.15


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404])
def test_what_a_person_has_to_mend_is_not_tried_again(server: Server, status: int) -> None:
    said = refused(server, Answer(b"", status, {"Location": "http://elsewhere/"}), error=RefusedError)
    assert str(status) in said
    assert "toys_api" in said
    assert len(server.requests) == 1


def test_a_redirect_is_named_and_does_not_get_the_token(server: Server) -> None:
    away = Answer(b"", 302, {"Location": f"{server.address}/elsewhere?signed=with-a-secret"})
    said = refused(server, away, error=RefusedError)
    assert f"to {server.address}/elsewhere: a redirect is not followed" in said
    assert [request["path"] for request in server.requests] == ["/v1/trips"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"host": "http://api.example.com"}, "everybody on the way could read it. Use https"),
        ({"host": "api.example.com", "schema": "http", "login": "me"}, "everybody on the way could read it"),
        ({"host": "http://127.0.0.1.example.com"}, "everybody on the way could read it"),
        ({"host": f"https://me:{TOKEN}@api.example.com"}, "holds a login or a query"),
        ({"host": f"https://api.example.com/?key={TOKEN}"}, "holds a login or a query"),
        ({"host": "ftp://api.example.com"}, "another scheme than https"),
        ({"host": ""}, "names no host"),
        ({"host": "https://api.example.com:port"}, "is no address"),
        ({"password": f"{TOKEN}\n"}, "is no token"),
    ],
)
def test_a_token_is_for_one_reader_alone(
    server: Server, connect: Callable[..., None], values: dict[str, str], said: str
) -> None:
    """Who else could read it, is not asked at all."""
    connect("toys_api", **{"conn_type": "http", "host": server.address, "password": TOKEN} | values)
    assert said in refused(server, *GOOD, error=RefusedError)
    assert server.requests == []


@pytest.mark.parametrize("path", ["http://127.0.0.1:{port}/trips", "//127.0.0.1:{port}/trips"])
def test_a_path_leads_to_no_other_host(server: Server, path: str) -> None:
    path = path.replace("{port}", server.address.rsplit(":", 1)[1])
    assert "names none of its own" in refused(server, *GOOD, api=replace(API, path=path), error=RefusedError)
    assert server.requests == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.8.8.8", "::1", "[::1]"])
def test_what_is_sent_to_this_machine_passes_no_network(host: str) -> None:
    assert is_loopback(host)
    assert not is_loopback(f"{host}.example.com")


def test_a_proxy_does_not_get_what_is_for_this_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert rows_of(fetched(server, *GOOD)) == ROWS


def test_an_api_that_repeats_the_token_does_not_make_it_known(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    says = {"items": [], "error": f"the token {TOKEN} has expired"}
    assert "the token *** has expired" in refused(server, Answer(json.dumps(says).encode()))
    assert "not JSON" in refused(server, Answer(f"<p>{TOKEN}".encode()))
    assert TOKEN not in caplog.text


def test_a_certificate_that_nobody_vouches_for_is_for_a_person() -> None:
    def handle(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate")

    api = httpx.Client(base_url="https://api.example.com", transport=httpx.MockTransport(handle))
    with pytest.raises(RefusedError, match="or give the services the authority's certificate as SSL_CERT_FILE"):
        list(module.pages(api, API, DAY))


@pytest.mark.parametrize("values", [{"path": "trips/{date}"}, {"path": "trips/{"}, {"authorization": "Bearer {token}"}])
def test_a_spec_that_cannot_be_meant_is_refused(values: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"has another place than|authorization is a header"):
        replace(API, **values)


def test_a_repeated_cursor_is_refused(server: Server) -> None:
    said = refused(server, page(ROWS[:2], "b"), page(ROWS[2:4], "c"), page(ROWS[4:], "b"))
    assert said.endswith("page 3 names a page that was there before: 'b'")


@pytest.mark.parametrize("paging", [Cursor(), Numbered()])
def test_a_page_that_comes_twice_is_refused(server: Server, paging: Cursor | Numbered) -> None:
    """As from a server that does not know the parameter and gives its first page again and again."""
    said = refused(server, page(ROWS[:2], "b"), page(ROWS[:2], "c"), api=replace(API, paging=paging))
    assert said.endswith("page 2 has the same rows as page 1")


SHIFTED = [
    ("a row went", [ROWS[:2], ROWS[3:], []], [5, 4, 4]),
    ("a row came", [ROWS[:2], ROWS[1:3], ROWS[3:]], [5, 6, 6]),
    ("behind the last row that was wanted", [ROWS[:2], ROWS[2:4], ROWS[4:]], [5, 5, 6]),
]


@pytest.mark.parametrize("paging", [Cursor(), Numbered()])
@pytest.mark.parametrize(("what", "rows", "totals"), SHIFTED, ids=[one[0] for one in SHIFTED])
def test_rows_that_shift_between_two_pages_are_seen_by_the_total(
    server: Server, paging: Cursor | Numbered, what: str, rows: list[Any], totals: list[int]
) -> None:
    answers = [page(*one) for one in zip(rows, ("b", "c", None), totals, strict=True)]
    said = refused(server, *answers, api=replace(API, paging=paging))
    assert f"the total was 5 and is {next(total for total in totals if total != 5)} on page" in said


def test_only_some_pages_may_say_the_total(server: Server) -> None:
    answers = [page(ROWS[:2], "b"), page(ROWS[2:4], "c", None), page(ROWS[4:], total=None)]
    assert rows_of(fetched(server, *answers)) == ROWS


def test_a_row_on_two_pages_shows_that_others_are_on_none(server: Server) -> None:
    """One came at the front while the last one went: the total is the same, row 1 comes twice and row 4 never."""
    answers = [page(ROWS[:2], "b"), page([ROWS[1], ROWS[2]], "c"), page([ROWS[3]])]
    said = refused(server, *answers)
    assert 'the row {"number": 1} is on page 1 and on page 2' in said
    assert len(rows_of(fetched(server, *answers, api=replace(API, repeats=True)))) == 5


def test_a_total_that_counts_no_further_is_no_end(server: Server) -> None:
    """As of a search engine that counts to 10,000: behind a full page there may be another one."""
    api = replace(API, paging=Numbered())
    said = refused(server, page(ROWS[:2], total=4), page(ROWS[2:4], total=4), page(ROWS[4:], total=4), api=api)
    assert said.endswith("total is 4 and more rows came, on page 3")


@pytest.mark.parametrize(
    "behind", [page([], total=0), Answer(b"", 404), page(ROWS[2:4], total=4)], ids=["empty", "404", "the last again"]
)
def test_behind_the_last_page_an_api_may_say_what_it_likes(server: Server, behind: Answer) -> None:
    answers = [page(ROWS[:2], total=4), page(ROWS[2:4], total=4), behind]
    assert rows_of(fetched(server, *answers, api=replace(API, paging=Numbered()))) == ROWS[:4]


FAILED = [
    {"errors": [{"code": "BACKEND_TIMEOUT", "message": "2 of 5 shards did not answer"}]},
    {"Error": "no more quota"},
    {"meta": {"error_message": "no more quota"}},
    {"success": False},
    {"incomplete_results": True},
]


@pytest.mark.parametrize("says", FAILED, ids=lambda says: next(iter(says)))
@pytest.mark.parametrize("rows", [[], ROWS[:1]], ids=["empty", "partial"])
def test_a_200_that_says_that_it_failed_is_no_answer(server: Server, says: dict[str, Any], rows: list[Any]) -> None:
    api = replace(API, total="")
    failed = Answer(json.dumps({"items": rows, "next": None} | says).encode())
    assert "the answer failed" in (said := refused(server, failed, api=api))
    assert json.dumps(next(iter(says.values()))).strip("{}") in said
    assert len(server.requests) == API.tries
    assert rows_of(fetched(server, failed, page(ROWS), api=api)) == ROWS, "it may pass"


def test_a_page_may_say_that_nothing_failed(server: Server) -> None:
    body = {"items": ROWS, "errors": [], "error": None, "success": True, "meta": {"partial": False}, "total": 5}
    assert rows_of(fetched(server, Answer(json.dumps(body).encode()))) == ROWS


def test_a_spec_may_know_better_what_failed(server: Server) -> None:
    answer = Answer(json.dumps({"items": ROWS, "errors": 3, "halted": "soon", "total": 5}).encode())
    assert rows_of(fetched(server, answer, api=replace(API, failures=()))) == ROWS
    landing.path_of(SOURCE, FEED, DAY).unlink()
    assert "by its halted the answer failed" in refused(server, answer, api=replace(API, failures=("halted",)))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"items": [{"number": 1, "kind": "bus", "kind": "tram"}], "total": 1}', "the key 'kind' is there twice"),
        (b'{"items": [{"number": 1}], "items": [], "total": 0}', "the key 'items' is there twice"),
        (b'{"items": [{"number": {"a": 1, "a": 1}}], "total": 1}', "the key 'a' is there twice"),
        (b'{"items": [], "total": 0} {"items": []}', "Extra data"),
        (b'{"items": [{"number": -Infinity}], "total": 1}', "-Infinity is no value"),
        (b'{"items": [{"number": 1, "kind": "\xff"}], "total": 1}', "can't decode byte"),
    ],
    ids=["of a row", "of the page", "deeper", "two pages in one", "Infinity", "no UTF-8"],
)
def test_json_that_says_two_things_or_none_is_refused(server: Server, body: bytes, said: str) -> None:
    assert said in refused(server, Answer(body))


def test_a_byte_order_mark_is_none_of_the_answer(server: Server) -> None:
    assert rows_of(fetched(server, Answer(b"\xef\xbb\xbf" + GOOD[0].body), *GOOD[1:])) == ROWS


def test_a_body_may_be_zipped_and_is_refused_where_it_is_cut_off(server: Server) -> None:
    zipped = gzip.compress(page(ROWS).body)
    header = {"Content-Encoding": "gzip"}
    assert rows_of(fetched(server, Answer(zipped[:-20], headers=header), Answer(zipped, headers=header))) == ROWS


@pytest.mark.parametrize("cursor", [True, {"page": 2}, [2], 1.5])
def test_a_cursor_that_names_no_page_is_for_a_person(server: Server, cursor: object) -> None:
    assert "it names no page" in refused(server, page(ROWS[:2], cursor), error=RefusedError)


@pytest.mark.parametrize("total", [4, 6, None, "5"])
def test_another_total_than_the_rows_is_refused(server: Server, total: object) -> None:
    assert f"total is {total!r} and 5 rows came" in refused(server, page(ROWS, total=total))


def test_more_pages_than_allowed_are_refused(server: Server) -> None:
    said = refused(server, *GOOD, api=replace(API, most_pages=2), error=RefusedError)
    assert "more than 2 pages" in said


def test_a_page_that_is_too_large_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_PAGE", 10)
    assert "a page of more than" in refused(server, *GOOD, error=RefusedError)


@pytest.mark.parametrize("body", [b'{"rows": []}', b'{"items": {}}', b'{"items": [1]}', b"[]", b"7", b"null"])
def test_a_page_of_another_shape_is_refused(server: Server, body: bytes) -> None:
    said = refused(server, Answer(body), error=RefusedError)
    assert "page 1 is no list of objects under 'items'; it has:" in said


def test_a_number_that_json_cannot_say_is_refused(server: Server) -> None:
    assert "1e999 is no number of 64 bits" in refused(server, Answer(b'{"items": [{"number": 1e999}], "total": 1}'))


def test_without_its_connection_the_name_is_said(server: Server) -> None:
    said = refused(server, *GOOD, api=replace(API, connection="nobody"), error=RefusedError)
    assert "no Airflow connection 'nobody'" in said
    assert "AIRFLOW_CONN_NOBODY" in said


def test_the_token_is_in_no_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    fetched(server, Answer(b"", 500), *GOOD)
    assert "try 2" in caplog.text
    assert TOKEN not in caplog.text
