"""What Prometheus is given: who gets it, and that each figure is what the lake says."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from airflow.api_fastapi.app import create_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.security import get_user
from deltalake import write_deltalake
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from starlette.requests import Request

from include.contracts.source import Source
from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.lake import delta, tail
from include.local.credentials import generate
from include.local.environment import METRICS_TOKEN, of_secrets, of_settings
from include.orchestration import catch_up, incidents, watch
from include.orchestration.airflow_client import Airflow
from include.orchestration.incidents import Incident
from include.web import metrics, pages, tables
from tests.web import lake
from tests.web.lake import Story
from tests.web.sources import land, source_of

NIGHT = date(2026, 11, 26)
DEADLINE = datetime(2026, 11, 27, 9, tzinfo=UTC)  # the night ends at 0:00; 6 h for its files, 3 to be through
ORDERS = source_of("orders")
DRIFTS = Story("delay_mean_1d", 9, 3.2, 0.012, asks=True)


@pytest.fixture
def made(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    generate(settings())
    monkeypatch.setattr(catch_up, "use_cases", dict)
    return home


def figures(
    at: datetime = DEADLINE, cases: tuple[UseCase, ...] = (), sources: tuple[Source, ...] = (ORDERS,), **more: Any
) -> metrics.Figures:
    return metrics.Figures(
        sources=lambda: {one.name: one for one in sources},
        cases=lambda: {one.name: one for one in cases},
        now=lambda: at,
        **more,
    )


def values(of: metrics.Figures) -> dict[tuple[str, ...], float]:
    """Each sample by its name without the prefix, and the values of its labels."""
    return {
        (sample.name.removeprefix("nocturne_"), *sample.labels.values()): sample.value
        for family in of.collect()
        for sample in family.samples
    }


def days(*numbers: int) -> list[date]:
    return [date(2026, 11, number) for number in numbers]


# --- nights ---


def test_a_night_is_late_from_its_deadline_on_and_one_on_time_is_not(made: Path) -> None:
    late = source_of("late")
    land(ORDERS, days(24, 25, 26))
    land(late, days(24, 25))
    land(late, days(26), counted=False)
    before = values(figures(DEADLINE - timedelta(minutes=1), sources=(ORDERS, late)))
    after = values(figures(DEADLINE, sources=(ORDERS, late)))
    assert [before["nights_late", name] for name in ("orders", "late")] == [0, 0]
    assert [after["nights_late", name] for name in ("orders", "late")] == [0, 1]
    assert [after["nights_due", name] for name in ("orders", "late")] == [3, 3]
    land(late, days(26))
    assert values(figures(DEADLINE, sources=(ORDERS, late)))["nights_late", "late"] == 0


def test_what_is_late_here_is_late_where_incidents_are_looked_for(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One definition: a night whose failure is told of is not late as well, and history is late for nobody."""
    monkeypatch.setattr(watch, "sources", lambda: {"orders": ORDERS})
    land(ORDERS, [date(2013, 6, 1), *days(24, 25, 26)], counted=False)
    land(ORDERS, days(24))

    def both() -> tuple[float, list[Incident]]:
        open_ = [*incidents.open_incidents().values()]
        now = watch.Now(DEADLINE, Airflow(settings()))
        return values(figures())["nights_late", "orders"], [*watch.late(now, open_)]

    late, (incident,) = both()
    assert (late, "2026-11-25..2026-11-26" in incident.said) == (2, True)
    incidents.report(Incident("failed x 2026-11-25", "failed", "no rows", "mend it", dag="x", partition="2026-11-25"))
    late, (incident,) = both()
    assert (late, "orders: 2026-11-26 landed" in incident.said) == (1, True)


def test_an_upstream_that_fell_silent_owes_its_nights_and_history_owes_none(made: Path) -> None:
    history = source_of("history")
    land(ORDERS, days(24))
    land(history, [date(2013, 6, 1)])
    found = values(figures(sources=(ORDERS, history)))
    assert (found["nights_silent", "orders"], found["nights_silent", "history"]) == (2, 0)
    assert values(figures(sources=(source_of("new"),)))["nights_silent", "new"] == 0


def test_rows_of_the_newest_night_are_those_of_its_equation(made: Path) -> None:
    land(ORDERS, days(25, 26), quarantined=30)
    found = values(figures())
    terms = [found["night_rows", "orders", "placed", of] for of in metrics.OUTCOMES]
    assert (found["night_rows_in", "orders", "placed"], terms) == (1_000, [960, 30, 10])
    assert found["night_end_timestamp_seconds", "orders"] == datetime(2026, 11, 27, tzinfo=UTC).timestamp()
    assert found["quarantine_limit_ratio", "orders", "placed"] == 0.05


