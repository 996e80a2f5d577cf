"""The whole path once, on the real stack: landing to predictions, and what bad input gets on the way."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import httpx
import polars as pl
import pytest
from deltalake import DeltaTable

from examples.replay import replay
from include.core.partitions import Partitions
from include.local.environment import environment
from include.orchestration.airflow_client import Run, RunFailedError
from tests.integration.conftest import Stack

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
HEAD = "lakehouse_ingest_flights"
# A model trains on the days from 2013-01-29 on, the first with their whole look-back, and is judged on the last 14.
HISTORY = Partitions.parse("2013-01-01..2013-03-17")
NIGHTS = Partitions.parse("2013-03-18..2013-03-19")
LAST = Partitions(HISTORY.last, HISTORY.last)
AHEAD = NIGHTS.last + timedelta(1)  # the day whose flights the last night predicts
KEY_AND_CONTENT = ("table", "partition_day", "ingestion_date", "content")
FEEDS = ("schedule", "actuals", "weather")


def read(stack: Stack, layer: str, table: str) -> pl.DataFrame:
    return pl.read_delta(str(stack.settings.lake / layer / table))


def content(stack: Stack) -> dict[str, int]:
    """An order-independent hash of every published table, and so of everything that anybody can read."""
    tables = [path for layer in ("bronze", "silver", "gold") for path in (stack.settings.lake / layer).iterdir()]
    return {
        f"{path.parent.name}.{path.name}": int(pl.read_delta(str(path)).select(sorted_columns(path)).hash_rows(7).sum())
        for path in tables
        if (path / "_delta_log").exists()
    }


def sorted_columns(path: Path) -> list[str]:
    return sorted(pl.scan_delta(str(path)).collect_schema().names())


def file_rows(stack: Stack, feed: str, day: str) -> int:
    return len(stack.landing(feed, day).read_text().splitlines()) - 1


@pytest.fixture(scope="module")
def run(stack: Stack) -> Callable[[str, Partitions], list[Run]]:
    def trigger(dag_id: str, nights: Partitions) -> list[Run]:
        return stack.airflow.follow([stack.airflow.trigger(dag_id, nights)])

    stack.airflow.wait_for_dags({HEAD, "lakehouse_transform_flights", "flight_delays_train", "flight_delays_monitor"})
    return trigger


@contextmanager
def only_to_silver(stack: Stack) -> Iterator[None]:
    """While this lasts, features and what follows on them are not built, and nobody waits for them."""
    features = "/dags/flight_delays_features"
    every = stack.airflow.assets()
    for asset in every:
        asset["scheduled_dags"] = [one for one in asset["scheduled_dags"] if f"/dags/{one['dag_id']}" != features]
    stack.airflow.call("PATCH", features, json={"is_paused": True})
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stack.airflow, "assets", lambda: every)
            yield
    finally:
        stack.airflow.call("PATCH", features, json={"is_paused": False})


@pytest.fixture(scope="module")
def nights(stack: Stack, run: Callable[[str, Partitions], list[Run]]) -> list[Run]:
    """History as a range, a first champion, two nights as a backfill."""
    replay(stack.settings.landing, HISTORY, with_dimensions=True)
    run(HEAD, HISTORY)
    run("flight_delays_train", LAST)
    replay(stack.settings.landing, NIGHTS)
    return stack.airflow.follow(stack.airflow.backfill(HEAD, NIGHTS))


def test_a_backfill_of_the_head_reaches_the_monitor(nights: list[Run]) -> None:
    stages = {(run.dag_id, run.partition_key) for run in nights if run.state == "success"}
    assert stages >= {
        (dag_id, str(night))
        for night in NIGHTS.days
        for dag_id in (
            HEAD,
            "lakehouse_transform_flights",
            "flight_delays_features",
            "flight_delays_predict",
            "flight_delays_monitor",
        )
    }


@pytest.mark.parametrize("day", [str(day) for day in (*NIGHTS.days, AHEAD)])
def test_each_scheduled_flight_is_predicted_once(stack: Stack, nights: list[Run], day: str) -> None:
    file = pl.read_csv(stack.landing("schedule", day), infer_schema=False)
    scheduled = file.select(pl.concat_str("flight_date", "carrier", "flight_number", "origin", separator=":"))
    predicted = read(stack, "gold", "flight_delays__predictions").filter(
        pl.col("flight_date") == pl.lit(day).str.to_date()
    )
    assert sorted(predicted["flight_id"]) == sorted(scheduled.to_series())
    assert predicted["model_version"].unique().to_list() == [1]
    assert predicted["score"].is_between(0, 1).all()


@pytest.mark.parametrize("feed", FEEDS)
def test_every_row_of_every_file_is_accounted_for(stack: Stack, nights: list[Run], feed: str) -> None:
    kept = read(stack, "bronze", f"flights__{feed}").select("partition_day")
    # The data has one broken row of its own: a wind of 1,048 miles an hour, on 2013-02-12.
    if (stack.settings.lake / "bronze" / f"flights__{feed}__quarantine").exists():
        kept = pl.concat([kept, read(stack, "bronze", f"flights__{feed}__quarantine").select("partition_day")])
    assert not kept.is_empty()
    for day, rows in kept.group_by("partition_day").len().iter_rows():
        assert rows == file_rows(stack, feed, str(day)), f"{feed} {day}"


def test_no_feature_knows_its_own_day(stack: Stack, nights: list[Run]) -> None:
    features = read(stack, "gold", "flight_delays__features")
    assert features.filter(pl.col("known_from") < pl.col("flight_date")).height == features.height


def test_features_agree_with_a_plain_count(stack: Stack, nights: list[Run]) -> None:
    """One feature counted again from the landing files, by other means than dbt's."""
    day, before = str(NIGHTS.last), [str(NIGHTS.last - timedelta(n)) for n in range(1, 8)]
    files = [pl.read_csv(stack.landing("actuals", one), infer_schema=False) for one in before]
    flown = pl.concat(files).with_columns(late=pl.col("arr_delay").cast(float) > 15)
    rates = flown.group_by("carrier").agg(
        rate=(pl.col("dep_time").is_null() | pl.col("arr_delay").is_null() | pl.col("late")).mean()
    )
    features = read(stack, "gold", "flight_delays__features").filter(pl.col("flight_date") == pl.lit(day).str.to_date())
    both = features.select("carrier", "carrier_disrupted_rate_7d").unique().join(rates, on="carrier")
    assert both.height == features["carrier"].n_unique()
    assert ((both["carrier_disrupted_rate_7d"] - both["rate"]).abs() < 1e-9).all()


