"""What a dbt build made is read off its artifacts; the tasks behind it are told, and what failed is named."""

import json
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from include.core.partitions import Partitions
from include.lake import candidate, dbt, delta, publications
from include.lake.candidate import CandidateMissingError
from include.lake.dbt import BuildFailedError, Candidate

NIGHT = Partitions.parse("2013-06-01")
BEGUN = datetime(2013, 6, 1, tzinfo=UTC)


pytestmark = pytest.mark.usefixtures("home")


def node(kind: str, schema: str, alias: str, materialized: str, **meta: object) -> dict[str, Any]:
    config = {"materialized": materialized, "meta": meta}
    return {"resource_type": kind, "schema": schema, "alias": alias, "config": config}


MANIFEST = {
    "nodes": {
        "model.nocturne.trips": node("model", "silver", "trips", "candidate", day="trip_date"),
        "model.nocturne.features": node("model", "gold", "features", "candidate", day="trip_date", lead_days=1),
        "model.nocturne.unbuilt": node("model", "gold", "unbuilt", "candidate", day="trip_date"),
        "model.nocturne.view": node("model", "silver", "view", "view"),
        "test.nocturne.unique": node("test", "silver", "unique", "test"),
    }
}


def results(**statuses: str) -> dict[str, Any]:
    """Results of nodes by the last part of their id."""
    ids = {name.rpartition(".")[2]: name for name in MANIFEST["nodes"]}
    return {"results": [{"unique_id": ids[name], "status": s, "message": None} for name, s in statuses.items()]}


def test_candidates_are_the_models_that_were_built_as_such() -> None:
    found = results(trips="success", unique="pass", features="success", view="success")
    assert dbt.candidates(MANIFEST, found, "__x") == [
        Candidate("candidate.silver__trips__x", "silver.trips", "trip_date", 0),
        Candidate("candidate.gold__features__x", "gold.features", "trip_date", 1),
    ]


def test_a_candidate_replaces_the_days_of_its_nights_or_all_there_is() -> None:
    features = Candidate("candidate.gold__features", "gold.features", "trip_date", lead_days=1)
    days = pl.DataFrame({"trip_date": pl.date_range(date(2013, 5, 1), date(2013, 6, 30), eager=True)})
    replaced = days.filter(features.scope([date(2013, 6, 1), date(2013, 5, 11)]))
    assert replaced["trip_date"].to_list() == [date(2013, 5, 12), date(2013, 6, 2)]
    assert days.filter(features.scope([])).is_empty()
    history = {"nodes": {"model.p.h": node("model", "silver", "h", "candidate", day="trip_date", whole=True)}}
    (whole,) = dbt.candidates(history, {"results": [{"unique_id": "model.p.h", "status": "success"}]}, "")
    assert days.filter(whole.scope([date(2013, 6, 1)])).equals(days)


def test_an_exposure_of_a_model_is_none() -> None:
    exposure = {"unique_id": "exposure.nocturne.trips", "status": "no-op", "message": None}
    found = {"results": [*results(trips="success")["results"], exposure]}
    assert [one.table for one in dbt.candidates(MANIFEST, found, "")] == ["silver.trips"]


def test_a_warning_does_not_stop_it() -> None:
    assert len(dbt.candidates(MANIFEST, results(trips="success", unique="warn"), "")) == 1


@pytest.mark.parametrize("status", ["error", "fail", "skipped", "runtime error", "partial success"])
def test_whatever_did_not_pass_is_named(status: str) -> None:
    with pytest.raises(BuildFailedError, match=f"nothing was published:\n- test.nocturne.unique: {status}$"):
        dbt.candidates(MANIFEST, results(trips="success", unique=status), "")


def test_all_that_failed_is_named_with_its_message() -> None:
    found = results(trips="success", unique="fail", features="error")
    found["results"][1]["message"] = "Got 3 results, configured to fail if != 0"
    with pytest.raises(BuildFailedError) as raised:
        dbt.candidates(MANIFEST, found, "")
    assert str(raised.value).splitlines()[1:] == [
        "- test.nocturne.unique: fail Got 3 results, configured to fail if != 0",
        "- model.nocturne.features: error",
    ]