# --- what is wrong ---


def test_every_kind_of_incident_has_its_figure_be_none_open(made: Path) -> None:
    assert tuple(watch.LOOKS) == incidents.KINDS
    quiet = values(figures())
    assert {kind: quiet["incidents_open", kind] for kind in incidents.KINDS} == dict.fromkeys(incidents.KINDS, 0.0)
    incidents.report(Incident("failed x 2026-11-25", "failed", "no rows", "mend it"))
    incidents.report(Incident("failed y 2026-11-25", "failed", "no rows", "mend it"))
    told = values(figures())
    assert told["incidents_open", "failed"] == 2
    assert told["incident_oldest_timestamp_seconds", "failed"] == pytest.approx(datetime.now(UTC).timestamp(), abs=60)
    incidents.close("failed x 2026-11-25")
    incidents.close("failed y 2026-11-25")
    assert values(figures()).keys() == quiet.keys()


def test_what_cannot_be_read_is_a_figure_and_the_rest_is_there(made: Path) -> None:
    broken, calm = lake.case_of("broken"), lake.case_of("calm")
    for case in (broken, calm):
        lake.make(case, NIGHT, 20)
    land(ORDERS, days(26))
    assert not [key for key in values(figures(cases=(broken, calm))) if key[0] == "unreadable"]
    for log in Path(str(delta.table_path("gold", "broken__figures") / "_delta_log")).iterdir():
        log.write_text("no log")
    rows = delta.read_all("gold", "broken__deployments").with_columns(reason=pl.lit("since I say so"))
    write_deltalake(str(delta.table_path("gold", "broken__deployments")), rows, mode="overwrite")
    found = values(figures(cases=(broken, calm)))
    assert {key[1] for key in found if key[0] == "unreadable"} == {"gold.broken__figures", "gold.broken__deployments"}
    assert ("champion_info", "calm", "1", "gates") in found
    assert ("drift_ratio", "broken", "quality") in found


# --- models ---


def test_drift_fires_for_the_use_case_that_drifts_and_for_no_other(made: Path) -> None:
    calm, drifts = lake.case_of("calm"), lake.case_of("drifts")
    lake.make(calm, NIGHT, 40)
    lake.make(drifts, NIGHT, 40, DRIFTS)
    found = values(figures(cases=(calm, drifts)))
    assert [found["drift_fired", name, "input_drift"] for name in ("calm", "drifts")] == [0, 1]
    assert found["drift_ratio", "calm", "input_drift"] < 1 <= found["drift_ratio", "drifts", "input_drift"]
    assert [found["retraining_asked", name] for name in ("calm", "drifts")] == [0, 1]
    # a champion of 40 nights, whose labels are known at once
    assert (found["champion_age_days", "calm"], found["champion_age_limit_days", "calm"]) == (40, 120)
    assert found["quality_promised", "calm", "auc"] == pytest.approx(0.74, abs=0.05)
    assert found["training_seconds", "calm", "cpu"] == 12.5


def test_costs_are_those_of_thirty_days(made: Path) -> None:
    calm = lake.case_of("calm")
    lake.make(calm, NIGHT, 60)
    found = values(figures(datetime(2026, 11, 27, 12, tzinfo=UTC), cases=(calm,)))
    since = pl.col("at") >= datetime(2026, 10, 28, 12, tzinfo=UTC)
    lines = delta.read_all("ledger", "scorings").filter(since)
    assert found["scoring_rows_30d", "calm"] == 98_000 * lines.height
    assert found["scoring_cost_30d", "calm"] == pytest.approx(0.4 * lines["seconds"].sum() / 3600)
    assert found["scoring_rows", "calm"] == 98_000


def test_a_commit_shows_at_the_next_scrape(made: Path) -> None:
    calm = lake.case_of("calm")
    lake.make(calm, NIGHT, 20)
    of = figures(cases=(calm,))
    assert values(of)["drift_fired", "calm", "quality"] == 0
    night = delta.read_days("gold", "calm__monitoring", NIGHT, NIGHT, day="partition_day")
    fires = (pl.col("sensor") == "quality") & (pl.col("feature") == "")
    worse = night.with_columns(value=pl.when(fires).then(999.0).otherwise(pl.col("value")))
    delta.replace_days("gold", "calm__monitoring", worse, NIGHT, NIGHT, day="partition_day")
    assert values(of)["drift_fired", "calm", "quality"] == 1


