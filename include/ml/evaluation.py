"""What a challenger is judged by beside the limits of its task: groups of rows, odd input, suspicion, speed and size.

``measure`` is run once, when a version is trained, and its numbers are kept in the sealed record of the training;
``reasons`` says of the record what misses a limit of the spec. Beside a champion, ``groups`` compares the two of them
on the rows of a look. The names of the numbers:

    evaluated                                      which measurements these are: ``VERSION``
    score_values, label_values                     how many different ones the holdout has
    gain_share/<feature>                           of the feature that carries the largest share
    label_shift/<what>, label_shift_z/<what>       of the holdout against training, and in standard errors
    sample_rows, features_tried, loss, usual_loss, loss_noise, loss_shifted, loss_missing/<feature>, loss_unit/<feature>
    slice/<column>/<value>/<rows, days, loss, gain, gain_error, gain_freedom, gap, gap_error, gap_freedom>
    model_mib, ms_p50, ms_p95, ms_p99, rows_per_second
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import xgboost as xgb

from include.contracts.use_case import Evaluation, Feature, UseCase
from include.ml import comparison, dataset, errors, metrics, scoring, tasks
from include.ml.comparison import ByDay, Gain
from include.ml.tasks import Task
from include.ml.tasks.interface import NAN, Array

OWN = frozenset(
    {
        *("evaluated", "score_values", "label_values", "sample_rows", "features_tried", "loss", "usual_loss"),
        *("loss_noise", "loss_shifted", "model_mib", "ms_p50", "ms_p95", "ms_p99", "rows_per_second"),
    }
)
VERSION = 1
"""Of the measurements. A training of a release that made none has 0 in its record, and is judged without them."""
SAMPLE_ROWS = 2000
"""Rows of the holdout that odd input is tried on: each feature is tried on all of them."""
MOST_FEATURES = 50
"""Of so many features, those with the largest gain, it is tried what becomes of the loss without them."""
MOST_GROUPS = 30
"""So many groups of a column are looked at, the largest: each has its part of the level."""
SINGLE_ROWS = 200
"""Rows that are scored alone, to time it."""
LABEL_SHIFT_Z = 4.0
"""So many standard errors the labels' shift must be: the days of a season are alike, and look surer than they are."""

type Rows = tuple[Task, Array, Array]
"""A task, and the labels and scores of some rows as it has them."""


def loss_name(task: Task) -> str:
    """The compared metric that each row has a part in, and that is better when lower."""
    return next(one.metric for one in task.compared if one.metric not in task.higher_is_better)


def loss(task: Task, labels: Array, scores: Array) -> float:
    """Of all rows together: log loss in nats a row, or the error of numbers."""
    together = task.by_day(labels, scores, np.zeros(len(labels), np.intp), 1)[loss_name(task)]
    return float(together.of(np.ones((1, 1)))[0])


def measure(
    case: UseCase,
    booster: xgb.Booster,
    holdout: pl.DataFrame,
    output: Array,
    fitted: Array,
    fitted_days: Array,
    gain_shares: Mapping[str, float],
) -> dict[str, float]:
    """Everything above but the times, of a booster of the task of today: the same data gives the same numbers.

    ``output`` is what it gave for the rows of ``holdout``; ``fitted`` and ``fitted_days`` are the encoded labels that
    it was fitted on, and the day of each, in any form.
    """
    task = tasks.of(case)
    labels, scores = task.labels(holdout[case.label]), task.scores(output)
    usual = np.repeat(task.always(fitted), len(labels), axis=0)
    found = {
        "evaluated": float(VERSION),
        "score_values": float(len(np.unique(scores, axis=0))),
        "label_values": float(len(np.unique(labels))),
        "model_mib": len(booster.save_raw("ubj")) / 2**20,
    }
    if gain_shares:
        largest = max(gain_shares, key=gain_shares.__getitem__)
        found[f"gain_share/{largest}"] = gain_shares[largest]
    found |= label_shifts(case, task, fitted_days, fitted, holdout[case.day].to_numpy(), labels)
    found |= _odd_input(case, task, booster, holdout, labels, usual, gain_shares)
    return found | flat(groups(case, holdout, (task, labels, scores), (task, labels, usual)))


