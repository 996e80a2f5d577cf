"""Prometheus, its alerts, Grafana's dashboard and the collector over what an installation really says.

Prometheus itself reads the real page over a lake of the tests, and tells of a night that is late.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
import yaml
from starlette.applications import Starlette
from starlette.routing import Route

from include.core.settings import settings
from include.local.credentials import generate
from include.orchestration import catch_up
from include.web import metrics
from tests.s3 import free_port
from tests.web import lake
from tests.web.sources import land, source_of

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docker" / "observability"
RUNBOOKS = ROOT / "docs" / "alert-runbooks.md"
# A metric of ours, and what it is selected by; the name of a figure is no part of a longer word.
SELECTED = re.compile(r"\bnocturne_(\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
NIGHT = date(2026, 11, 26)
ON_TIME, LATE = source_of("on_time"), source_of("late")


def rules() -> list[dict[str, Any]]:
    told = yaml.safe_load((FOLDER / "alerts.yml").read_text())
    return [rule for group in told["groups"] for rule in group["rules"]]


def rule_tests() -> list[dict[str, Any]]:
    return list(yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"])


def dashboard() -> dict[str, Any]:
    return json.loads((FOLDER / "grafana" / "nocturne.json").read_text())


def queries() -> list[str]:
    """What the panels ask, with all of each variable chosen as Grafana writes it."""
    found = [target["expr"] for panel in dashboard()["panels"] for target in panel.get("targets", [])]
    return [re.sub(r"\$(source|use_case)", ".*", query) for query in found]


def unknown(text: str) -> list[str]:
    """The figures and labels in ``text`` that are none of ours."""
    found = []
    for name, selectors in SELECTED.findall(text):
        if name not in metrics.FIGURES:
            found.append(name)
            continue
        found += [f"{name}{{{label}}}" for label in LABEL.findall(selectors) if label not in metrics.FIGURES[name][1]]
    return found


# --- what needs no other program ---


def test_every_metric_that_is_asked_for_is_one_that_is_there() -> None:
    for rule in rules():
        assert unknown(rule["expr"]) == [], rule["alert"]
    for test in rule_tests():
        assert [unknown(one["series"]) for one in test.get("input_series", []) if unknown(one["series"])] == []
    assert [query for query in queries() if unknown(query)] == []
    for variable in dashboard()["templating"]["list"][1:]:
        metric, label = re.findall(r"label_values\(nocturne_(\w+),(\w+)\)", variable["query"]["query"])[0]
        assert label in metrics.FIGURES[metric][1]
    assert unknown('nocturne_nights{a="b"} + nocturne_nights_late{kind="x"}') == ["nights", "nights_late{kind}"]


def test_every_figure_is_on_the_dashboard_or_in_a_rule() -> None:
    """A figure that nobody looks at costs a series for nothing."""
    used = {name for name, _ in SELECTED.findall(" ".join([*queries(), *(rule["expr"] for rule in rules())]))}
    only_told = {"info", "incident_oldest_timestamp_seconds", "drift_fired", "retraining_asked"}
    times = {"monitored_night_end_timestamp_seconds", "training_timestamp_seconds", "scoring_timestamp_seconds"}
    assert metrics.FIGURES.keys() - used <= only_told | times | {"nights_due", "fallback_rows", "scoring_memory_bytes"}


def test_each_alert_has_its_runbook_and_each_runbook_its_alert() -> None:
    sections = {title.lower(): title for title in re.findall(r"^## (\w+)$", RUNBOOKS.read_text(), re.MULTILINE)}
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert (ROOT / page, sections.pop(anchor)) == (RUNBOOKS, rule["alert"])
        assert rule["labels"]["severity"] in ("page", "ticket", "note")
    assert sections == {}
    for part in re.split(r"^## \w+$", RUNBOOKS.read_text(), flags=re.MULTILINE)[1:]:
        assert all(word in part for word in ("**Means**:", "**Look at**:", "**Do**:"))


def test_each_alert_is_tried_where_it_is_to_be_told_and_where_it_is_not() -> None:
    quiet, *others = rule_tests()
    names = {rule["alert"] for rule in rules()}
    assert {one["alertname"] for one in quiet["alert_rule_test"]} == names
    assert not any(one.get("exp_alerts") for one in quiet["alert_rule_test"])
    told = {one["alertname"] for test in others for one in test["alert_rule_test"] if one.get("exp_alerts")}
    assert told == names


def test_each_kind_of_incident_has_an_alert() -> None:
    """Late and silent by figures of their own, which need nobody who looks; the others by what is open."""
    from include.orchestration import incidents

    asked = set(re.findall(r'kind="(\w+)"', " ".join(rule["expr"] for rule in rules())))
    assert asked == set(incidents.KINDS) - {"late", "silent"}


def test_the_panels_lie_side_by_side_and_ask_the_data_source_that_is_chosen() -> None:
    told = dashboard()
    cells = set[tuple[int, int]]()
    for panel in told["panels"]:
        at = panel["gridPos"]
        own = {(at["x"] + n, at["y"] + m) for n in range(at["w"]) for m in range(at["h"])}
        assert not own & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        cells |= own
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["description"]
    assert len({panel["id"] for panel in told["panels"]}) == len(told["panels"])
    # an empty list of choices must not become a selector that nothing fits
    assert all(one["allValue"] == ".*" for one in told["templating"]["list"][1:])


# --- by Prometheus itself ---


def program(name: str) -> str:
    """Where one of Prometheus' programs is; a test that needs it is skipped where it is not installed."""
    if found := shutil.which(name):
        return found
    pytest.skip(f"{name} is not installed: apt-get install prometheus")