def test_the_register_as_it_changed_is_each_of_its_snapshots(stack: Stack, nights: list[Run]) -> None:
    register = read(stack, "silver", "dim_aircraft")
    versions = read(stack, "silver", "dim_aircraft_history")
    for (day,), snapshot in register.group_by("snapshot_date"):
        valid = versions.filter(pl.col("valid_from") <= day, pl.col("valid_to").is_null() | (pl.col("valid_to") > day))
        assert sorted(valid["aircraft"]) == sorted(snapshot["aircraft"])


def test_a_night_runs_no_unit_tests(stack: Stack, nights: list[Run]) -> None:
    results = json.loads((stack.settings.lake / "dbt" / "flight_delays_features" / "run_results.json").read_text())
    ran = {one["unique_id"].split(".")[0] for one in results["results"]}
    assert ran >= {"model", "test"}
    assert "unit_test" not in ran


def test_the_champion_can_be_traced(stack: Stack, nights: list[Run]) -> None:
    auth = ("admin", stack.settings.secret("mlflow_admin_password"))
    api = f"{stack.settings.mlflow_url}/api/2.0/mlflow"
    model = httpx.get(f"{api}/registered-models/get", params={"name": "flight_delays"}, auth=auth).json()
    assert {one["alias"]: one["version"] for one in model["registered_model"]["aliases"]}["champion"] == "1"
    version = model["registered_model"]["latest_versions"][0]
    data = httpx.get(f"{api}/runs/get", params={"run_id": version["run_id"]}, auth=auth).json()["run"]["data"]
    tags = {tag["key"] for tag in data["tags"]}
    assert data["metrics"]
    assert data["params"]
    assert any("version" in tag for tag in tags), tags
    assert any("git" in tag for tag in tags), tags


