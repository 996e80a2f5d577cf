"""A challenger that is rolled out: in the shadow, then with a share, then champion, or back; each step by what came."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import polars as pl
import pytest

from include.contracts.use_case import Promotion, UseCase
from include.core.settings import settings
from include.governance import staleness, trace, verify
from include.lake import delta
from include.ml import (
    by_person,
    ledger,
    monitor,
    policy,
    promotion,
    record,
    rollout,
    rollouts,
    scoring,
    train,
)
from include.ml.rollouts import BACK, CANARY, FULL, SHADOW, VOID, Stage, Step
from include.serving import batch
from tests import commands
from tests.ml import rolling
from tests.ml.conftest import FIRST, ROWS, write_days
from tests.ml.rolling import DAY, LATER, NIGHT


def step_of(stage: Stage, first: date = FIRST, share: float = 0.0, **changes: Any) -> Step:
    """A step of version 2 beside version 1."""
    values: dict[str, Any] = {
        "model_version": 2,
        "champion": 1,
        "stage": stage,
        "share": share,
        "effective_from": first,
        "since": first,
        "night": first,
        "differences": {},
        "reason": "better",
        "decided_by": "gates",
        "decided_at": datetime.now(UTC),
        "run_id": "run",
        "model_sha256": "two",
        "reference_sha256": "two",
        "trained_from": FIRST,
        "fitted_through": FIRST,
        "trained_through": FIRST,
    }
    return Step(**values | changes)


@pytest.fixture(scope="module")
def good(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state after a sound challenger was let through: it is in the shadow."""
    return _challenged(world, tmp_path_factory.mktemp("good"), poisoned=False)


@pytest.fixture(scope="module")
def bad(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state after one was let through whose labels were turned round, also those that the gates saw."""
    return _challenged(world, tmp_path_factory.mktemp("bad"), poisoned=True)


def _challenged(world: Path, folder: Path, *, poisoned: bool) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        _enter(patch, folder, rolling.rolling_case())
        shutil.copytree(world / "var", folder / "var")
        with rolling.in_mlflow(folder / "mlflow.db"):
            case = rolling.rolling_case()
            rolling.live(case, world, folder)
            answer = rolling.challenge(case, poisoned=poisoned)
            assert (answer["verdict"], answer["promoted"]) == ("promote", False)
            assert answer["awaits"] == f"version 2 is in its shadow since event date {LATER + 2 * DAY}"
    settings.cache_clear()
    return folder


def _enter(patch: pytest.MonkeyPatch, folder: Path, case: UseCase) -> None:
    patch.setenv("NOCTURNE_VAR", str(folder / "var"))
    patch.chdir(folder)
    patch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    settings.cache_clear()


type Enter = Callable[..., UseCase]


@pytest.fixture
def enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Enter]:
    """Gives a state of this test's own, with a rollout of these fields."""
    before = mlflow.get_tracking_uri()

    def entered(state: Path, **changes: Any) -> UseCase:
        case, folder = rolling.rolling_case(**changes), tmp_path / "state"
        shutil.copytree(state, folder)
        _enter(monkeypatch, folder, case)
        mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
        return case

    yield entered
    mlflow.set_tracking_uri(before)
    settings.cache_clear()


def spec(monkeypatch: pytest.MonkeyPatch, case: UseCase, **changes: Any) -> UseCase:
    changed = replace(case, **changes)
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {"toy": changed})
    return changed


@contextmanager
def damaged(version: int) -> Iterator[None]:
    """While this lasts, another file lies in MLflow under a version, and this machine has kept none."""
    for path in (settings().var / "cache" / "models" / "toy" / f"{version}").iterdir():
        path.unlink()
    (path,) = Path(mlflow.artifacts.download_artifacts(f"models:/toy/{version}")).rglob("model.ubj")
    content = path.read_bytes()
    path.write_bytes(b"another model")
    try:
        yield
    finally:
        path.write_bytes(content)  # other tests have the same MLflow


# --- forward ---


