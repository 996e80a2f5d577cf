"""Who may open a raw landing file, and that lineages do not pile up."""

from __future__ import annotations

import asyncio
from pathlib import Path

import psutil
import pytest
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.security import get_user
from fastapi import HTTPException
from fastapi.testclient import TestClient

from include.core.settings import settings
from include.local.credentials import generate
from include.web import pages

FILE = "/landing/flights/actuals/2013-06-01.csv"


@pytest.fixture
def landing(home: Path) -> Path:
    generate(settings())
    path = home / "landing" / "flights" / "actuals" / "2013-06-01.csv"
    path.parent.mkdir(parents=True)
    path.write_text("who,what\nann@example.org,1\n")
    return path


@pytest.mark.parametrize(
    ("role", "status"), [("viewer", 403), ("user", 403), ("op", 200), ("admin", 200)], ids=lambda value: str(value)
)
def test_a_landing_file_is_for_those_who_run_the_platform(landing: Path, role: str, status: int) -> None:
    create_auth_manager()
    app = pages.app()
    app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="x", role=role)
    with TestClient(app) as client:
        answer = client.get(FILE)
        assert answer.status_code == status
        assert (answer.content == landing.read_bytes()) == (status == 200)
        assert client.get("/lineage").status_code == 200  # of gold alone, for whoever may read assets


@pytest.fixture
def asked(landing: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What the pages have asked their readers for, who say that nothing is in quarantine."""
    asked: list[tuple[str, ...]] = []

    async def read(*arguments: str) -> pages.Read:
        asked.append(arguments)
        return {"source": "flights", "feeds": [], "ranges": []}, ""

    monkeypatch.setattr(pages, "_read", read)
    return asked


@pytest.mark.parametrize(
    ("role", "sees_all"), [("viewer", False), ("user", False), ("op", True), ("admin", True)], ids=str
)
def test_what_is_personal_in_quarantine_is_for_those_who_may_open_a_landing_file(
    asked: list[tuple[str, ...]], role: str, sees_all: bool
) -> None:
    create_auth_manager()
    app = pages.app()
    app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="x", role=role)
    with TestClient(app) as client:
        answer = client.get("/quarantine?feed=weather&from=2013-06-01")
    assert (answer.status_code, "Nothing is in quarantine" in answer.text) == (200, True)
    expected = ("quarantine", "--source=flights", "--feed=weather", "--from=2013-06-01")
    assert asked == [(*expected, "--all") if sees_all else expected]


def test_nobody_without_a_login_sees_the_quarantine(asked: list[tuple[str, ...]]) -> None:
    create_auth_manager()
    with TestClient(pages.app()) as client:
        assert client.get("/quarantine").status_code == 401
        sent = client.get("/quarantine", headers={"accept": "text/html"}, follow_redirects=False)
        assert (sent.status_code, "login" in sent.headers["location"]) == (303, True)
    assert asked == []


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ("source=buses", 404, "There is no source buses."),
        ("feed=buses", 404, "Source flights has no feed buses."),
        ("source=%3Cb%3E", 404, "There is no source &lt;b&gt;."),
        ("from=yesterday", 400, "A night is written as 2013-06-01."),
    ],
)
def test_what_is_not_there_is_said(asked: list[tuple[str, ...]], query: str, status: int, said: str) -> None:
    create_auth_manager()
    app = pages.app()
    app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="x", role="viewer")
    with TestClient(app) as client:
        answer = client.get(f"/quarantine?{query}")
    assert (answer.status_code, said in answer.text, asked) == (status, True, [])


def test_one_lineage_too_many_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "QUEUE_SECONDS", 1)

    async def both() -> HTTPException:
        turns, leave = asyncio.Semaphore(1), asyncio.Event()

        async def work() -> pages.Read:
            await leave.wait()
            return None, "done"

        first = asyncio.create_task(pages._in_turn(turns, work()))
        await asyncio.sleep(0)
        with pytest.raises(HTTPException) as refused:
            await pages._in_turn(turns, work())
        leave.set()
        assert await first == (None, "done")
        assert await pages._in_turn(turns, work()) == (None, "done")
        return refused.value

    refused = asyncio.run(both())
    assert (refused.status_code, refused.headers) == (503, {"Retry-After": "1"})


def test_a_lineage_that_nobody_waits_for_ends_with_its_process(landing: Path) -> None:
    before = set(psutil.Process().children())  # other tests' servers

    async def leave() -> None:
        task = asyncio.create_task(pages._read("trace", "--json", "--prediction=2013-06-02:UA:15:EWR"))
        while not (started := set(psutil.Process().children()) - before):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(process.is_running() for process in started)

    asyncio.run(leave())


@pytest.mark.usefixtures("landing")
def test_a_card_is_shown_as_it_is_and_what_there_is_none_of_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    async def read(*arguments: str) -> pages.Read:
        asked.append(arguments)
        told = (None, "flight_delays has no champion: say which version, as version=1")
        return ({"html": "<h1>the card</h1>"}, "") if "--version=3" in arguments else told

    monkeypatch.setattr(pages, "_read", read)
    create_auth_manager()
    app = pages.app()
    app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="x", role="viewer")
    with TestClient(app) as client:
        assert "<select" in client.get("/card").text
        assert asked == [], "to choose, nobody is asked"
        found = client.get("/card?case=flight_delays&version=3")
        assert found.text == "<h1>the card</h1>"
        assert "script-src" in found.headers["Content-Security-Policy"]
        assert "has no champion" in client.get("/card?case=flight_delays&version=").text
        assert client.get("/card?case=nothing").status_code == 404
        assert client.get("/card?case=flight_delays&version=--all").status_code == 422
    assert asked[0] == ("card", "--json", "--use-case=flight_delays", "--version=3")