def test_a_scrape_looks_at_each_table_once(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = lake.case_of("calm")
    lake.make(calm, NIGHT, 20)
    land(ORDERS, days(26))
    of = figures(cases=(calm,))
    values(of)
    looked: list[str] = []

    def advance(one: tail.Tail) -> None:
        looked.append(str(one.folder))
        tail.advance(one)

    monkeypatch.setattr(tables, "advance", advance)
    values(of)
    assert len(looked) == len(set(looked)) > 5


# --- the page ---


@pytest.fixture
def client(made: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The pages as Airflow mounts them, with the token of the set-up, asked by somebody who is logged in as admin."""
    monkeypatch.setenv("NOCTURNE_METRICS_TOKEN", settings().secret("metrics_token"))
    monkeypatch.setattr(metrics, "of_airflow", lambda: {"scheduler": True, "triggerer": False})
    settings.cache_clear()
    create_auth_manager()
    app = pages.app()
    app.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="x", role="admin")
    with TestClient(app) as found:
        yield found


def asked(client: TestClient, header: str) -> int:
    return client.get("/metrics", headers={"authorization": header} if header else {}).status_code


def test_the_figures_are_for_whoever_has_the_token(client: TestClient) -> None:
    token = settings().secret("metrics_token")
    for header in ("", "Bearer", "Bearer ", f"Basic {token}", token, f"Bearer {token[:-1]}", f"Bearer {token}x"):
        assert asked(client, header) == 401, header
    assert asked(client, f"Bearer {token}") == asked(client, f"bearer {token}") == 200
    assert client.post("/metrics", headers={"authorization": f"Bearer {token}"}).status_code == 405
    assert client.get("/metrics").headers["www-authenticate"] == "Bearer"


def test_without_a_token_nobody_gets_them(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOCTURNE_METRICS_TOKEN")
    settings.cache_clear()
    for header in ("", "Bearer", "Bearer "):
        assert asked(client, header) == 401


def test_it_is_what_prometheus_reads_and_holds_no_secret(client: TestClient) -> None:
    token = settings().secret("metrics_token")
    answer = client.get("/metrics", headers={"authorization": f"Bearer {token}"})
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    told = {one.name: one for one in text_string_to_metric_families(answer.text)}
    assert told.keys() == {f"nocturne_{name}" for name in metrics.FIGURES}
    up = {one.labels["component"]: one.value for one in told["nocturne_component_up"].samples}
    assert up == {"scheduler": 1, "triggerer": 0}
    for secret in (settings().secrets).iterdir():
        assert secret.read_text().strip() not in answer.text
    open_metrics = {"authorization": f"Bearer {token}", "accept": "application/openmetrics-text; version=1.0.0"}
    assert client.get("/metrics", headers=open_metrics).text.endswith("# EOF\n")


def test_many_who_ask_at_once_cost_one_reading(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTURNE_METRICS_TOKEN", "a-token")
    settings.cache_clear()
    read: list[int] = []

    def components() -> dict[str, bool]:
        read.append(1)
        return {}

    page = metrics.Page(figures(components=components))

    def request() -> Request:
        return Request({"type": "http", "method": "GET", "headers": [(b"authorization", b"Bearer a-token")]})

    async def all_() -> list[int]:
        return [answer.status_code for answer in await asyncio.gather(*(page.answer(request()) for _ in range(8)))]

    assert (asyncio.run(all_()), len(read)) == ([200] * 8, 1)


def test_no_label_is_a_row_a_person_or_a_file(made: Path) -> None:
    """Series are as many as sources, feeds, use cases and sensors: nothing grows with rows or nights."""
    allowed = {"engine", "what", "component", "source", "feed", "outcome", "kind", "use_case", "version", "how"}
    allowed |= {"sensor", "metric", "of", "device"}
    assert {label for _, labels in metrics.FIGURES.values() for label in labels} == allowed
    few, many = lake.case_of("few"), lake.case_of("many")
    lake.make(few, NIGHT, 3)
    lake.make(many, NIGHT, 90)
    found = values(figures(cases=(few, many)))
    assert sum("few" in key for key in found) == sum("many" in key for key in found) > 20


def test_the_services_have_the_token_that_is_given(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert of_secrets(settings())[METRICS_TOKEN] == settings().secret("metrics_token")
    monkeypatch.setenv("NOCTURNE_METRICS_TOKEN", "of-a-vault")
    settings.cache_clear()
    assert of_secrets(settings())[METRICS_TOKEN] == "of-a-vault"
    assert "of-a-vault" not in str(of_settings(settings())) + repr(settings())
