"""A refused night, a day without rows, a late label and a corrected file, each followed to the next training.

Nights of a small use case through its gate, scoring, monitor and policy, and a training at their end, with the real
model on a real lake.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from include.core.partitions import Partitions
from include.governance import staleness
from include.ml import dataset, monitor, policy, registry, train
from include.quality import acceptance, faults, features
from include.quality.gate import GateFailedError
from include.use_cases import use_case
from tests.governance.stages import DAY, NIGHTS, Stages
from tests.ml.conftest import toy_case, toy_rows

NEXT = [NIGHTS[-1] + n * DAY for n in range(1, 5)]


class Nights(Stages):
    """Days whose rows are as ``changed`` has them: features by their day, labels by theirs."""

    def __init__(self, of: Stages) -> None:
        super().__init__(of.case, of.arrived)
        self.changed: dict[tuple[str, date], pl.DataFrame] = {}

    def features(self, day: date) -> pl.DataFrame:
        return self.changed.get(("features", day), super().features(day))

    def labels(self, day: date) -> pl.DataFrame:
        return self.changed.get(("labels", day), super().labels(day))

    def night(self, night: date, *, arrives: bool = True) -> None:
        """One night from its files to the policy's decision. Raises GateFailedError."""
        if arrives:
            self.ingest(night)
        build = self.build(night)
        features.audit(self.case.name, build)
        features.publish_built(self.case.name, build, "features", staleness.recording(self.case))
        self.predict(night)
        self.measure(night)
        policy.decide_nights(self.case.name, night, night)