def printed_by(stack: Stack, *arguments: str) -> str:
    """What a Python command of this installation prints."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment(stack.settings), check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.one_engine
def test_the_guide_loads_a_training_set(stack: Stack, nights: list[Run]) -> None:
    guide = (ROOT / "docs" / "training-sets.md").read_text()
    example = guide.split("```python")[1].split("```")[0]
    assert "date(2013, 5, 31)" in example
    example = example.replace("date(2013, 5, 31)", f"date.fromisoformat('{HISTORY.last}')")
    shown = printed_by(stack, "-c", f"{example}\nprint(len(data.frame), batch.num_rows, data.versions)")
    features = read(stack, "gold", "flight_delays__features")
    rows = features["flight_date"].is_between(date(2013, 1, 29), HISTORY.last).sum()
    assert shown.startswith(f"{rows} ")
    assert "'flight_delays__labels'" in shown


@pytest.mark.one_engine
def test_the_notebook_opens_the_lake_a_training_set_and_the_champion(stack: Stack, nights: list[Run]) -> None:
    cells = json.loads((ROOT / "examples" / "explore.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    shown = printed_by(stack, "-c", f"{code}\nprint(len(scores), len(data.frame) > 0, booster.num_boosted_rounds())")
    scored, learned, trees = shown.split()[-3:]
    assert int(scored) > 0
    assert learned == "True"
    assert int(trees) > 0


def test_features_are_shown_with_what_they_give_the_champion(stack: Stack, nights: list[Run]) -> None:
    shown = printed_by(stack, "-m", "include.cli", "features", "--use-case=flight_delays").splitlines()
    assert "champion: version 1" in shown[0]
    (baseline,) = (line.split() for line in shown if line.startswith("origin_hour_disrupted_rate_28d"))
    assert "28 days" in " ".join(baseline)
    assert float(next(word for word in baseline if word.endswith("%"))[:-1]) > 1
    assert baseline[-1] == "1", "the version that takes it"


def test_a_prediction_is_traced_to_the_files_that_its_features_look_at(stack: Stack, nights: list[Run]) -> None:
    flight = read(stack, "gold", "flight_delays__predictions").filter(pl.col("flight_date") == NIGHTS.last)
    asked = ("trace", f"--prediction={flight['flight_id'].min()}", "--json")
    found = json.loads(printed_by(stack, "-m", "include.cli", *asked))
    looked_at = {f"actuals/{NIGHTS.last - timedelta(n)}" for n in range(1, 29)}
    looked_at |= {f"schedule/{NIGHTS.last}", f"weather/{NIGHTS.first}"}
    paths = {one["path"].removeprefix("flights/").removesuffix(".csv"): one for one in found["files"]}
    assert {path for path in paths if not path.startswith("planes/")} == looked_at
    assert [path for path in paths if path.startswith("planes/")] == [max(snapshots(stack, "planes"))]
    for one in found["files"]:
        content = (stack.settings.landing / one["path"]).read_bytes()
        assert (one["sha256"], one["now"]) == (hashlib.sha256(content).hexdigest(), "equal")
    assert found["champion"]["model_version"] == found["prediction"]["model_version"] == 1
    assert found["champion"]["model_sha256"] == found["tags"]["model_sha256"]
    assert found["row"]["known_from"] == str(NIGHTS.first)
    days = {one["path"][-14:-4] for one in found["training"]["files"] if "/actuals/" in one["path"]}
    assert days == {str(day) for day in HISTORY.days}


def snapshots(stack: Stack, feed: str) -> list[str]:
    """The files of ``feed`` that the features of the last night's day could have seen."""
    there = sorted(path.stem for path in (stack.settings.landing / "flights" / feed).iterdir())
    return [f"{feed}/{day}" for day in there if day < str(NIGHTS.last)]


def test_lineage_is_told_of_every_stage(stack: Stack, nights: list[Run]) -> None:
    lines = (stack.settings.var / "openlineage" / "events.jsonl").read_text().splitlines()
    told = [event for event in map(json.loads, lines) if event["eventType"] == "COMPLETE"]
    lake, landing = stack.settings.lake, stack.settings.landing

    def last(job: str) -> tuple[set[str], set[str]]:
        event = [one for one in told if one["job"]["name"] == job][-1]
        return {one["name"] for one in event["inputs"]}, {one["name"] for one in event["outputs"]}

    assert last("lakehouse_ingest_flights.actuals") == (
        {f"{landing}/flights/actuals/{NIGHTS.last}.csv"},
        {f"{lake}/bronze/flights__actuals"},
    )
    assert last("lakehouse_transform_flights.fct_flights") == (
        {f"{lake}/bronze/flights__actuals"},
        {f"{lake}/silver/fct_flights"},
    )
    assert last("flight_delays_features.flight_delays__features")[0] == {
        f"{lake}/silver/{name}"
        for name in ("fct_scheduled_flights", "fct_flights", "fct_weather_hourly", "dim_aircraft")
    }
    assert last("flight_delays_train.train")[1] == {"flight_delays"}
    assert last("flight_delays_predict.score") == (
        {f"{lake}/gold/flight_delays__features", "flight_delays"},
        {f"{lake}/gold/flight_delays__predictions"},
    )