def label_shifts(
    case: UseCase, task: Task, fitted_days: Array, fitted: Array, days: Array, labels: Array
) -> dict[str, float]:
    """How far the labels of the holdout are from those of training, and by how many standard errors of days."""
    found = {}
    after = task.balance(labels, fitted)
    for what, before in task.balance(fitted, fitted).items():
        reference, current = _daily_means(fitted_days, before), _daily_means(days, after[what])
        found[f"label_shift/{what}"] = float(after[what].mean() - before.mean())
        z = metrics.z_of_difference(reference, current, case.overlap_days)
        # All days of both alike, and another value in each: as certain as can be.
        found[f"label_shift_z/{what}"] = float(np.clip(z, -1e6, 1e6))
    return found


def _daily_means(days: Array, values: Array) -> list[float]:
    _, day_of = np.unique(days, return_inverse=True)
    means: list[float] = (np.bincount(day_of, weights=values) / np.bincount(day_of)).tolist()
    return means


# --- groups of rows ---


@dataclass(frozen=True)
class Group:
    """The rows of one value of a column, and how a version does on them beside another one, or the usual.

    Attributes:
        loss: of the version, in the loss's unit.
        gain: by which share of the other's its loss is lower.
        gap: by how much its predictions are off there beyond what they are off on all rows of these days: in
            probability, or of numbers in mean errors.
        other_gap: the same of the other one; NaN of the usual.
    """

    column: str
    value: str
    rows: int
    days: int
    loss: float
    gain: Gain
    gap: Gain
    other_gap: float = NAN

    @property
    def name(self) -> str:
        return f"{self.column} {self.value}"

    def flat(self) -> dict[str, float]:
        """As a record keeps it."""
        found = {"rows": self.rows, "days": self.days, "loss": self.loss}
        for name, one in (("gain", self.gain), ("gap", self.gap)):
            found |= {name: one.value, f"{name}_error": one.error, f"{name}_freedom": one.freedom}
        return {f"slice/{self.column}/{self.value}/{name}": float(value) for name, value in found.items()}


def groups(case: UseCase, rows: pl.DataFrame, ours: Rows, theirs: Rows) -> list[Group]:
    """The groups of the spec's slices in ``rows``, the largest first, of a column at most ``MOST_GROUPS``."""
    found = []
    for name, within in slices_of(case, rows).items():
        column, _, value = name.partition("=")
        found.append(_group(case, rows, column, value, within, ours, theirs))
    return found


def slices_of(case: UseCase, rows: pl.DataFrame) -> dict[str, npt.NDArray[np.bool_]]:
    """Which of ``rows`` are in each group, by ``column=value``; the largest first, of a column ``MOST_GROUPS``."""
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for column in case.evaluation.slices:
        values = rows[column].cast(pl.String).fill_null("(none)")
        counted = values.value_counts(sort=True).sort(["count", column], descending=[True, False]).head(MOST_GROUPS)
        found |= {f"{column}={value}": (values == value).to_numpy() for value in counted[column]}
    return found


def _group(
    case: UseCase, rows: pl.DataFrame, column: str, value: str, within: npt.NDArray[np.bool_], ours: Rows, theirs: Rows
) -> Group:
    name = loss_name(ours[0])
    days, day_of = np.unique(rows[case.day].to_numpy()[within], return_inverse=True)
    made = [
        task.by_day(labels[within], scores[within], day_of, len(days))[name] for task, labels, scores in (ours, theirs)
    ]
    gain = comparison.gain(made[0], made[1], higher=False, relative=True, overlap=case.overlap_days)
    # Beside all rows of the same days: what the day does to all of them is nobody's privilege.
    same = np.isin(rows[case.day].to_numpy(), days)
    _, all_days = np.unique(rows[case.day].to_numpy()[same], return_inverse=True)
    gaps = []
    for task, labels, scores in (ours, theirs):
        own = _gaps(task, labels[within], scores[within], day_of, len(days))
        whole = _gaps(task, labels[same], scores[same], all_days, len(days))
        gaps.append(comparison.gain(own, whole, higher=True, overlap=case.overlap_days))
    total = float(made[0].of(np.ones((1, len(days))))[0])
    return Group(column, value, int(within.sum()), len(days), total, gain, gaps[0], gaps[1].value)


