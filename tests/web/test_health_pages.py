"""The pages of model health as Airflow serves them: who may, what they say where something is missing, in a browser."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest
import uvicorn
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.security import get_user
from deltalake import write_deltalake
from fastapi import FastAPI
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, Page, Request, sync_playwright

from include.contracts.use_case import UseCase
from include.core.partitions import Partitions
from include.core.settings import settings
from include.lake import delta
from include.local.credentials import generate
from include.quality import acceptance
from include.quality.faults import Fault
from include.web import pages
from tests.web import lake
from tests.web.lake import Story

CHROMIUM = Path("/usr/bin/chromium")
NIGHT = date(2026, 11, 26)
DRIFTS = Story("delay_mean_1d", 9, 3.2, 0.012, asks=True)


def app_of(cases: dict[str, UseCase], monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    """The pages with these use cases, for somebody who is logged in."""
    monkeypatch.setattr(pages, "use_cases", lambda: cases)
    monkeypatch.setattr(pages, "use_case", cases.__getitem__)
    create_auth_manager()
    app = pages.app()
    app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="x", role="viewer")
    return app


def cases_of(*names: str) -> dict[str, UseCase]:
    return {name: lake.case_of(name) for name in names}


def text_of(html: str) -> str:
    without = re.sub(r"<(script|style)[^>]*>.*?</\1>", " ", html, flags=re.S)
    return " ".join(re.sub(r"<[^>]+>", " ", without).split())


@pytest.fixture
def made(home: Path) -> Path:
    generate(settings())
    return home


def test_the_overview_says_who_needs_somebody_and_why(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cases_of("calm", "returned", "new")
    lake.make(cases["calm"], NIGHT, 40)
    lake.make(cases["returned"], NIGHT, 40, DRIFTS)
    with TestClient(app_of(cases, monkeypatch)) as client:
        answer = client.get("/health")
    said = text_of(answer.text)
    assert answer.status_code == 200
    assert "1 of 3 use cases needs you: returned." in said
    assert "delay_mean_1d 100%" in said
    assert "A retraining was asked for." in said
    assert "No champion yet: nothing is scored." in said
    assert said.index("returned operations") < said.index("new operations") < said.index("calm operations")


def test_a_drift_within_a_slice_is_shown_with_what_carries_it(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cases_of("returned")
    # 3.2 ** 9 of a twenty-fourth of the sensor: the slice alone fires.
    lake.make(cases["returned"], NIGHT, 40, Story("", 9, 3.2, within="delay_mean_1d"))
    with TestClient(app_of(cases, monkeypatch)) as client:
        said = text_of(client.get("/health/returned").text)
    assert "Inputs are not as they were." in said
    assert "delay_mean_1d of carrier=AA 100%" in said
    within = said[said.index("Within slices") :]
    assert within.index("carrier=AA Input drift") < within.index("carrier=B6 Input drift")
    assert re.search(r"delay_mean_1d 100% mean \S+ → \S+, missing \S+ → \S+", within), within


def test_a_commit_shows_at_the_next_request(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cases_of("returned")
    lake.make(cases["returned"], NIGHT, 40)
    with TestClient(app_of(cases, monkeypatch)) as client:
        assert "Nothing is wrong." in client.get("/health/returned").text
        night = delta.read_days("gold", "returned__monitoring", NIGHT, NIGHT, day="partition_day")
        fires = (pl.col("sensor") == "quality") & (pl.col("feature") == "")
        worse = night.with_columns(value=pl.when(fires).then(999.0).otherwise(pl.col("value")))
        delta.replace_days("gold", "returned__monitoring", worse, NIGHT, NIGHT, day="partition_day")
        assert "Quality is worse than promised." in client.get("/health/returned").text
        assert "1 of 1 use cases needs you" in client.get("/health").text


def test_a_window_is_asked_for_by_its_nights(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cases_of("calm")
    lake.make(cases["calm"], NIGHT, 120)
    with TestClient(app_of(cases, monkeypatch)) as client:
        page = client.get("/health/calm?from=2026-10-01&to=2026-10-09").text
        assert page.count('"2026-10-09"') > 0
        assert '"2026-10-10"' not in page
        assert client.get("/health/calm?from=yesterday").status_code == 400
        assert client.get("/health/calm?from=2027-01-01&to=2027-01-05").status_code == 200
        assert client.get("/health/nothing").status_code == 404
        assert client.get("/health/%3Cb%3E").text.count("<b>") == 0


def test_what_is_broken_is_said_and_the_rest_is_drawn(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cases_of("calm")
    lake.make(cases["calm"], NIGHT, 20)
    for log in Path(str(delta.table_path("gold", "calm__figures") / "_delta_log")).iterdir():
        log.write_text("no log")
    with TestClient(app_of(cases, monkeypatch)) as client:
        answer = client.get("/health/calm")
    said = text_of(answer.text)
    assert answer.status_code == 200
    assert "gold.calm__figures cannot be read" in said
    assert "Evidence of the three sensors" in said
    assert "version 1" in said


def test_a_ledger_that_somebody_has_edited_is_said(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cases_of("calm")
    lake.make(cases["calm"], NIGHT, 20)
    rows = delta.read_all("gold", "calm__deployments").with_columns(reason=pl.lit("since I say so"))
    write_deltalake(str(delta.table_path("gold", "calm__deployments")), rows, mode="overwrite")
    with TestClient(app_of(cases, monkeypatch)) as client:
        assert "gold.calm__deployments is not as it was written" in client.get("/health/calm").text
        assert "1 of 1 use cases needs you" in client.get("/health").text


def test_a_table_of_an_earlier_release_and_no_figures_leave_their_places(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before there was evidence by slices, the table had neither slices nor weights nor where evidence stands."""
    cases = cases_of("calm")
    lake.make(cases["calm"], NIGHT, 20)
    rows = delta.read_all("gold", "calm__monitoring").drop("slice", "weight", "state")
    shutil.rmtree(str(delta.table_path("gold", "calm__monitoring")))
    delta.replace_days("gold", "calm__monitoring", rows, NIGHT - timedelta(30), NIGHT, day="partition_day")
    shutil.rmtree(str(delta.table_path("gold", "calm__figures")))
    with TestClient(app_of(cases, monkeypatch)) as client:
        answer = client.get("/health/calm")
        assert client.get("/health").status_code == 200
    said = text_of(answer.text)
    assert answer.status_code == 200
    assert "Figures of these nights are not there: an earlier release measured them." in said
    assert "Evidence of the three sensors" in said