def promtool(*arguments: str, folder: Path = FOLDER) -> None:
    done = subprocess.run([program("promtool"), *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_its_configuration_and_the_rules_do_as_their_tests_say(tmp_path: Path) -> None:
    copy = tmp_path / "docker" / "observability"  # whose token is there
    shutil.copytree(FOLDER, copy)
    (tmp_path / "var" / "secrets").mkdir(parents=True)
    (tmp_path / "var" / "secrets" / "metrics_token").write_text("a-token")
    promtool("check", "config", "prometheus.yml", folder=copy)
    promtool("test", "rules", "alerts_test.yml")


def test_prometheus_can_parse_what_each_panel_asks(tmp_path: Path) -> None:
    recorded = [{"record": f"panel:{n}", "expr": query} for n, query in enumerate(queries())]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}))
    promtool("check", "rules", "panels.yml", folder=tmp_path)


def until(true: Callable[[], Any], seconds: float = 60) -> Any:
    """What ``true`` gives as soon as it is something."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, "it did not come to it"
        time.sleep(0.1)
    return found


@contextmanager
def served(app: Starlette) -> Iterator[int]:
    """The port on which ``app`` is served meanwhile."""
    running = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=running.run, daemon=True)
    thread.start()
    until(lambda: running.started)
    yield int(running.servers[0].sockets[0].getsockname()[1])
    running.should_exit = True
    thread.join()


@contextmanager
def prometheus(folder: Path, target: int, token: str) -> Iterator[Callable[..., Any]]:
    """What Prometheus answers to a request: with our configuration and rules, but by the second and not the minute."""
    folder.mkdir()
    told = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    told["global"] = dict.fromkeys(("scrape_interval", "scrape_timeout", "evaluation_interval"), "1s")
    told["scrape_configs"] = [one for one in told["scrape_configs"] if one["job_name"] == "nocturne"]
    told["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
    told["scrape_configs"][0]["authorization"]["credentials_file"] = "token"
    (folder / "token").write_text(token)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(told))
    (folder / "alerts.yml").write_text(re.sub(r"for: \d+m", "for: 1s", (FOLDER / "alerts.yml").read_text()))
    port = free_port()
    command = [program("prometheus"), "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", trust_env=False)

    def ask(path: str, **given: str) -> Any:
        answer = client.get(path, params=given)
        answer.raise_for_status()
        return answer.json()["data"]

    def answers() -> bool:
        try:
            return bool(client.get(f"http://127.0.0.1:{port}/-/ready").is_success)
        except httpx.TransportError:
            return False

    with (
        client,
        (folder / "log").open("w") as log,
        subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as running,
    ):
        try:
            until(answers)
            yield ask
        finally:
            running.terminate()


class Installation:
    """A page of figures over a lake of the tests, by a clock that the test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 11, 27, 8, 59, tzinfo=UTC)
        case = lake.case_of("returned")
        lake.make(case, NIGHT, 20)
        for source in (ON_TIME, LATE):
            land(source, [date(2026, 11, 25)], quarantined=10)
        land(ON_TIME, [NIGHT], quarantined=10)
        land(LATE, [NIGHT], counted=False)
        figures = metrics.Figures(
            sources=lambda: {one.name: one for one in (ON_TIME, LATE)},
            cases=lambda: {case.name: case},
            now=lambda: self.now,
            components=lambda: {"scheduler": True},
        )
        self.app = Starlette(routes=[Route("/nocturne/metrics", metrics.Page(figures).answer)])