def _gaps(task: Task, labels: Array, scores: Array, day_of: npt.NDArray[np.intp], days: int) -> ByDay:
    """By how much predictions are off, in one direction: in probability, or of numbers in mean absolute errors."""
    off = task.off(labels, scores)
    unit = np.abs(off) if task.kind == "regression" else None
    counts = np.bincount(day_of, weights=unit, minlength=days).astype(np.float64)
    return ByDay(np.bincount(day_of, weights=off, minlength=days), counts)


def flat(found: Sequence[Group]) -> dict[str, float]:
    """Groups as a record keeps them, without what is no number."""
    return {name: value for one in found for name, value in one.flat().items() if np.isfinite(value)}


def of_record(spec: Evaluation, found: Mapping[str, float]) -> list[Group]:
    """The groups that a training's record keeps."""
    names: dict[tuple[str, str], dict[str, float]] = {}
    for name, value in found.items():
        for column in spec.slices:
            if name.startswith(f"slice/{column}/"):
                group, _, what = name.removeprefix(f"slice/{column}/").rpartition("/")
                names.setdefault((column, group), {})[what] = value
    return [
        Group(
            column,
            value,
            int(one.get("rows", 0)),
            int(one.get("days", 0)),
            one.get("loss", NAN),
            gain=_gain_of(one, "gain"),
            gap=_gain_of(one, "gap"),
        )
        for (column, value), one in names.items()
    ]


def _gain_of(kept: Mapping[str, float], name: str) -> Gain:
    return Gain(kept.get(name, NAN), kept.get(f"{name}_error", NAN), kept.get(f"{name}_freedom", 0.0))


def judged(case: UseCase, found: Sequence[Group]) -> list[Group]:
    """Those that are large enough to be judged."""
    spec = case.evaluation
    least = max(spec.min_slice_days, 2 * case.overlap_days if case.label_days else 0)
    return [one for one in found if one.rows >= spec.min_slice_rows and one.days >= least]


def slice_reasons(case: UseCase, found: Sequence[Group], look: int | None, other: str) -> list[str]:
    """Why a version must not become champion by how it does in a group; ``other`` is what it was compared with.

    The level is split over the groups that are judged and over what they are judged by, and with a ``look``, from 1,
    spent over the looks, so that all of them together keep it.
    """
    spec, large = case.evaluation, judged(case, found)
    if not large:
        return []
    share = spec.slice_level / len(large) / 2  # for the loss; as much for the gap

    def level(part: float) -> float:
        return comparison.levels(case.looks, part)[look - 1] if look else part

    reasons = []
    for one in large:
        if one.gain.below(level(share)) < -spec.max_slice_loss:
            reasons.append(
                f"{one.name}: its loss on {one.rows} rows is {-one.gain.value:.1%} above {other}, at least "
                f"{-one.gain.below(level(share)):.1%}; the limit is {spec.max_slice_loss:.1%}"
            )
        widest = max(spec.max_parity_gap, abs(one.other_gap)) if one.other_gap == one.other_gap else spec.max_parity_gap
        if one.gap.above(level(share / 2)) > widest or one.gap.below(level(share / 2)) < -widest:
            reasons.append(
                f"{one.name}: predictions are off by {one.gap.value:+.3f} beyond those of all rows; the limit is "
                f"{widest:.3g}"
            )
    return reasons


# --- odd input ---