def test_a_champion_that_nobody_has_measured(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cases_of("new")
    lake.champion(cases["new"], NIGHT)
    with TestClient(app_of(cases, monkeypatch)) as client:
        said = text_of(client.get("/health/new").text)
    assert "Not measured yet" in said
    assert "version 1" in said


def test_rollouts_are_shown_by_the_columns_that_they_have(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cases_of("calm")
    lake.make(cases["calm"], NIGHT, 20)
    line = pl.DataFrame({"step": ["canary"], "share": [0.05], "verdict": ["rolled back"], "line": [1], "seal": ["x"]})
    delta.append("gold", "calm__rollouts", line)
    with TestClient(app_of(cases, monkeypatch)) as client:
        said = text_of(client.get("/health/calm").text)
    assert "Rollouts: 1 step share verdict canary 0.05 rolled back" in said


def test_what_the_feature_gate_refuses_is_shown_until_its_day_has_features(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (case,) = cases_of("returns").values()
    lake.make(case, NIGHT, 30)
    days = [NIGHT - timedelta(n) for n in range(3)]
    said = [Fault(day, "age_1d", "constant", {"distinct": 2.0}, f"age_1d {day}: constant") for day in days]
    acceptance.refuse(case, said)
    acceptance.accept(case, Partitions.parse(str(acceptance.night_of(case, days[1]))), ["age_1d"], "Ada", "a new fleet")
    path = str(settings().lake / "gold" / case.features_table)
    write_deltalake(path, pl.DataFrame({"order_date": [days[2]], "age_1d": [1.0]}), partition_by=["order_date"])
    with TestClient(app_of({case.name: case}, monkeypatch)) as client:
        overview, page = (text_of(client.get(at).text) for at in ("/health", f"/health/{case.name}"))
    held_back = f"The feature gate holds back {acceptance.night_of(case, days[0])}, for age_1d (constant)"
    assert held_back in page
    assert held_back in overview
    assert "Faults at the feature gate: 3" in page
    assert "by Ada: a new fleet" in page
    assert re.search(rf"{acceptance.night_of(case, days[2])} age_1d mended constant", page)


def test_nobody_without_a_login_sees_any_of_it(made: Path) -> None:
    create_auth_manager()
    with TestClient(pages.app()) as client:
        for path in ("/health", "/health/flight_delays", "/static/nocturne.js"):
            assert client.get(path).status_code == 401
            sent = client.get(path, headers={"accept": "text/html"}, follow_redirects=False)
            assert (sent.status_code, "login" in sent.headers["location"]) == (303, True)


def test_no_other_file_is_served(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(app_of({}, monkeypatch)) as client:
        assert client.get("/static/uPlot.LICENSE").text.startswith("The MIT License")
        for name in ("pages.py", "..%2Fpages.py", "%2e%2e/pages.py"):
            assert client.get(f"/static/{name}").status_code == 404
        assert "There is no use case yet" in client.get("/health").text


# --- in a browser ---


@pytest.fixture
def server(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The pages under ``/nocturne``, as Airflow mounts them, with a use case of each kind."""
    cases = cases_of("calm", "returned", "new")
    lake.make(cases["calm"], NIGHT, 30)
    lake.make(cases["returned"], NIGHT, 30, DRIFTS)
    root = FastAPI()
    root.mount("/nocturne", app_of(cases, monkeypatch))
    running = uvicorn.Server(uvicorn.Config(root, port=0, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    while not running.started:
        time.sleep(0.02)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/nocturne"
    running.should_exit = True
    thread.join()


@pytest.fixture
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


class Watched:
    """A page of the browser, and all that went wrong in it."""

    def __init__(self, browser: Browser, host: str, width: int, scheme: str) -> None:
        dark = scheme == "dark"
        size = {"width": width, "height": 900}
        self.page: Page = browser.new_context(
            viewport={"width": size["width"], "height": size["height"]}, color_scheme="dark" if dark else "light"
        ).new_page()
        self.wrong: list[str] = []
        self.host = host
        self.page.on("console", lambda said: self.wrong.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", self._asked)

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.host, "data:")):
            self.wrong.append(f"asked {request.url}")

    def open(self, path: str) -> Page:
        self.page.goto(f"{self.host}{path}")
        self.page.wait_for_load_state("networkidle")
        self.page.wait_for_timeout(200)
        return self.page

    def overflow(self) -> int:
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize(
    ("width", "scheme"),
    [
        (1200, "light"),
        (390, "dark"),
        pytest.param(1200, "dark", marks=pytest.mark.full),
        pytest.param(390, "light", marks=pytest.mark.full),
    ],
)
def test_the_pages_in_a_browser(server: str, browser: Browser, width: int, scheme: str, tmp_path: Path) -> None:
    """No error, nothing asked of another host, nothing wider than the screen, and pictures where they belong."""
    watched = Watched(browser, server, width, scheme)
    for n, path in enumerate(
        ("/health", "/health/returned", "/health/calm", "/health/new", "/lineage?case=calm", "/card")
    ):
        page = watched.open(path)
        shot = page.screenshot(path=tmp_path / f"{n}.png", full_page=True)
        assert len(shot) > 5_000
        assert watched.overflow() <= 0, f"{path} is wider than {width}"
        light = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (light == "rgb(255, 255, 255)") == (scheme == "light")
    page = watched.open("/health/returned")
    assert page.locator("#quadrants circle").count() == 12
    assert page.locator("#quadrants circle.hot").count() == 1
    assert page.locator("#quadrants text.hot", has_text="delay_mean_1d").count() == 1
    assert page.locator("#evidence canvas").count() == 1
    assert page.locator("#feature-distribution rect").count() == 3 * 11
    assert watched.wrong == []


def test_a_feature_is_chosen_by_keyboard_and_its_table_tells_what_is_drawn(server: str, browser: Browser) -> None:
    watched = Watched(browser, server, 1200, "light")
    page = watched.open("/health/returned")
    page.locator("#quadrants a", has_text="carrier").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#feature").input_value() == "carrier"
    details = page.locator('details[data-table="feature-distribution"]')
    details.locator("summary").focus()
    page.keyboard.press("Enter")
    details.locator("td").first.wait_for()
    assert details.locator("td").first.text_content() == "AA"
    page.locator("#feature").select_option("price_mean_1d")
    page.wait_for_timeout(100)
    assert details.locator("td").first.text_content() == "up to 1"
    named = "e => e.getAttribute('aria-label') || e.getAttribute('aria-labelledby')"
    without = f"[...document.querySelectorAll('[role=img], nav, section')].filter(e => !({named})(e)).length"
    assert page.evaluate(without) == 0
    assert watched.wrong == []


def test_airflows_own_theme_wins_over_the_systems(server: str, browser: Browser) -> None:
    watched = Watched(browser, server, 1200, "light")
    page = watched.open("/health")
    page.evaluate("localStorage.setItem('theme', 'dark')")
    page = watched.open("/health/returned")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    page.evaluate("localStorage.setItem('theme', 'system')")
    page = watched.open("/health")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