@pytest.mark.one_engine
def test_the_pages_in_airflows_menu_are_behind_its_login(stack: Stack, nights: list[Run]) -> None:
    pages = f"{stack.settings.airflow_url}/nocturne"
    file = stack.landing("actuals", str(NIGHTS.first))
    landed = f"landing/flights/actuals/{NIGHTS.first}.csv"
    for path in ("dbt", "lineage", landed):
        assert httpx.get(f"{pages}/{path}").status_code == 401
        sent = httpx.get(f"{pages}/{path}", headers={"Accept": "text/html"})
        assert (sent.status_code, sent.next_request and sent.next_request.url.path) == (303, "/auth/login")
        assert httpx.get(f"{pages}/{path}", cookies={"_token": "made.up.token"}).status_code in (401, 403)

    body = {"username": "admin", "password": stack.settings.secret("airflow_admin_password")}
    token = httpx.post(f"{stack.settings.airflow_url}/auth/token", json=body).json()["access_token"]
    with httpx.Client(base_url=pages, cookies={"_token": token}, timeout=60) as browser:
        dbt = browser.get("dbt").text
        # Built after the first transform, when there was no gold, and again when there was.
        assert "flight_delays__features" in dbt
        assert "flights__actuals" in dbt
        assert browser.get(landed).content == file.read_bytes()
        assert browser.get("landing/flights/actuals/..%2F..%2F..").status_code in (404, 422)
        flight = read(stack, "gold", "flight_delays__predictions")["flight_id"].min()
        chain = browser.get("lineage", params={"prediction": flight}).text
        assert "6 · Landing files" in chain
        assert "landing/flights/schedule/" in chain
        assert "no prediction with the flight_id" in browser.get("lineage", params={"prediction": "x"}).text
        assert "<script>x" not in browser.get("lineage", params={"prediction": "<script>x"}).text


@pytest.mark.one_engine
def test_mlflow_asks_for_a_login(stack: Stack) -> None:
    answer = httpx.get(f"{stack.settings.mlflow_url}/api/2.0/mlflow/registered-models/search")
    assert answer.status_code == 401


def test_every_night_has_a_decision(stack: Stack, nights: list[Run]) -> None:
    decisions = read(stack, "gold", "flight_delays__decisions")
    assert set(NIGHTS.days) <= set(decisions["partition_day"])
    assert set(decisions["decision"]) <= {"yes", "no"}
    assert decisions["reason"].str.len_chars().min() > 0


def compare(stack: Stack, contents: Path, when: str) -> None:
    """Every partition, by the hash that its last publication has. The engine that gets here last compares."""
    ledger = (
        read(stack, "ledger", "publications")
        .sort("revision")
        .group_by("table", "partition_day", "ingestion_date")
        .last()
    )
    ours = {f"{table} {day} {night}": found for table, day, night, found in ledger.select(KEY_AND_CONTENT).iter_rows()}
    assert {key.partition(".")[0] for key in ours} == {"bronze", "silver", "gold"}
    part = contents / f".{when}-{stack.settings.engine}"
    part.write_text(json.dumps(ours))
    part.replace(contents / f"{when}-{stack.settings.engine}.json")
    for path in contents.glob(f"{when}-*.json"):
        other = json.loads(path.read_text())
        assert {key for key in ours.keys() | other.keys() if ours.get(key) != other.get(key)} == set(), path.stem


def test_both_engines_end_with_the_same_content(stack: Stack, nights: list[Run], contents: Path) -> None:
    compare(stack, contents, "nights")


@pytest.mark.one_engine
def test_a_night_without_files_is_skipped(stack: Stack, run: Callable[[str, Partitions], list[Run]]) -> None:
    runs = run(HEAD, Partitions.parse("2014-03-01"))
    assert [one.dag_id for one in runs] == [HEAD]
    assert stack.airflow.announced(runs[0], stack.airflow.assets()) == {}
    assert "nothing in landing for flights 2014-03-01" in stack.log(runs[0], "plan")