def test_a_sound_one_goes_through_shadow_and_canary_to_champion(good: Path, enter: Enter) -> None:
    case = enter(good)
    night, full = rolling.until(case, FULL)
    assert rolling.stages(case) == [SHADOW, CANARY, FULL]
    canary = next(one for one in rollouts.read(case) if one.stage == CANARY)
    rows = delta.read_all("gold", case.predictions_table)
    by = {day: set(of["scored_by"]) for (day,), of in rows.group_by(case.day)}
    assert {day for day, them in by.items() if scoring.CANARY in them} == set(
        pl.date_range(canary.since, full.effective_from - DAY, eager=True)
    )
    share = rows.filter(pl.col("scored_by") == scoring.CANARY)
    of_days = rows.filter(pl.col(case.day) >= canary.since)
    assert 0.2 < share.height / of_days.height < 0.4
    assert set(share["model_version"]) == {2}
    # Beside each row that is published, the other version's is kept: all rows by both, on each day since the shadow.
    both = pl.concat([rows, delta.read_all("gold", case.shadow_table)]).filter(pl.col(case.day) >= LATER + 2 * DAY)
    assert both.n_unique([*case.key, scoring.VERSION]) == both.height == 2 * both.n_unique(case.key)
    batch.predict("toy", night + 2 * DAY, night + 3 * DAY)
    assert rolling.champion_of(case, full.effective_from - DAY) == 1
    after = delta.read_days("gold", case.predictions_table, full.effective_from, date.max)
    assert set(after["model_version"]) == {2}
    assert set(after["scored_by"]) == {scoring.CHAMPION}
    assert mlflow.MlflowClient().get_model_version_by_alias("toy", "champion").version == 2


def test_scoring_again_gives_the_same_share_to_the_same_version(good: Path, enter: Enter) -> None:
    case = enter(good)
    night, _ = rolling.until(case, FULL)
    assert not batch.predict("toy", NIGHT + DAY, night + DAY)["changed"]
    assert not [one for one in staleness.find(case) if one.stage == "predict" and one.night <= night]
    assert not list(verify.other_champions(case))


def test_who_is_in_a_share_stays_in_it_when_it_grows(good: Path, enter: Enter) -> None:
    case = enter(good)
    rows = pl.DataFrame({"coin_id": [f"coin {n}" for n in range(20_000)]})
    small, large = (rollouts.is_canary(case, step_of(CANARY, share=share), rows) for share in (0.1, 0.4))
    assert not (small & ~large).any()
    assert small.mean() == pytest.approx(0.1, abs=0.01)
    assert large.mean() == pytest.approx(0.4, abs=0.01)
    others = rollouts.is_canary(case, step_of(CANARY, share=0.1, model_version=3), rows)
    assert (small & others).mean() == pytest.approx(0.01, abs=0.005), "another version has other entities"


def test_the_share_of_a_row_is_the_same_on_every_machine() -> None:
    places = rollouts.places(rolling.rolling_case(), 2, pl.DataFrame({"coin_id": ["a", "b", "c"]}))
    assert np.round(places, 6).tolist() == PLACES


PLACES = [0.383753, 0.595074, 0.411922]