@pytest.fixture
def installation(home: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    generate(settings())
    monkeypatch.setenv("NOCTURNE_METRICS_TOKEN", settings().secret("metrics_token"))
    monkeypatch.setattr(catch_up, "use_cases", dict)
    monkeypatch.setattr(metrics, "KEPT_SECONDS", 0.0)
    settings.cache_clear()
    return Installation()


def firing(ask: Callable[..., Any]) -> set[tuple[str, str]]:
    found = [one["labels"] for one in ask("alerts")["alerts"] if one["state"] == "firing"]
    return {(one["alertname"], one.get("source", one.get("use_case", ""))) for one in found}


def evaluated(ask: Callable[..., Any], name: str) -> datetime:
    told = ask("rules")["groups"]
    (at,) = [rule["lastEvaluation"] for group in told for rule in group["rules"] if rule["name"] == name]
    return datetime.fromisoformat(at[:26].rstrip("Z") + "+00:00")


def test_a_real_prometheus_tells_of_the_night_that_is_late_and_of_no_other(
    installation: Installation, tmp_path: Path
) -> None:
    program("prometheus")
    token = settings().secret("metrics_token")
    with served(installation.app) as port, prometheus(tmp_path / "prometheus", port, token) as ask:
        until(lambda: ask("query", query='nocturne_nights_due{source="late"}')["result"])
        # a minute before the deadline: several evaluations of what has been read, and nothing is told
        begun = datetime.now(UTC)
        until(lambda: (evaluated(ask, "NightLate") - begun).total_seconds() > 3)
        assert firing(ask) == set()
        installation.now = datetime(2026, 11, 27, 9, tzinfo=UTC)
        until(lambda: firing(ask))
        assert firing(ask) == {("NightLate", "late")}
        for query in queries():  # which Prometheus answers, be it by nothing
            ask("query", query=query)
        empty = [query for query in queries() if not ask("query", query=query)["result"]]
        # no GPU is here, and a share of thirty days takes minutes to begin
        assert [query for query in empty if "gpu" not in query and "[30d" not in query] == []
        land(LATE, [NIGHT], quarantined=10)
        until(lambda: not firing(ask))


def test_a_prometheus_with_another_token_gets_nothing_and_says_so(installation: Installation, tmp_path: Path) -> None:
    program("prometheus")
    with served(installation.app) as port, prometheus(tmp_path / "prometheus", port, "another") as ask:
        until(lambda: ("NocturneDown", "") in firing(ask))
        # until there is a target at all, that too is none that answers
        (target,) = until(lambda: [one for one in ask("targets")["activeTargets"] if one["lastError"]])
        assert (target["health"], "401" in target["lastError"]) == ("down", True)