def failing(stack: Stack, start: Callable[[], Run]) -> Run:
    """The run that ``start`` starts, which must fail."""
    first = start()
    with pytest.raises(RunFailedError):
        stack.airflow.follow([first])
    return stack.airflow.run(first.dag_id, first.run_id)


@pytest.mark.one_engine
def test_a_run_without_a_partition_is_refused(stack: Stack, nights: list[Run]) -> None:
    def start() -> Run:
        body = stack.airflow.call("POST", f"/dags/{HEAD}/dagRuns", json={"logical_date": None})
        return Run.of(body)

    refused = failing(stack, start)
    log = stack.log(refused, "wait")
    assert "has no partition" in log
    assert "make backfill from=" in log


@pytest.mark.one_engine
def test_a_half_written_file_stops_the_night_and_its_repair_heals_it(stack: Stack, nights: list[Run]) -> None:
    night = Partitions(AHEAD, AHEAD)
    replay(stack.settings.landing, night)
    file = stack.landing("actuals", night.key)
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    before = content(stack)

    failed = failing(stack, lambda: stack.airflow.trigger(HEAD, night))
    log = stack.log(failed, "plan")
    assert str(file) in log
    assert "half-written" in log
    assert content(stack) == before

    file.write_bytes(whole)
    with only_to_silver(stack):
        stack.airflow.follow([stack.airflow.trigger(HEAD, night)])
    actuals = read(stack, "bronze", "flights__actuals").filter(pl.col("partition_day") == night.first)
    assert actuals.height == file_rows(stack, "actuals", night.key)


def by_day(stack: Stack) -> dict[tuple[str, object], int]:
    """The content of every published table, day by day. Without the ledgers, which grow."""
    found = {}
    for layer in ("bronze", "silver", "gold"):
        for path in (stack.settings.lake / layer).iterdir():
            if not (path / "_delta_log").exists():
                continue
            partitioned = DeltaTable(str(path)).metadata().partition_columns
            rows = pl.read_delta(str(path)).select(sorted_columns(path))
            for (day,), of_day in rows.group_by(partitioned[0] if partitioned else pl.lit("all")):
                found[f"{layer}.{path.name}", day] = int(of_day.hash_rows(7).sum())
    return found


def changed(before: dict[tuple[str, object], int], after: dict[tuple[str, object], int]) -> set[tuple[str, object]]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


