"""Train a challenger and judge it on later days than it was trained on."""

import hashlib
import json
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import xgboost as xgb

from include.contracts.use_case import UseCase
from include.core.lease import lease
from include.core.settings import settings
from include.lake import commit
from include.ml import (
    card,
    checkpoint,
    dataset,
    environment,
    evaluation,
    fitting,
    gpu,
    imbalance,
    ledger,
    model_files,
    record,
    reference,
    registry,
    rolling,
    search,
    slices,
    tasks,
)
from include.ml.checkpoint import Checkpoint
from include.ml.code import Code, code_state
from include.ml.dataset import Dataset, Split
from include.ml.encoded import Encoded, encoded, quantised_bytes
from include.ml.fitting import Device
from include.ml.reference import Scored, features_of
from include.ml.scoring import predicted
from include.use_cases import use_case

TURN_SECONDS = 6 * 3600.0
"""How long a training waits for another one of the same use case to end."""


@dataclass(frozen=True)
class Trained:
    """A fitted booster and what is known of it.

    Attributes:
        metrics: flat; on the holdout unless named otherwise.
        reference: see ``include.ml.reference``.
        champion: the champion that it is to be compared with, its version, or None where there is none.
        timings: how long scoring takes; see ``include.ml.evaluation``.
        searched: the search that its parameters came of; None where the spec has none.
    """

    booster: xgb.Booster
    device: Device
    gpu: str
    split: Split
    metrics: dict[str, float]
    reference: reference.Reference
    champion: int | None
    seconds: float = 0.0
    timings: dict[str, float] = field(default_factory=dict)
    searched: search.Found | None = None


def require_values(data: Dataset, theirs: reference.Reference, who: str) -> None:
    """Raise UnfitFeatureError for a number that is null throughout and was not where the champion ``who`` learned.

    It was lost on the way here. One that never had a value teaches nothing, and does no harm.
    """
    rows, empty = data.empty_columns()
    for feature in data.case.features:
        known = theirs["features"].get(feature.name)
        if feature.kind == "numeric" and known and known["shares"][-1] < 1 and feature.name in empty:
            raise dataset.UnfitFeatureError(
                f"{feature.name} is null in all {rows} rows of {data.first} to {data.last}, and was not "
                f"where {who} learned: mend it in dbt, or take it out of include/use_cases/{data.case.name}/spec.py"
            )


def split_of(case: UseCase, days: Collection[date]) -> Split:
    """The days of a training set to fit on, to stop early by, and to judge by; ``days`` are those that have rows."""
    first, last = min(days), max(days)
    return dataset.split_days(case, first, last, set(dataset.days_between(first, last)) - set(days))


def fit_and_judge(
    case: UseCase,
    data: Dataset,
    device: Device,
    champion: ledger.Champion | None,
    fitted_before: xgb.Booster | None = None,
    kept: Checkpoint | None = None,
) -> Trained:
    """Fit on a training set and measure on its holdout. ``champion`` is whom it is to be compared with later.

    ``fitted_before`` is the booster where an earlier try has fitted it. ``kept`` is where the fit is kept meanwhile; a
    killed one goes on from there.
    """
    begun, task = time.monotonic(), tasks.of(case)
    with encoded(case, data.frames()) as rows:  # all labels are checked, the holdout's too, before the fit
        split = split_of(case, rows.days)
        learned = rows.between(split.train)
        fitted = rows.labels[learned]
        task.check_learnable(fitted)
        booster, watched = fitted_before, dict[str, float]()
        if booster is None:
            with gpu.taken(device, quantised_bytes(len(fitted), len(case.features))) as watched:
                booster = fitting.fit(case, rows, split, device, checkpoint=kept)
        judged = rows.between(split.holdout)
        everything = predicted(case, booster, case.features, rows.matrices(slice(0, rows.rows)))
        labels, given = rows.labels[judged], everything[judged]
        scores = task.scores(given)
        # Columns as the table has them, as a baseline and groups take them: of the holdout's days alone.
        holdout = data.narrowed(split.holdout, case.features).frame
        usual = task.usual(fitted)
        found = task.quality(labels, scores) | usual | task.beside(usual, holdout, labels, given)
        found |= {"trees": float(booster.num_boosted_rounds()), "rows": float(rows.rows)}
        shares = fitting.gain_shares(booster)
        found |= evaluation.measure(case, booster, holdout, given, fitted, rows.day_of[learned], shares)
        groups = evaluation.slices_of(case, holdout)
        earlier = _earlier(case, rows, learned, booster, task.class_weights(fitted))
        within = rows.within(slices.chosen(case.features, groups, holdout[case.day].n_unique()))
        known = (split.holdout, labels, scores, groups, task.scores(everything), earlier, within)
        seen = reference.build(case, rows.columns(), rows.day_of, shares, *known)
    graphics = gpu.names()[0] if device == "cuda" else ""
    version = champion.model_version if champion else None
    times = evaluation.timings(case, booster, holdout) | watched
    return Trained(booster, device, graphics, split, found, seen, version, round(time.monotonic() - begun, 3), times)