@pytest.fixture
def registry_of_then(world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The MLflow in which the champion is registered, with runs of this test's own."""
    import mlflow

    shutil.copy(world / "mlflow.db", tmp_path / "mlflow.db")
    monkeypatch.chdir(tmp_path)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield
    mlflow.set_tracking_uri(before)


@pytest.fixture
def nights(
    twelve: tuple[Path, dict[tuple[date, date], int]],
    home: Path,
    registry_of_then: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Nights:
    case = toy_case()
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    shutil.copytree(twelve[0], home, dirs_exist_ok=True)
    monkeypatch.setattr(features, "LEAST_IN_VOCABULARY", 0.5)  # three of ten coins are of a metal that nobody named
    monkeypatch.setattr(faults, "LEAST_JUDGED", 20)  # of a lake of six weeks
    policy.decide_nights(case.name, NIGHTS[0], NIGHTS[-1])
    return Nights(Stages(case, dict(twelve[1])))


def decided(night: date) -> str:
    return str(policy.stored(use_case("toy"), night, night)["decision"].item())


def labelled_rows(night: date) -> int:
    """The rows whose quality a night has measured: of the day that has just ended."""
    rows = monitor.measurements(use_case("toy"), night)
    found = rows.filter((pl.col("sensor") == "quality") & (pl.col("metric") == "day_auc"))
    return int(found["n"].sum())


def auc(night: date) -> float:
    rows = monitor.measurements(use_case("toy"), night)
    return float(rows.filter(pl.col("metric") == "day_auc")["value"].item())


def trained_days(night: date) -> set[date]:
    version = train.train("toy", night, "cpu")["version"]
    return set(registry.training_set(toy_case(), version).frame["flight_date"])


def days_to(night: date) -> set[date]:
    return set(dataset.days_between(toy_case().training.first_day, night))


@pytest.mark.full
def test_sound_nights(nights: Nights) -> None:
    """The quiet column: what the other tests show is due to what they change."""
    for night in NEXT:
        nights.night(night)
        assert (decided(night), labelled_rows(night)) == ("no", 60)
    assert trained_days(NEXT[-1]) == days_to(NEXT[-1])
    assert staleness.find(nights.case) == []


def test_a_refused_night_stops_nothing_but_itself(nights: Nights) -> None:
    refused, lost = NEXT[0], NEXT[0] + DAY
    sound = nights.features(lost)
    nights.changed["features", lost] = sound.with_columns(pl.col("weight") * 1000)
    with pytest.raises(GateFailedError, match="weight"):
        nights.night(refused)
    del nights.changed["features", lost]
    assert {line.event_date for line in acceptance.read(nights.case)} == {lost}
    for night in NEXT[1:]:
        nights.night(night)
        assert decided(night) == "no"
    assert labelled_rows(lost) == 0, "nobody could score that day"
    assert labelled_rows(NEXT[2]) == 60, "later nights are measured without it"
    version = train.train("toy", NEXT[-1], "cpu")["version"]
    without = registry.training_set(toy_case(), version)
    # nothing of that night is there: neither what was to be predicted then, nor how its own day went
    assert set(without.frame["flight_date"]) == days_to(NEXT[-1]) - {refused, lost}
    hashed = without.content_hash
    # The file is mended, and the night runs again.
    nights.night(refused, arrives=False)
    nights.run("monitor", lost)
    assert labelled_rows(lost) == 60, "its labels have come, and what was scored then has"
    assert trained_days(NEXT[-1]) == days_to(NEXT[-1])
    assert registry.training_set(toy_case(), version).content_hash == hashed, "an older version is read as it was"


@pytest.mark.full
def test_rows_that_break_the_spec_stop_nothing_but_their_night(nights: Nights) -> None:
    refused, lost = NEXT[0], NEXT[0] + DAY
    nights.changed["features", lost] = pl.concat([nights.features(lost)] * 2)
    with pytest.raises(GateFailedError, match="unique"):
        nights.night(refused)
    del nights.changed["features", lost]
    assert acceptance.refused(nights.case, Partitions(refused, refused)) == [], "nobody can accept that"
    for night in NEXT[1:]:
        nights.night(night)
    assert trained_days(NEXT[-1]) == days_to(NEXT[-1]) - {refused, lost}


@pytest.mark.full
def test_a_day_without_rows(nights: Nights, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source was closed: its features are published without any."""
    monkeypatch.setattr("include.quality.features.source", lambda _: type("Closed", (), {"is_open": lambda *_: False}))
    empty = NEXT[0] + DAY
    nights.changed["features", empty] = nights.features(empty).clear()
    nights.changed["labels", empty] = nights.labels(empty).clear()
    for night in NEXT:
        nights.night(night)
        assert decided(night) == "no"
    assert [labelled_rows(night) for night in NEXT] == [60, 0, 60, 60]
    stood = monitor.measurements(nights.case, NEXT[1]).filter(pl.col("metric") == "evidence")
    assert stood["value"].is_not_null().all(), "evidence stands where it stood"
    assert trained_days(NEXT[-1]) == days_to(NEXT[-1]) - {empty}
    assert staleness.find(nights.case) == []


@pytest.mark.full
def test_late_labels_are_measured_when_they_are_known_and_learned_from_then_on(nights: Nights) -> None:
    day = NEXT[0]
    whole = nights.labels(day)
    nights.changed["labels", day] = whole.head(50)
    nights.night(day)
    assert labelled_rows(day) == 50
    nights.night(NEXT[1])
    late = whole.tail(10).with_columns(ingestion_date=pl.lit(NEXT[2]))
    nights.changed["labels", day] = pl.concat([whole.head(50), late])
    nights.ingest(day, NEXT[2])
    nights.run("features", day)
    assert labelled_rows(day) == 50, "a night is measured by what was known in it, whenever it is measured"
    assert decided(day) == "no", "the decision stands"
    assert policy.decide_nights("toy", day, day)[0]["differs"] is False
    for night in NEXT[2:]:
        nights.night(night)
    known_then = dataset.load(nights.case, nights.case.training.first_day, NEXT[1], as_of=NEXT[1])
    known_now = dataset.load(nights.case, nights.case.training.first_day, NEXT[1], as_of=NEXT[2])
    assert known_now.frame.height - known_then.frame.height == 10, "a training of then knows nothing of what came later"


def test_a_corrected_file_is_followed_to_the_next_training(nights: Nights) -> None:
    """All labels of three days were the wrong way round: what was measured, decided and learned is made again."""
    right = {day: nights.labels(day) for day in NEXT[:3]}
    for day in right:
        nights.changed["labels", day] = right[day].with_columns(is_head=1 - pl.col("is_head"))
        nights.night(day)
    assert decided(day) == "yes", "predictions say the opposite of what came"
    wrong = auc(day)
    for of in right:
        del nights.changed["labels", of]
        nights.ingest(of, tossed=2)
    assert ("monitor", day) in {(one.stage, one.night) for one in staleness.find(nights.case)}
    for stage in staleness.STAGES:
        for one in [one for one in staleness.find(nights.case) if one.stage == stage]:
            nights.run(stage, one.night)
    assert staleness.find(nights.case) == []
    assert auc(day) > 0.5 > wrong
    (again,) = policy.decide_nights("toy", day, day)
    assert (again["decision"], again["differs"]) == ("yes", True), "it stands, and is shown as one that data contradict"
    nights.night(NEXT[3])
    version = train.train("toy", NEXT[-1], "cpu")["version"]
    learned = registry.training_set(toy_case(), version).frame.filter(pl.col("flight_date") == day)
    truth = toy_rows(day, 1).sort("coin_id")["is_head"]
    assert learned.sort("coin_id")["is_head"].to_list() == truth.to_list()
    assert staleness.find(nights.case) == []