def build(project: Path, found: dict[str, Any] | None) -> dict[str, Any]:
    """What is left when dbt has left its artifacts in the folder of a project, and Cosmos has made its call."""
    target = project / "target"
    target.mkdir(parents=True, exist_ok=True)
    (target / "manifest.json").write_text(json.dumps(MANIFEST))
    (target / "run_results.json").unlink(missing_ok=True)
    if found is not None:
        (target / "run_results.json").write_text(json.dumps(found))
    left: dict[str, Any] = {}
    dbt.keep_artifacts(str(project), stage="a_stage", left=left, context={})
    return left


def test_a_build_tells_the_tasks_behind_it_what_they_need(tmp_path: Path) -> None:
    """As JSON, which is how it travels; another build of the stage in between changes nothing of it."""
    left = build(tmp_path / "project", results(trips="success"))
    told = json.loads(json.dumps(dbt.built(NIGHT, [date(2013, 5, 11)], BEGUN, "spark 4.2.0", "__x", left)))
    build(tmp_path / "other", results(features="success"))
    assert dbt.candidates_of(told) == [Candidate("candidate.silver__trips__x", "silver.trips", "trip_date", 0)]
    assert dbt.candidate_for("silver.trips", told) == "candidate.silver__trips__x"
    assert dbt.also_built(told) == [date(2013, 5, 11)]
    assert told["nights"] == NIGHT.key


def test_a_build_that_broke_early_leaves_nothing_of_the_one_before(tmp_path: Path) -> None:
    build(tmp_path / "project", results(trips="success"))
    left = build(tmp_path / "project", None)
    assert not (dbt.artifacts("a_stage") / "run_results.json").exists()
    assert dbt.broken(left) is None


def broke(tmp_path: Path, message: str) -> BuildFailedError | None:
    found = results(trips="success", features="error")
    found["results"][1]["message"] = message
    return dbt.broken(build(tmp_path / "project", found))


def test_a_model_that_failed_is_for_a_person(tmp_path: Path) -> None:
    """Without this it would be built three times more, to fail in the same way."""
    assert "model.nocturne.features: error no column trip_dat" in str(broke(tmp_path, "no column trip_dat"))


def test_but_not_where_the_server_went_away(tmp_path: Path) -> None:
    assert broke(tmp_path, "Runtime Error: UNAVAILABLE: Connection refused") is None


def test_nor_where_all_went_well(tmp_path: Path) -> None:
    assert dbt.broken(build(tmp_path / "project", results(trips="success"))) is None


# --- publishing what was built ---


def candidate_of(rows: pl.DataFrame) -> dict[str, Any]:
    """A build of one candidate with ``rows``, in two files, as an engine leaves them."""
    one = Candidate("candidate.silver__trips__2013_06_01__12345678", "silver.trips", "trip_date", 0)
    folder = candidate.folder(one.name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "_SUCCESS").touch()
    for number, part in enumerate(rows.iter_slices(2)):
        part.write_parquet(str(folder / f"part-{number}.parquet"))
    return {
        "nights": NIGHT.key,
        "also": [],
        "begun": BEGUN.isoformat(),
        "engine": "spark 4.2.0",
        "candidates": [vars(one)],
    }


TRIPS = pl.DataFrame({"trip_date": [NIGHT.first] * 3, "trip": [1, 2, 3]})


def test_what_was_built_is_published_and_recorded_without_spark() -> None:
    for run, changed in (("first", (NIGHT.first,)), ("second", ())):
        told = candidate_of(TRIPS) | {"begun": datetime.now(UTC).isoformat()}
        (done,) = dbt.publish_built("a_stage", told, run)
        assert (done.rows, done.changed) == (3, changed)
    assert delta.read_all("silver", "trips").sort("trip").equals(TRIPS)
    assert publications.read().select("table", "rows", "engine", "run").rows() == [
        ("silver.trips", 3, "spark 4.2.0", "first")
    ]


def test_a_candidate_that_is_gone_is_said() -> None:
    told = candidate_of(TRIPS)
    names = [one.name for one in dbt.candidates_of(told)]
    candidate.remove(names)
    candidate.remove(names)  # which is no error
    with pytest.raises(CandidateMissingError, match="has been published and removed"):
        dbt.publish_built("a_stage", told)