def _odd_input(
    case: UseCase,
    task: Task,
    booster: xgb.Booster,
    holdout: pl.DataFrame,
    labels: Array,
    usual: Array,
    gain_shares: Mapping[str, float],
) -> dict[str, float]:
    """The loss of some rows as they are, and as they might come."""
    at = np.linspace(0, len(labels) - 1, min(SAMPLE_ROWS, len(labels))).astype(np.intp)
    values, truth = dataset.matrix(case.features, holdout[at]), labels[at]
    numeric = np.array([feature.kind == "numeric" for feature in case.features])

    def of(changed: Array) -> float:
        return loss(task, truth, task.scores(predict(case, booster, changed)))

    found = {"sample_rows": float(len(at)), "loss": of(values), "usual_loss": loss(task, truth, usual[at])}
    spread = np.where(numeric, np.nan_to_num(_spread(values)), 0.0).astype(np.float32)
    noise = np.random.default_rng(case.training.seed).normal(size=values.shape).astype(np.float32)
    found["loss_noise"] = of(values + noise * spread / 10)
    # A group whose numbers have all moved: the first slice's largest one, or else every tenth row.
    where = _largest_group(case, holdout[at]) if case.evaluation.slices else np.arange(len(at)) % 10 == 0
    moved = values.copy()
    moved[where] += spread
    found["loss_shifted"] = of(moved)
    tried = _to_try(case, gain_shares)
    found["features_tried"] = float(len(tried))
    for feature, column in tried:
        found[f"loss_missing/{feature.name}"] = of(_with(values, column, absent(feature)))
        if feature.kind == "numeric":
            units = [
                _with(values, column, changed) for changed in (values[:, column] * 1.8 + 32, values[:, column] * 1000)
            ]
            found[f"loss_unit/{feature.name}"] = max(map(of, units))
    return found


def predict(case: UseCase, booster: xgb.Booster, values: Array, **options: bool) -> Array:
    """What the booster gives for encoded rows of the spec's features."""
    with errors.of_xgboost(f"to evaluate {case.name}"):
        rows = xgb.DMatrix(
            values,
            feature_names=list(case.feature_names),
            feature_types=scoring.feature_types(case.features),
            nthread=case.training.threads,
            enable_categorical=True,
        )
        return booster.predict(rows, **options)


def absent(feature: Feature) -> float:
    """The code of a value that is not there."""
    return float(len(feature.levels) - 1) if feature.kind == "categorical" else NAN


def _spread(values: Array) -> Array:
    """The standard deviation of each column; 0 of one without a value."""
    there = ~np.isnan(values)
    rows = np.maximum(there.sum(axis=0), 1)
    filled = np.where(there, values, 0.0).astype(np.float64)
    means = filled.sum(axis=0) / rows
    return np.asarray(np.sqrt((np.where(there, filled - means, 0.0) ** 2).sum(axis=0) / rows))


def _with(values: Array, column: int, changed: Array | float) -> Array:
    other = values.copy()
    other[:, column] = changed
    return other


def _largest_group(case: UseCase, rows: pl.DataFrame) -> npt.NDArray[np.bool_]:
    column = rows[case.evaluation.slices[0]].cast(pl.String).fill_null("(none)")
    return np.asarray((column == column.mode().sort()[0]).to_numpy())


def _to_try(case: UseCase, gain_shares: Mapping[str, float]) -> list[tuple[Feature, int]]:
    """Features that the model uses, with their columns. What it does not use changes nothing."""
    used = [(feature, n) for n, feature in enumerate(case.features) if gain_shares.get(feature.name)]
    return sorted(used, key=lambda one: (-gain_shares[one[0].name], one[1]))[:MOST_FEATURES]


# --- speed ---