@pytest.mark.one_engine
def test_broken_repeated_and_late_rows_are_each_where_they_belong(stack: Stack, nights: list[Run]) -> None:
    night, late = Partitions(AHEAD, AHEAD), date(2013, 3, 1)
    replay(stack.settings.landing, night)
    file = stack.landing("actuals", night.key)
    lines = file.read_text().splitlines()
    broken, of_may = lines[1].split(","), stack.landing("actuals", str(late)).read_text().splitlines()[1].split(",")
    broken[7], of_may[2] = "late", "9998"
    bad = [lines[0], ",".join(broken), *lines[2:], lines[5], f"{night.key},UA", ",".join(of_may)]
    file.write_text("\n".join(bad) + "\n")
    before = by_day(stack)

    runs = stack.airflow.follow([stack.airflow.trigger(HEAD, night)])
    counts = (
        read(stack, "bronze", "flights__completeness")
        .filter((pl.col("feed") == "actuals") & (pl.col("partition_day") == night.first))
        .to_dicts()[0]
    )
    assert counts["rows_in"] == len(lines) + 2
    assert (counts["quarantined"], counts["deduplicated"], counts["late_published"]) == (2, 1, 1)
    assert counts["published"] == len(lines) - 1
    quarantine = read(stack, "bronze", "flights__actuals__quarantine")
    assert {"dep_time: 'late' is no int", "not 12 columns"} == {
        reason.split("; ")[0] for reason in quarantine["reason"]
    }
    assert set(quarantine.select("raw", "line").rows()) == {
        (",".join(broken), 2),
        (f"{night.key},UA", len(bad) - 1),
    }

    # The late row changes its day and what depends on it, and nothing else.
    arrived = read(stack, "bronze", "flights__actuals").filter(pl.col("flight_number") == 9998)
    assert arrived.select("partition_day", "ingestion_date").rows() == [(late, night.first)]
    assert {key for key in changed(before, by_day(stack)) if str(key[1]) < night.key} == {
        ("bronze.flights__actuals", late),
        ("bronze.flights__actuals__late", late),
        ("silver.fct_flights", late),
        ("gold.flight_delays__labels", late),
    }
    assert {(run.dag_id, run.partition_key) for run in runs} >= {
        ("flight_delays_features", str(late)),  # before the first champion, so that nothing is predicted or monitored
        ("flight_delays_features", night.key),
        ("flight_delays_monitor", night.key),
    }

    # The upstream mends its file, and what was held back is released. The late row is gone from it, and from its day.
    file.write_text("\n".join(lines) + "\n")
    command = [sys.executable, "-m", "include.cli", "reprocess", "--from", night.key]
    for arguments in (["--dry-run"], []):
        done = subprocess.run(
            [*command, *arguments], env=environment(stack.settings), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "dep_time: is no int" in done.stdout
        assert read(stack, "bronze", "flights__actuals__quarantine").height == (2 if arguments else 0)
    assert "2 rows released, 0 are still in quarantine" in done.stdout
    assert {key for key in changed(before, by_day(stack)) if str(key[1]) < night.key} == set()


def crossing(stack: Stack, late: date, flight: int) -> set[tuple[str, object]]:
    """A backfill beside the run of one of its nights, with a late row of ``late`` in both nights. Returns what changed.

    The rows are of ``flight`` and of the number after it. A second backfill is refused by Airflow.
    """
    wanted = [(flight, late, NIGHTS.first), (flight + 1, late, NIGHTS.last)]
    for number, _, night in wanted:
        row = stack.landing("actuals", str(late)).read_text().splitlines()[1].split(",")
        row[2] = str(number)
        with stack.landing("actuals", str(night)).open("a") as file:
            file.write(",".join(row) + "\n")
    before = by_day(stack)
    backfill = stack.airflow.backfill(HEAD, NIGHTS)
    by_hand = stack.airflow.trigger(HEAD, Partitions(NIGHTS.last, NIGHTS.last))
    with pytest.raises(RuntimeError, match="already a running backfill"):
        stack.airflow.backfill(HEAD, NIGHTS)
    stack.airflow.follow([*backfill, by_hand])
    arrived = read(stack, "bronze", "flights__actuals").filter(pl.col("flight_number").is_in([flight, flight + 1]))
    assert sorted(arrived.select("flight_number", "partition_day", "ingestion_date").rows()) == wanted
    return changed(before, by_day(stack))


@pytest.mark.full
def test_runs_at_once_end_as_one_after_the_other_as_far_as_the_predictions(stack: Stack, nights: list[Run]) -> None:
    """Before the other one, which leaves gold behind its silver."""
    late = date(2013, 3, 7)
    found = crossing(stack, late, 9994)
    # Features of days from then on know of these rows; what is older than they are has changed on their own day alone.
    assert {key for key in found if str(key[1]) < str(NIGHTS.first)} == {
        ("bronze.flights__actuals", late),
        ("bronze.flights__actuals__late", late),
        ("silver.fct_flights", late),
        ("gold.flight_delays__labels", late),
    }
    assert {table for table, day in found if str(day) >= str(NIGHTS.first) and not table.startswith("gold.")} == {
        "bronze.flights__completeness"
    }


@pytest.mark.one_engine
def test_runs_at_once_end_as_one_after_the_other(stack: Stack, nights: list[Run]) -> None:
    late = date(2013, 3, 6)
    with only_to_silver(stack):
        found = crossing(stack, late, 9996)
    assert found == {
        ("bronze.flights__actuals", late),
        ("bronze.flights__actuals__late", late),
        ("silver.fct_flights", late),
        *(("bronze.flights__completeness", night) for night in NIGHTS.days),
    }


def test_the_tables_hold_what_was_published(stack: Stack, nights: list[Run]) -> None:
    """After all that the tests above did: ``make verify``."""
    shown = printed_by(stack, "-m", "include.cli", "verify")
    assert "all is as it was published" in shown, shown


@pytest.mark.full
def test_both_engines_end_with_the_same_content_after_all_that(stack: Stack, nights: list[Run], contents: Path) -> None:
    compare(stack, contents, "all")


@pytest.fixture(scope="session")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where each engine says what it has ended with, for all processes of these tests."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "contents"
    folder.mkdir(exist_ok=True)
    return folder