def _earlier(
    case: UseCase, rows: Encoded, learned: slice, booster: xgb.Booster, weights: imbalance.Weights
) -> Scored | None:
    """The days that the booster was fitted on, scored by models that knew none of them; None where they are few."""
    every = rolling.every(learned.stop - learned.start, len(case.features))
    labels, days = rows.labels[learned][::every], rows.day_of[learned][::every]
    if len(np.unique(days)) < rolling.LEAST_DAYS:
        return None
    values = np.empty((len(case.features), len(labels)), np.float32)
    for place in range(len(values)):
        values[place] = rows.column(place, learned)[::every]
    return rolling.scored(case, values.T, labels, days, booster.num_boosted_rounds(), weights)


def searched(case: UseCase, data: Dataset, device: Device, recipe: str) -> search.Found | None:
    """What a search for parameters finds on the days to fit on, where the spec has one; told, as it takes long."""
    if case.training.search is None:
        return None
    frame = data.frame
    days = split_of(case, frame[case.day].unique().to_list()).train
    with gpu.taken(device, 0):
        found = search.run(case, frame, days, device, recipe)
    print(found)
    return found


@dataclass(frozen=True)
class Keys:
    """What makes two trainings the same.

    Attributes:
        recipe: of what the model is made: rows, features, parameters, task, code, device and library.
        request: of what is asked: the recipe in a partition, with the gates and the champion to compare it with.
    """

    recipe: str
    request: str


def keys_of(
    case: UseCase, night: date, content_hash: str, code: Code, device: Device, champion: ledger.Champion | None
) -> Keys:
    """The keys of a training of ``case`` in ``night`` on rows of ``content_hash``."""
    recipe = _digest(
        case.name,
        content_hash,
        asdict(case.training),
        [asdict(feature) for feature in case.features],
        tasks.of(case).recipe,
        case.label_days,
        environment.code_key(code),
        device,
        xgb.__version__,
    )
    gates = (asdict(case.task), case.promotion.gates, asdict(case.evaluation))
    return Keys(recipe, _digest(recipe, str(night), gates, champion.model_version if champion else None))


def _digest(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def train(name: str, night: date, device: str | None = None) -> dict[str, Any]:
    """Task: train a challenger of use case ``name`` on the labels known in ``night``, and register it.

    Reads features and labels, writes to MLflow only. The same request again returns the version that is there; where
    MLflow was away when it was to be registered, the next try registers what was fitted, and fits nothing.
    ``device`` is auto, cpu or cuda; None takes the setting. Raises DataMissingError, TableMissingError,
    UnfitFeatureError, UnfitLabelError, OtherTaskError, WrongDeviceError, ModelRefusedError, RegistryRefusedError: what
    of it can be known before the fit, before the fit. RegistryAwayError may pass.

    Returns ``version``, ``run_id``, ``created``, ``device``, ``trained_from``, ``fitted_through``,
    ``trained_through``, ``metrics``, and the Delta ``versions`` of the tables that were read.
    """
    case = use_case(name)
    # One at a time: of two equal requests the second finds what the first has made.
    with lease(f"train {case.name}", patience=TURN_SECONDS):
        commit.settle()
        first, last = dataset.training_range(case, night)
        data = dataset.load(case, first, last, as_of=night, with_answers=True)
        registry.finish_killed(case)
        where, code = fitting.choose_device(device or settings().device), code_state(settings().home)
        champion = ledger.latest_champion(case)
        keys = keys_of(case, night, data.content_hash, code, where, champion)
        if existing := registry.find(case, keys.request, keys.recipe, champion):
            return existing.to_dict() | {"created": False, "versions": data.versions}
        registry.require_experiment(case)
        if champion is not None:
            theirs, who = model_files.load_reference(case, champion), f"version {champion.model_version} of {case.name}"
            tasks.of_version(case, theirs["task"])
            dataset.check_columns(case, data.columns, features_of(theirs), who=who)
            require_values(data, theirs, who)
        found = searched(case, data, where, keys.recipe)
        chosen = found.chosen if found else {}
        kept = checkpoint.of(case, _digest(keys.recipe, chosen))
        applied, fitted_before = search.applied(case, chosen), registry.fitted(case, keys.recipe)
        trained = fit_and_judge(applied, data, where, champion, fitted_before, kept)
        made = registry.register(case, night, keys, data, replace(trained, searched=found), code)
        kept.remove()
        training = record.training_of(case, keys.request, model_files.sha256(bytes(trained.booster.save_raw("ubj"))))
        if training is not None:
            card.log(case, made.version, made.run_id, training, data, trained.booster)
        return made.to_dict() | {"created": True, "versions": data.versions}