def test_the_first_champion_is_so_at_once_and_so_is_everyone_without_a_rollout(
    good: Path, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = enter(good)
    (first,) = ledger.read(case)
    assert first.model_version == 1, "the spec has a rollout, and there was nobody to be beside"
    spec(monkeypatch, case, rollout=None)
    answer = rollout.look_again("toy", LATER + DAY)
    assert answer is not None
    assert answer["promoted"]
    assert rolling.stages(case) == [SHADOW, VOID]


# --- back ---


def test_a_worse_one_is_rolled_back_once_and_nothing_of_it_was_published(bad: Path, enter: Enter) -> None:
    case = enter(bad)
    night, step = rolling.until(case, BACK)
    assert rolling.stages(case) == [SHADOW, BACK]
    assert "it is worse than version 1. AUC within days: worse by +0." in step.reason
    assert rolling.versions_published(case) == {1}
    again = rollout.look_again("toy", night)
    assert again is not None
    assert again["rolled_back"] == f"version 2 was rolled back: {step.reason}", "a second try tells of it too"
    written = len(rollouts.read(case))
    assert rolling.nights(night + DAY, 3) == [None] * 3
    assert len(rollouts.read(case)) == written
    assert rolling.versions_published(case) == {1}


def test_what_was_rolled_back_does_not_come_round_again(bad: Path, enter: Enter) -> None:
    case = enter(bad)
    night, _ = rolling.until(case, BACK)
    assert promotion.promote("toy", 2, night)["verdict"] == "refuse"
    with pytest.raises(by_person.NotToPromoteError, match=r"it was rolled back on .* and does not come again"):
        by_person.plan(case, 2)
    # The same training in another night makes the same bytes, as another version.
    one = mlflow.MlflowClient().get_model_version("toy", "2")
    mlflow.MlflowClient().create_model_version("toy", one.source, one.run_id, tags=one.tags)
    answer = promotion.promote("toy", 3, night)
    assert (answer["verdict"], answer["promoted"]) == ("refuse", False)
    assert "the same model, version 2, was rolled back" in answer["reasons"][0]
    assert rolling.stages(case) == [SHADOW, BACK]


def test_a_stage_that_nothing_decides_ends_when_its_time_is_up(good: Path, enter: Enter) -> None:
    case = enter(good, level=0.0001, max_shadow_days=12)
    night, step = rolling.until(case, BACK)
    assert step.reason == "after 12 days as shadow it is neither worse nor within the margin for certain"
    assert (night - (LATER + 2 * DAY)).days + 1 == 12


def test_a_canary_that_has_become_worse_is_rolled_back_once(
    good: Path, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = enter(good)
    night, canary = rolling.until(case, CANARY)
    rolling.night(night + DAY)
    real = scoring.score_rows

    def turned(case: UseCase, champion: ledger.Champion, rows: pl.DataFrame) -> pl.DataFrame:
        found = real(case, champion, rows)
        return found.with_columns(score=1 - pl.col("score")) if champion.model_version == 2 else found

    monkeypatch.setattr(scoring, "score_rows", turned)
    last, step = rolling.until(case, BACK, night + 2 * DAY)
    assert [one.stage for one in rollouts.read(case)].count(BACK) == 1
    of_share = delta.read_all("gold", case.predictions_table).filter(pl.col("model_version") == 2)
    assert of_share[case.day].min() == canary.since
    assert of_share[case.day].max() == step.effective_from - DAY == last + DAY
    assert rolling.nights(last + DAY, 2) == [None, None]
    rows = delta.read_days("gold", case.predictions_table, step.effective_from, date.max)
    assert set(rows["scored_by"]) == {scoring.CHAMPION}


def test_one_that_says_the_opposite_goes_at_once() -> None:
    case = rolling.rolling_case()
    days = {LATER: {"auc": 0.01, "log_loss": 0.01, rollout.AGAINST: monitor.AGAINST_ERRORS}}
    found = rollout.verdict(case, rolling.SPEC, step_of(SHADOW), days)
    assert found == rollout.Verdict(BACK, f"on {LATER} it said the opposite of what came", 1)


@pytest.mark.parametrize("stage", [SHADOW, CANARY])
def test_one_that_cannot_score_stops_no_night_and_is_rolled_back(good: Path, enter: Enter, stage: Stage) -> None:
    case = enter(good)
    night = LATER if stage == SHADOW else rolling.until(case, CANARY)[0] + DAY
    with damaged(2):
        done = batch.predict("toy", night + 2 * DAY, night + 2 * DAY)
    (said,) = done["fallback"]
    assert said.startswith(
        f"version 2, {stage}, could not score {night + 2 * DAY}: all rows are by the champion. model"
    )
    assert done["by_version"] == {"1": ROWS}
    last = rollouts.read(case)[-1]
    assert (last.stage, last.effective_from, last.decided_by) == (BACK, night + 2 * DAY, rollouts.SCORING)
    told = rollout.look_again("toy", night + DAY)
    assert told is not None
    assert "could not score" in told["rolled_back"]
    assert batch.predict("toy", night + 2 * DAY, night + 2 * DAY)["fallback"] == []


@pytest.mark.full
def test_where_the_champion_fails_its_rows_fall_back_and_the_day_is_no_evidence(good: Path, enter: Enter) -> None:
    case = enter(good)
    night, _ = rolling.until(case, CANARY)
    seen = len(rollouts.days_of_evidence(rollouts.read(case), 2))
    day = night + 2 * DAY
    with damaged(1):
        done = batch.predict("toy", day, day)
    assert "version 1 could not score" in done["fallback"][0]
    rows = delta.read_days("gold", case.predictions_table, day, day)
    assert set(rows.select("model_version", "scored_by").rows()) == {(None, scoring.PRIOR), (2, scoring.CANARY)}
    rollout.look_again("toy", day)
    evidence = rollouts.days_of_evidence(rollouts.read(case), 2)
    assert day not in evidence
    assert len(evidence) == seen + 1, "the day before it counts"


# --- where others meet it ---


def test_a_range_that_is_looked_at_once_ends_as_its_nights(bad: Path, enter: Enter) -> None:
    case = enter(bad)
    batch.predict("toy", LATER + 2 * DAY, LATER + 40 * DAY)
    rollout.look_again("toy", LATER + 39 * DAY)
    (step,) = [one for one in rollouts.read(case) if one.stage == BACK]
    nights = len(step.differences)
    assert nights > 20
    shutil.rmtree(settings().var)
    shutil.copytree(bad / "var", settings().var)
    _, alone = rolling.until(case, BACK)
    assert step.reason == alone.reason


def test_nights_out_of_order_and_measured_again_count_each_day_once(good: Path, enter: Enter) -> None:
    case = enter(good)
    batch.predict("toy", LATER + 2 * DAY, LATER + 9 * DAY)
    for n in (4, 2, 2, 6, 3, 6):
        rollout.look_again("toy", LATER + n * DAY)
    days = [day for one in rollouts.read(case) for day in one.differences]
    assert days == [str(LATER + n * DAY) for n in (2, 3, 4, 5, 6)]


def test_a_day_without_labels_counts_when_it_has_them(good: Path, enter: Enter) -> None:
    case = enter(good)
    batch.predict("toy", LATER + 2 * DAY, LATER + 5 * DAY)
    labels = delta.read_days("gold", case.labels_table, LATER + 3 * DAY, LATER + 3 * DAY)
    delta.replace_days("gold", case.labels_table, labels.clear(), LATER + 3 * DAY, LATER + 3 * DAY)
    rollout.look_again("toy", LATER + 4 * DAY)
    delta.replace_days("gold", case.labels_table, labels, LATER + 3 * DAY, LATER + 3 * DAY)
    rollout.look_again("toy", LATER + 5 * DAY)
    days = [list(one.differences) for one in rollouts.read(case)]
    assert days == [[], [str(LATER + n * DAY) for n in (2, 4)], [str(LATER + n * DAY) for n in (3, 5)]]


def test_a_night_counts_what_was_known_in_it(good: Path, enter: Enter) -> None:
    case = enter(good)
    first = LATER + 2 * DAY
    batch.predict("toy", first, first)
    labels = delta.read_days("gold", case.labels_table, first, first)
    late = labels.with_columns(ingestion_date=pl.lit(first + 2 * DAY))
    delta.replace_days("gold", case.labels_table, late, first, first)
    for n in range(3):
        rollout.look_again("toy", first + n * DAY)
    assert [(one.night, list(one.differences)) for one in rollouts.read(case)[1:]] == [(first + 2 * DAY, [str(first)])]


def test_a_day_of_which_one_half_was_written_is_no_evidence_until_the_other_is(good: Path, enter: Enter) -> None:
    """As where a scoring was killed between the two tables, and the features had changed before it."""
    case = enter(good)
    first = LATER + 2 * DAY
    batch.predict("toy", first, first)
    shadow = delta.read_days("gold", case.shadow_table, first, first)
    half = shadow.with_columns(features_content=pl.lit("of before"))
    delta.replace_days("gold", case.shadow_table, half, first, first)
    rollout.look_again("toy", first)
    assert [one.differences for one in rollouts.read(case)] == [{}]
    batch.predict("toy", first, first)
    rollout.look_again("toy", first)
    assert list(rollouts.read(case)[-1].differences) == [str(first)]


def test_a_rollback_by_hand_ends_a_rollout_and_the_share_is_nobodys(
    good: Path, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = enter(good)
    night, canary = rolling.until(case, CANARY)
    first, one = ledger.read(case)[0], mlflow.MlflowClient().get_model_version("toy", "1")
    mlflow.MlflowClient().create_model_version("toy", one.source, one.run_id, tags=one.tags)
    # Version 3, with the files of version 1, has taken over meanwhile by a person's decision.
    copy = {**vars(first), "model_version": 3, "effective_from": ledger.first_free_day(case, LATER)}
    copy.pop("decided_at")
    ledger.append(case, **copy)
    done = batch.predict("toy", night + 2 * DAY, night + 2 * DAY)
    assert done["by_version"] == {"3": ROWS}, "the challenger is beside version 1 alone"
    monkeypatch.setattr(promotion, "look_again", lambda name, through: None)
    assert rollout.look_again("toy", night + DAY) is None
    last = rollouts.read(case)[-1]
    assert (last.stage, last.reason) == (VOID, "version 1, which it was beside, is champion no more")
    assert rollouts.fate(rollouts.read(case), canary.model_sha256) == last, (
        "it may come again: nothing spoke against it"
    )


def test_a_day_that_was_a_canarys_is_stale_where_its_champion_is_another_one(good: Path, enter: Enter) -> None:
    case = enter(good)
    night, canary = rolling.until(case, CANARY)
    rolling.nights(night + DAY, 3)
    first = ledger.read(case)[0]
    copy = {**vars(first), "model_version": 3, "effective_from": canary.since + DAY}
    copy.pop("decided_at")
    ledger.append(case, **copy)
    stale = {
        one.night: one.reasons
        for one in staleness.find(case)
        if one.stage == "predict" and one.night <= night + 3 * DAY
    }
    assert min(stale) == canary.since
    assert "is in part by version 2, which is no canary of that day" in stale[canary.since]
    assert any("by a canary" in one for one in verify.other_champions(case))


@pytest.mark.full
def test_a_newer_one_waits_and_begins_when_the_other_was_rolled_back(bad: Path, enter: Enter) -> None:
    case = enter(bad)
    newer = train.train("toy", LATER + 5 * DAY, "cpu")["version"]
    answer = promotion.promote("toy", newer, LATER + 5 * DAY)
    assert (answer["verdict"], answer["promoted"]) == ("promote", False)
    assert "version 2 is in its shadow" in answer["awaits"]
    sha = record.trainings(case)[-1].model_sha256
    assert rollouts.how_it_stands(rollouts.read(case), newer, sha) == answer["awaits"]
    with pytest.raises(by_person.NotToPromoteError, match="one is rolled out at a time"):
        by_person.plan(case, newer)
    with pytest.raises(by_person.NotToPromoteError, match="goes on by what comes of it"):
        by_person.plan(case, 2)
    night, _ = rolling.until(case, BACK)
    rolling.night(night + DAY)
    last = rollouts.read(case)[-1]
    assert (last.model_version, last.stage) == (newer, SHADOW)


def test_nobody_is_asked_to_approve_what_could_not_begin(
    bad: Path, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    from include.ml import approvals

    case = spec(monkeypatch, enter(bad), promotion=Promotion(approvals=1))
    newer = train.train("toy", LATER + 5 * DAY, "cpu")["version"]
    promotion.promote("toy", newer, LATER + 5 * DAY)
    assert approvals.open_judgement(case) is None
    rollout.stop(case, "ann", "it is poisoned")
    asked = approvals.open_judgement(case)
    assert asked is not None
    assert asked.model_version == newer
    question = by_person.ask("toy", "run 1")
    assert question is not None
    approvals.answer(case, "run 1", "approve", "ann")
    for _ in range(2):  # a second try finds what the first has begun
        done = by_person.carry_out("toy", "run 1")
        assert (done["promoted"], done["awaits"]) == (
            False,
            f"version {newer} is in its shadow since event date {LATER + 6 * DAY}",
        )
    assert [one.decided_by for one in rollouts.read(case)][-1] == "ann in Airflow"


# --- the policy ---


def test_the_policy_waits_while_one_is_rolled_out_and_cools_down_after_a_rollback() -> None:
    steps = [step_of(SHADOW, night=NIGHT), step_of(BACK, night=NIGHT + 3 * DAY)]
    assert rollouts.holds(steps, NIGHT - DAY, 5) == ""
    assert "is in its shadow" in rollouts.holds(steps, NIGHT + 2 * DAY, 5)
    assert [rollouts.holds(steps, NIGHT + n * DAY, 5) != "" for n in (3, 7, 8)] == [True, True, False]


def test_what_was_rolled_back_counts_as_refused(bad: Path, enter: Enter) -> None:
    case = enter(bad)
    trained = record.trainings(case)
    assert policy.outcome_of(case, LATER, 1, trained, LATER)[0] == "waits"
    night, step = rolling.until(case, BACK)
    outcome, became = policy.outcome_of(case, LATER, 1, trained, night)
    assert (outcome, became) == ("rolled back", f"version 2 was rolled back: {step.reason}")
    assert outcome in policy.LOST
    with_it = [policy.Request(LATER + n * DAY, 1, "rolled back", became) for n in range(3)]
    champion = ledger.read(case)[0]
    reading = monitor.SensorReading("quality", True, "worse", {})
    made = policy.decide(case.drift, LATER + 60 * DAY, champion, [reading], with_it)
    assert made.reason.startswith("given up: the last 3 retrainings of version 1 came to nothing")


def test_while_a_challenger_is_rolled_out_nothing_is_asked_for(good: Path, enter: Enter) -> None:
    case = enter(good)
    champion = ledger.read(case)[0]
    reading = monitor.SensorReading("quality", True, "worse", {})
    words = rollouts.holds(rollouts.read(case), LATER + DAY, 5)
    made = policy.decide(case.drift, LATER + DAY, champion, [reading], resting=words)
    said = f"version 2 is in its shadow since event date {LATER + 2 * DAY}: what comes of it is waited for"
    assert (made.decision, made.reason) == ("no", f"{said}; fired: quality")


# --- the share ---


@pytest.mark.full
def test_thompson_gives_the_challenger_what_its_chance_is_and_says_so_before(good: Path, enter: Enter) -> None:
    case = enter(good, share="thompson", canary_share=0.1, max_share=0.95, canary_days=15)
    night, _ = rolling.until(case, CANARY)
    rolling.nights(night + DAY, 10)
    steps = [one for one in rollouts.read(case) if one.stage == CANARY]
    shares = {one.effective_from: one.share for one in steps}
    assert len(set(shares.values())) > 2
    assert all(0.1 <= share <= 0.95 for share in shares.values())
    for before, one in pairwise(steps):
        if one.share != before.share:
            assert one.night is not None
            assert one.effective_from == one.night + 2 * DAY, "the first day that nobody has scored"
    rows = delta.read_all("gold", case.predictions_table)
    for day in sorted(shares):
        of_day = rows.filter(pl.col(case.day) == day)
        step = rollouts.of_day(rollouts.read(case), day, ledger.pick(ledger.read(case), day))
        if of_day.is_empty() or step is None:
            continue
        wanted = pl.Series(rollouts.places(case, 2, of_day) < step.share)
        assert (of_day["scored_by"] == scoring.CANARY).to_list() == wanted.to_list()
    assert not batch.predict("toy", NIGHT + DAY, night + 11 * DAY)["changed"]
    assert not list(verify.other_champions(case))


def test_a_better_one_gets_a_larger_share() -> None:
    case = rolling.rolling_case()
    thompson = replace(rolling.SPEC, share="thompson")

    def share(by: float) -> float:
        numbers = np.random.default_rng(1).normal(by, 0.02, 20)
        days = {FIRST + n * DAY: {"auc": float(one), "log_loss": float(one)} for n, one in enumerate(numbers)}
        return rollout.share_of(case, thompson, step_of(CANARY), days)

    assert (share(-0.05), share(0.05)) == (thompson.max_share, thompson.canary_share)
    assert thompson.canary_share < share(0.0) < thompson.max_share


# --- what is shown, and what persons do ---


def test_how_it_stands_is_printed_and_a_person_ends_it(
    good: Path, enter: Enter, capsys: pytest.CaptureFixture[str]
) -> None:
    case = enter(good)
    night, _ = rolling.until(case, CANARY)
    rolling.nights(night + DAY, 3)

    def run(*given: str) -> tuple[int, str]:
        capsys.readouterr()
        return commands.run("rollout", "--use-case", "toy", *given), "".join(capsys.readouterr())

    status, said = run()
    lines = said.splitlines()
    assert status == 0
    assert lines[0].startswith(f"{LATER} version 2: shadow, from event date {LATER + 2 * DAY} on, by gates: AUC")
    assert ": canary, 30% of the entities" in lines[1]
    assert "AUC within days: worse by" in said
    assert "to the next step: 1 more days with labels" in said
    status, said = run("--stop")
    assert (status, "nothing was done" in said) == (0, True)
    status, said = run("--stop", "--yes")
    assert (status != 0, "with a reason" in said) == (True, True)
    assert rollouts.current(rollouts.read(case)) is not None
    status, said = run("--stop", "--why", "we fear it", "--yes")
    assert (status, ": rolled back, from" in said) == (0, True)
    last = rollouts.read(case)[-1]
    assert (last.stage, last.reason) == (BACK, "stopped: we fear it")
    assert rolling.night(night + 4 * DAY) is None
    status, said = run("--stop")
    assert (status != 0, "no version of toy is rolled out" in said) == (True, True)


def test_a_prediction_of_a_canary_leads_back_to_the_step_of_its_rollout(
    good: Path, enter: Enter, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = enter(good)
    night, canary = rolling.until(case, CANARY)
    rolling.nights(night + DAY, 1)
    rows = delta.read_all("gold", case.predictions_table).filter(pl.col("scored_by") == scoring.CANARY)
    monkeypatch.setattr("include.governance.lineage.manifest_of", lambda stage: {})
    monkeypatch.setattr("include.governance.lineage.graph", lambda manifest: {})
    found = trace.trace(case, rows["coin_id"][0], lambda version: None)
    assert found.champion is not None
    assert (found.champion.model_version, found.champion.how) == (2, CANARY)
    assert found.champion.model_sha256 == canary.model_sha256


def test_the_ledger_is_sealed(good: Path, enter: Enter) -> None:
    case = enter(good)
    assert case.rollouts_table in case.ledgers
    rows = delta.read_all("gold", case.rollouts_table).with_columns(stage=pl.lit("canary"), share=pl.lit(0.9))
    shutil.rmtree(delta.table_path("gold", case.rollouts_table))
    delta.append("gold", case.rollouts_table, rows)
    with pytest.raises(record.BrokenLedgerError, match="toy__rollouts is not as it was written"):
        batch.predict("toy", LATER + 2 * DAY, LATER + 2 * DAY)


def test_the_champion_is_watched_on_its_own_rows_and_the_share_is_no_fallback(good: Path, enter: Enter) -> None:
    case = enter(good)
    night, _ = rolling.until(case, CANARY)
    rolling.night(night + DAY)
    monitor.measure("toy", night + DAY, night + DAY)
    rows = monitor.measurements(case, night + DAY)
    assert "fallback" not in set(rows["sensor"])
    write_days(case, night + 3 * DAY, 1)