def timings(
    case: UseCase, booster: xgb.Booster, holdout: pl.DataFrame, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """How long single rows and many together take, encoding included. ``clock`` counts seconds."""

    def seconds(rows: pl.DataFrame) -> float:
        begun = clock()
        scoring.output(case, booster, case.features, rows)
        return clock() - begun

    several = holdout.head(SAMPLE_ROWS * 5)
    batch = min(seconds(several) for _ in range(2))
    single = [1000 * seconds(holdout[n % holdout.height]) for n in range(SINGLE_ROWS + 5)][5:]  # the first ones warm up
    p50, p95, p99 = np.percentile(single, (50, 95, 99))
    return {
        "ms_p50": float(p50),
        "ms_p95": float(p95),
        "ms_p99": float(p99),
        "rows_per_second": several.height / batch if batch else NAN,
    }


# --- the gate ---


def reasons(case: UseCase, found: Mapping[str, float], *, has_champion: bool = False) -> list[str]:
    """Why a version with these measurements of its training must not become champion.

    What is missing fails. Groups are judged apart, by ``slice_reasons``. Beside a champion, labels that have moved are
    no reason: that the world has moved is what a retraining is for, and the days of both tell which of them is better.
    """
    suspected = _of_suspicion(case, found) + ([] if has_champion else _of_labels(case.evaluation, found))
    return [*suspected, *_of_odd_input(case.evaluation, found), *_of_size(case.evaluation, found)]


# Written as "not good" throughout, so that what is missing fails.


def _of_suspicion(case: UseCase, found: Mapping[str, float]) -> list[str]:
    spec, said = case.evaluation, []
    if not found.get("label_values", NAN) > 1:
        said.append(f"{case.label} has one value in all rows of the holdout, by which nothing can be judged")
    if not found.get("score_values", NAN) > 1:
        said.append("it says the same of every row")
    name, share = _largest(found, "gain_share/")
    if len(case.features) > 1 and not share <= spec.max_gain_share:
        said.append(
            f"{name or 'no feature'} carries {share:.1%} of the gain, over {spec.max_gain_share:.1%}: it may be the "
            "label by another name"
        )
    if not _all(found, "label_shift/"):
        said.append("nobody has held the labels of the holdout against those of training")
    return said


def _of_labels(spec: Evaluation, found: Mapping[str, float]) -> list[str]:
    said = []
    for what, shift in _all(found, "label_shift/").items():
        certain = not abs(found.get(f"label_shift_z/{what}", NAN)) < LABEL_SHIFT_Z
        if certain and not abs(shift) <= spec.max_label_shift:
            by = f"{shift:+.1%}" if what.startswith("rows ") else f"{shift:+.2f} standard deviations"
            said.append(f"{what}: {by} from training to holdout, over {spec.max_label_shift:.3g}: look at the labels")
    return said


def _of_odd_input(spec: Evaluation, found: Mapping[str, float]) -> list[str]:
    own, usual, noisy = (found.get(name, NAN) for name in ("loss", "usual_loss", "loss_noise"))
    said = []
    if not noisy - own <= usual * spec.max_noise_loss:
        said.append(
            f"with noise of a tenth its loss rises from {own:.4g} to {noisy:.4g}, by {(noisy - own) / usual:.1%} of "
            f"always the usual's; the limit is {spec.max_noise_loss:.1%}"
        )
    name, worst = _largest(found, "loss_missing/")
    if len(_all(found, "loss_missing/")) != found.get("features_tried", NAN):
        said.append("nobody has tried what becomes of it without some of its features")
    elif name and not worst <= usual * (1 + spec.max_missing_loss):
        said.append(
            f"without {name} its loss is {worst:.4g}, {worst / usual - 1:.1%} above {usual:.4g} of always the usual; "
            f"the limit is {spec.max_missing_loss:.1%}"
        )
    return said


def _of_size(spec: Evaluation, found: Mapping[str, float]) -> list[str]:
    size, slowest = found.get("model_mib", NAN), found.get("ms_p99", NAN)
    said = []
    if not size <= spec.max_model_mib:
        said.append(f"it has {size:.4g} MiB, over {spec.max_model_mib:.4g}")
    if not slowest <= spec.max_ms_p99:
        said.append(f"one row in a hundred takes {slowest:.4g} ms or more, over {spec.max_ms_p99:.4g}")
    return said


def _all(found: Mapping[str, float], prefix: str) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}


def _largest(found: Mapping[str, float], prefix: str) -> tuple[str, float]:
    """The largest of these, by its name; NaN where there is none."""
    return max(_all(found, prefix).items(), key=lambda one: one[1], default=("", NAN))


def others(found: Mapping[str, float]) -> dict[str, float]:
    """What a training has measured beside all this."""
    return {name: value for name, value in found.items() if "/" not in name and name not in OWN}


def shown(found: Mapping[str, float]) -> dict[str, float]:
    """What MLflow shows as metrics: all but what there is one of a feature or a group, whose worst stands for it.

    Names of groups may have any letters, and MLflow refuses some.
    """
    plain = {name: value for name, value in found.items() if "/" not in name}
    gains = [value for name, value in found.items() if name.startswith("slice/") and name.endswith("/gain")]
    worst = {
        "loss_missing_worst": _largest(found, "loss_missing/")[1],
        "loss_unit_worst": _largest(found, "loss_unit/")[1],
        "gain_share_largest": _largest(found, "gain_share/")[1],
        "label_shift_largest": max(map(abs, _all(found, "label_shift/").values()), default=NAN),
        "slice_gain_least": min(gains, default=NAN),
    }
    return plain | {name: value for name, value in worst.items() if np.isfinite(value)}
