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

from include import pages
from include.services.credentials import generate
from include.settings import settings

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


def test_one_lineage_too_many_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "QUEUE_SECONDS", 1)

    async def both() -> HTTPException:
        turns, leave = asyncio.Semaphore(1), asyncio.Event()

        async def work() -> pages.Traced:
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
        task = asyncio.create_task(pages._traced("2013-06-02:UA:15:EWR", "flight_delays"))
        while not (started := set(psutil.Process().children()) - before):
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not any(process.is_running() for process in started)

    asyncio.run(leave())
