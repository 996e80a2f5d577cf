"""What a model's world looked like when it was trained: the distributions that drift is measured against.

A reference is a plain dictionary, stored as ``reference.json`` beside the model:

    inputs:   [{name, kind, levels}]    what the model takes, in its order; the place of a level is its code
    features: {name: {edges, shares, weight, quiet}}        over all days of the training set
    task:     {kind, classes or quantiles}                  what it predicts, as its task keeps it
    scores:   {column: {edges, shares, quiet}}              over the holdout, which the model never saw
    beside:   [{features, usual, weights, scale}]           how the features of a day hang together: evidence.Beside
    quality:  {metric: quiet}                               of all rows, where there are days that no model had seen
    together: {metric: {beside, slope, mean}}               how some of these go with another: Together
    slices:   {slice: {metric: quiet}}                      the quality of groups, less that of all rows of the day
    within:   {slice: {rows, inputs: quiet, scores: quiet}} the numbers of features and scores of groups, likewise
    calm:     {sensor: [evidence]}                          what its own quiet weeks, drawn again: evidence.CALM_SHARES
    holdout:  {first, last, quality: {...}, daily: {name: [...]}}       by the names of the task
    data:     {first, last}

Shares are those of ``metrics.bin_counts``: one more than there are edges, then the missing ones. ``weight`` is the
feature's share of the model's total gain. ``quiet`` is what the numbers of its days did: ``evidence.Quiet``, or null
where there were too few days; of scores, on all days of the training set. A reference of an earlier release has neither
``quiet`` nor ``slices``, or no ``beside``, ``quality`` and ``calm``, or no ``within``: ``include.ml.slices`` has the
order of its numbers. ``rows`` are those of a day, in the mean.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from itertools import batched
from typing import Any

import numpy as np
import numpy.typing as npt

from include.contracts.use_case import Feature, UseCase
from include.ml import evidence, metrics, slices, tasks
from include.ml.evidence import Calm, Floats, Quiet
from include.ml.slices import Groups, Layout
from include.ml.tasks import Task

type Reference = dict[str, Any]

AT_ONCE = 1_000_000
"""So many values are counted at once."""


@dataclass(frozen=True)
class Scored:
    """Rows of days that the model that scored them had not seen: labels, scores as the task has them, and days.

    Days are datetime64[D]; all three have one entry a row.
    """

    labels: npt.NDArray[Any]
    scores: npt.NDArray[Any]
    days: npt.NDArray[Any]


UNRELATED_DAYS = 10
"""How figures of quality go together is told by some months: so many days more are taken to tell that they do not."""


@dataclass(frozen=True)
class Together:
    """How a figure of quality goes with another one, ``beside``: by ``slope`` times what this is off its ``mean``."""

    beside: str
    slope: float
    mean: float


SIDES = {"lower": (-1,), "higher": (1,), "either": (-1, 1)}
"""The directions in which a change of quality counts."""


def inputs_of(features: Sequence[Feature]) -> list[dict[str, Any]]:
    """``features`` as a reference keeps them: all that scoring needs, and nothing that only a gate does."""
    return [{"name": one.name, "kind": one.kind, "levels": list(one.levels)} for one in features]


def features_of(reference: Reference) -> tuple[Feature, ...]:
    """What a version takes, in its order and with its own codes, whatever the spec of today says."""
    return tuple(Feature(one["name"], one["kind"], vocabulary=tuple(one["levels"][:-1])) for one in reference["inputs"])


def feature_edges(feature: Feature, values: npt.NDArray[Any]) -> list[float]:
    """Inner bin edges of one feature column: between the codes of a categorical one, deciles of a numeric one."""
    if feature.kind == "categorical":
        return [code + 0.5 for code in range(len(feature.levels) - 1)]
    return metrics.bin_edges(values)


def counts_by_day(
    values: npt.NDArray[Any], day_index: npt.NDArray[Any], days: int, edges: list[float]
) -> npt.NDArray[np.int64]:
    """Bin counts of one column for each of ``days`` days, shape days × (len(edges) + 2).

    ``day_index`` says which day (0 to days − 1) each value belongs to.
    """
    if days == 1:
        return metrics.bin_counts(values, edges)[np.newaxis]
    width = len(edges) + 2
    counts = np.zeros(days * width, dtype=np.int64)
    for begin in range(0, len(values), AT_ONCE):  # what is counted takes several times the memory of the values
        some, of_day = values[begin : begin + AT_ONCE], day_index[begin : begin + AT_ONCE]
        bins = np.where(np.isnan(some), width - 1, np.searchsorted(np.asarray(edges), some, side="left"))
        counts += np.bincount(of_day.astype(np.int64) * width + bins, minlength=days * width)
    return counts.reshape(days, width)


def daily_quality(
    task: Task, labels: npt.NDArray[Any], scores: npt.NDArray[Any], days: npt.NDArray[Any]
) -> dict[str, list[float]]:
    """What is watched, for each day in order; of each value, the days that do not tell it are left out."""
    found: dict[str, list[float]] = {}
    for day in np.unique(days):
        of_day = days == day
        for name, value in task.daily(labels[of_day], scores[of_day]).items():
            found.setdefault(name, [])
            if not np.isnan(value):
                found[name].append(value)
    return found


def feature_by_day(
    feature: Feature, values: npt.NDArray[Any], day_index: npt.NDArray[Any], days: int, edges: list[float]
) -> tuple[Floats, Floats]:
    """The numbers by which a feature is watched, each day (days × numbers), and their floors; see ``evidence.step``."""
    if feature.kind == "categorical":
        return evidence.shares_by_day(counts_by_day(values, day_index, days, edges)[:, :-1])
    return evidence.numeric_by_day(values, day_index, days, edges)


def scores_by_day(
    values: npt.NDArray[Any], day_index: npt.NDArray[Any], days: int, edges: Sequence[float]
) -> tuple[Floats, Floats]:
    """The same of one column of predictions, none of which is missing."""
    numbers, floors = evidence.numeric_by_day(values, day_index, days, edges)
    return numbers[:, :2], floors[:, :2]


def quality_by_day(
    task: Task,
    units: Mapping[str, float],
    labels: npt.NDArray[Any],
    scores: npt.NDArray[Any],
    day_index: npt.NDArray[Any],
    days: int,
) -> dict[str, Floats]:
    """What the quality sensor watches, each day, by its metric; NaN where a day does not tell it.

    ``units`` are those of ``quality_units``.
    """
    found = {watched.metric: np.full(days, np.nan) for watched in task.watched}
    for day in range(days):
        of_day = day_index == day
        if of_day.any():
            daily = task.daily(labels[of_day], scores[of_day])
            for watched in task.watched:
                found[watched.metric][day] = daily[watched.daily] / units[watched.metric]
    return found


def quality_units(task: Task, daily: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """What one of each watched metric is, by the ``daily`` values of the holdout."""
    return {
        one.metric: (float(np.mean(daily[one.unit])) if one.unit and daily.get(one.unit) else 1.0) or 1.0
        for one in task.watched
    }


@dataclass(frozen=True)
class Numbers:
    """The numbers of something that is watched, each day (days × numbers), and their floors."""

    values: Floats
    floors: Floats
    days: list[date]

    @cached_property
    def quiet(self) -> Quiet | None:
        return quiet_of(self.values, self.days)

    @property
    def floor(self) -> Floats:
        """How far a number of a day of usual size lies from the truth by chance."""
        return np.asarray(np.median(self.floors, axis=0))


def _calm(
    numbers: Sequence[Numbers], quiets: Sequence[Quiet], weights: Sequence[float], beside: Floats | None = None
) -> Calm:
    """How far off quiet days were, as the monitor would have seen it. ``weights`` are those of each of ``numbers``."""
    off = np.hstack(
        [
            evidence.surprises(quiet, one.values, one.days) / np.maximum(quiet.scale, one.floors[1:])
            for one, quiet in zip(numbers, quiets, strict=True)
        ]
    )
    memory = np.concatenate([quiet.memory for quiet in quiets])
    weight = np.concatenate(
        [np.full(len(quiet.level), given / len(quiet.level)) for quiet, given in zip(quiets, weights, strict=True)]
    )
    if beside is None:
        return Calm(off, memory, weight)
    return Calm(np.hstack([off, beside]), np.tile(memory, 2), np.tile(weight / 2, 2))


def _beside(told: Mapping[str, Numbers], gains: Mapping[str, float]) -> tuple[list[dict[str, Any]], list[Calm]]:
    """How features hang together, some after the other so that not too many are held beside each other; and how far off
    their quiet days were."""
    there = {name: quiet for name, one in told.items() if (quiet := one.quiet) is not None}
    weights, kept, calm = feature_weights({name: gains.get(name, 0.0) for name in there}), list[dict[str, Any]](), []
    for names in _together({name: len(quiet.level) for name, quiet in there.items()}):
        numbers, quiets = [told[name] for name in names], [there[name] for name in names]
        left = np.hstack([evidence.surprises(q, one.values, one.days) for q, one in zip(quiets, numbers, strict=True)])
        # What is hardly ever told tells nothing of the others.
        left *= np.concatenate([quiet.scale < evidence.UNTOLD for quiet in quiets])
        found = evidence.learn_beside(left, np.concatenate([one.floor for one in numbers]))
        given = [weights[name] for name in names]
        calm.append(_calm(numbers, quiets, given, found[1] if found else None))
        if found:
            kept.append({"features": names, **found[0].to_dict()})
    return kept, calm


def _together(widths: Mapping[str, int]) -> list[list[str]]:
    """Features in their order, in groups of at most ``evidence.MOST_BESIDE`` numbers."""
    groups, full = list[list[str]](), evidence.MOST_BESIDE
    for name, width in widths.items():
        if full + width > evidence.MOST_BESIDE:
            groups.append([])
            full = 0
        groups[-1].append(name)
        full += width
    return groups


class _Within:
    """What is learned of columns within slices while they are looked at, one after the other or at once."""

    def __init__(
        self,
        columns: Sequence[Feature],
        day_index: npt.NDArray[Any],
        days: list[date],
        groups: Groups,
        of_number: int = 3,
    ) -> None:
        self._index, self._days, self._groups = day_index, days, groups
        self._layout = Layout(tuple(columns), of_number)
        self._numbers = np.full((len(days), len(groups.names), self._layout.width), np.nan)
        self._floors = np.full_like(self._numbers, slices.LEAST_OFF)

    def take(self, column: Feature, values: npt.NDArray[Any], edges: Sequence[float], whole: Floats) -> None:
        """Take ``values`` of ``column``; ``whole`` are the numbers of all rows (days × numbers)."""
        at = self._layout.places[column.name]
        numbers, floors = slices.column_by_day(column, values, self._index, len(self._days), self._groups, edges)
        kept = at.stop - at.start
        self._numbers[:, :, at] = numbers[:, :, :kept] - whole[:, np.newaxis, :kept]
        self._floors[:, :, at] = np.maximum(floors[:, :, :kept], slices.LEAST_OFF)

    def learned(self, weights: Mapping[str, float]) -> tuple[dict[str, Quiet], list[Calm]]:
        """What is quiet in each slice, and how far off its quiet days were. ``weights`` are those of the columns."""
        found, calm = dict[str, Quiet](), list[Calm]()
        rows = self._groups.by_day(self._index, len(self._days)).mean(axis=0).tolist()
        of_slice = feature_weights(dict(zip(self._groups.names, rows, strict=True)))
        for place, name in enumerate(self._groups.names):
            there = ~np.isnan(self._numbers[:, place]).all(axis=1)
            numbers, floors = self._numbers[there, place], self._floors[there, place]
            days = [day for day, is_there in zip(self._days, there, strict=True) if is_there]
            quiet = quiet_of(numbers, days)
            if quiet is None or 2 * len(days) < len(self._days):  # a slice that is hardly ever there is not watched
                continue
            found[name] = quiet.rounded()
            off = evidence.surprises(quiet, numbers, days) / np.maximum(quiet.scale, floors[1:])
            weight = of_slice[name] * self._layout.weights(weights, name.split("=", 1)[0])
            calm.append(Calm(off, quiet.memory, weight, sizes=slices.SIZES, freedom=slices.FREEDOM))
        return found, calm


def _within(
    groups: Groups, days: int, inputs: Mapping[str, Quiet], scores: Mapping[str, Quiet]
) -> dict[str, dict[str, Any]]:
    """As a reference keeps it: what is quiet in each slice."""
    index = np.zeros(len(groups.codes[0]), np.intp)
    rows = groups.by_day(index, 1)[0] / days
    return {
        name: {"rows": float(rows[place]), "inputs": _kept(inputs.get(name)), "scores": _kept(scores.get(name))}
        for place, name in enumerate(groups.names)
    }


def shared(whole: Sequence[Calm], within: Sequence[Calm]) -> list[Calm]:
    """Those of all rows and of slices together, where there are any, as their weights are."""
    if not within:
        return list(whole)
    return [
        *(replace(one, weight=one.weight * (1 - slices.SHARE)) for one in whole),
        *(replace(one, weight=one.weight * slices.SHARE) for one in within),
    ]


def feature_weights(gains: Mapping[str, float]) -> dict[str, float]:
    """Half of the weight goes by what the model makes of a feature, and half to all alike: it may be of no use yet."""
    total = sum(gains.values())
    return {name: ((gain / total if total else 1 / len(gains)) + 1 / len(gains)) / 2 for name, gain in gains.items()}


def _promised(
    task: Task, units: Mapping[str, float], earlier: Scored, holdout: Scored, overlap: int
) -> tuple[dict[str, Any], dict[str, Together], list[Calm]]:
    """What quality does on days that no model had seen, those of the holdout among them; how its figures go together;
    and how far off these days were.

    How far days scatter all of them tell. What is promised is the mean of all and of the holdout: a fortnight is too
    short for it, and a season ago too long.
    """
    dates, index = np.unique(np.concatenate([earlier.days, holdout.days]), return_inverse=True)
    labels = np.concatenate([earlier.labels, holdout.labels])
    scores = np.concatenate([earlier.scores, holdout.scores])
    raw = quality_by_day(task, units, labels, scores, index, len(dates))
    together = go_together(task, raw)
    of_day = {metric: less_beside(together.get(metric), metric, raw) for metric in raw}
    late, found, calm = dates >= holdout.days.min(), dict[str, Any](), list[Calm]()
    for watched in task.watched:
        values = of_day[watched.metric]
        there = ~np.isnan(values)
        days = [day for day, is_there in zip(_dates(dates), there, strict=True) if is_there]
        quiet = quiet_of(
            values[:, np.newaxis], _dates(dates), follows=0.0, overlap=overlap, unseen=evidence.UNSEEN_OF_LATER
        )
        if quiet is None or not (there & late).any():
            continue
        quiet = replace(quiet, level=(quiet.level + values[there & late].mean()) / 2)
        found[watched.metric] = quiet.to_dict()
        off = evidence.surprises(quiet, values[there][:, np.newaxis], days, follows=0.0) / quiet.scale
        sides = SIDES[watched.worse]
        calm.append(Calm(off, quiet.memory, np.ones(1), sides, evidence.KEPT_OF_PROMISED))
    return found, together, [replace(one, weight=one.weight / len(calm)) for one in calm]


def go_together(task: Task, of_day: Mapping[str, Floats]) -> dict[str, Together]:
    """How figures go with those that they are held beside, by least squares; nothing where few days tell it.

    Shrunk as if so many days more had told that they have nothing to do with each other.
    """
    found = {}
    for watched in task.watched:
        if not watched.beside:
            continue
        values, other = of_day[watched.metric], of_day[watched.beside]
        there = ~np.isnan(values) & ~np.isnan(other)
        days, mean = int(there.sum()), float(other[there].mean()) if there.any() else 0.0
        off = other[there] - mean
        squares = float(off @ off) * (1 + UNRELATED_DAYS / max(days, 1))
        if days >= evidence.LEAST_BESIDE and squares > 0:
            slope = float(off @ (values[there] - values[there].mean())) / squares
            found[watched.metric] = Together(watched.beside, slope, mean)
    return found


def less_beside(one: Together | None, metric: str, of_day: Mapping[str, Floats]) -> Floats:
    """The figure ``metric`` of each day, less what of it goes with another on quiet days; None: as it is."""
    values = of_day[metric]
    return values if one is None else np.asarray(values - one.slope * (of_day[one.beside] - one.mean))


def together_of(reference: Reference) -> dict[str, Together]:
    """How the figures of a version go together; of an earlier release none do."""
    return {metric: Together(**one) for metric, one in reference.get("together", {}).items()}


def _quiet_slices(
    task: Task,
    units: Mapping[str, float],
    labels: npt.NDArray[Any],
    given: npt.NDArray[Any],
    days: npt.NDArray[Any],
    slices: Mapping[str, npt.NDArray[np.bool_]],
    overlap: int,
) -> Reference:
    """What the quality of groups does on the days of the holdout, by their names; ``slices`` are their rows.

    Beside all rows of the same day: what a day does to all of them is nobody's own.
    """
    dates, index = np.unique(days, return_inverse=True)
    whole, found = quality_by_day(task, units, labels, given, index, len(dates)), {}
    for name, within in slices.items():
        own = quality_by_day(task, units, labels[within], given[within], index[within], len(dates))
        found[name] = {
            metric: _kept(quiet_of((told - whole[metric])[:, np.newaxis], _dates(dates), follows=0.0, overlap=overlap))
            for metric, told in own.items()
        }
    return found


def quiet_of(
    numbers: Floats,
    days: Sequence[date],
    *,
    follows: float = evidence.FOLLOWS,
    overlap: int = 1,
    unseen: float = evidence.UNSEEN,
) -> Quiet | None:
    """What ``evidence.learn`` learns of the days of which ``numbers`` has rows."""
    there = ~np.isnan(numbers).all(axis=1)
    kept = [day for day, is_there in zip(days, there, strict=True) if is_there]
    return evidence.learn(numbers[there], kept, follows=follows, overlap=overlap, unseen=unseen)


def _kept(quiet: Quiet | None) -> dict[str, Any] | None:
    """As a reference keeps it."""
    return quiet.to_dict() if quiet else None


def _dates(days: npt.NDArray[Any]) -> list[date]:
    found: list[date] = days.astype("datetime64[D]").tolist()
    return found


def brought_forward(found: Reference) -> Reference:
    """A reference of any release as today's have it: before there were other tasks, each was binary."""
    if "task" in found:
        return found
    before = {name: part for name, part in found.items() if name != "score"}
    return before | {"task": {"kind": "binary"}, "scores": {"score": found["score"]}}


def build(
    case: UseCase,
    columns: Iterable[npt.NDArray[Any]],
    days: npt.NDArray[Any],
    weights: dict[str, float],
    holdout: tuple[date, date],
    holdout_labels: npt.NDArray[Any],
    holdout_scores: npt.NDArray[Any],
    groups: Mapping[str, npt.NDArray[np.bool_]] | None = None,
    every_score: npt.NDArray[Any] | None = None,
    earlier: Scored | None = None,
    within: Groups | None = None,
) -> Reference:
    """The reference of a model. ``columns`` are the features of its whole training set, and ``days`` are its days.

    The features come in the order of the spec. Each is looked at once, by itself, as many at a time as threads are.
    ``groups`` are groups of the holdout that are watched by themselves: which of its rows are theirs. ``every_score``
    are the scores of the whole training set, by which it is learned how days of scores differ: a fortnight tells little
    of that. None: the holdout's. ``earlier`` are days before the holdout, scored by models that had not seen them:
    quality is learned from them too. ``within`` says of all rows of the training set in which of these groups they are:
    features and scores are watched within them too.
    """
    task, within = tasks.of(case), within if within is not None and within.names else None
    unique_days, day_index = np.unique(days, return_inverse=True)
    every_day = _dates(unique_days)

    every = max(1, -(-len(days) * max(len(case.features), 1) // slices.MOST_VALUES))
    inside = _Within(case.features, day_index[::every], every_day, within.every(every)) if within else None

    def of_feature(feature: Feature, values: npt.NDArray[Any]) -> tuple[dict[str, Any], Numbers]:
        edges = feature_edges(feature, values)
        per_day = counts_by_day(values, day_index, len(unique_days), edges)
        found = Numbers(*feature_by_day(feature, values, day_index, len(unique_days), edges), every_day)
        kept = {
            "edges": edges,
            "shares": metrics.shares(per_day.sum(axis=0)).tolist(),
            "weight": weights.get(feature.name, 0.0),
            "quiet": _kept(found.quiet),
        }
        if inside:
            inside.take(feature, values[::every], edges, found.values)
        return kept, found

    told: dict[str, tuple[dict[str, Any], Numbers]] = {}
    with ThreadPoolExecutor(case.training.threads) as threads:
        for some in batched(zip(case.features, columns, strict=True), case.training.threads):
            named, values = zip(*some, strict=True)
            told |= zip([one.name for one in named], threads.map(of_feature, named, values), strict=True)
    features = {name: kept for name, (kept, _) in told.items()}
    beside, calm_inputs = _beside({name: numbers for name, (_, numbers) in told.items()}, weights)
    watched = {name: of["weight"] for name, of in features.items() if of["quiet"]}
    quiet_inputs, calm_within = inside.learned(feature_weights(watched)) if inside and watched else ({}, [])
    calm_inputs = shared(calm_inputs, calm_within)
    first, last = np.datetime64(holdout[0]), np.datetime64(holdout[1])
    of_holdout = days[(days >= first) & (days <= last)]
    whole = every_score is not None
    watched_days, watched_index = np.unique(days if whole else of_holdout, return_inverse=True)
    each = task.watched_values(task.frame(every_score if every_score is not None else holdout_scores))
    columns_of_scores = slices.columns_of_scores(each)
    of_scores = (
        _Within(columns_of_scores, day_index[::every], every_day, within.every(every), of_number=2)
        if within and whole
        else None
    )
    scores: Reference = {}
    calm_scores: list[Calm] = []
    for name, values in task.watched_values(task.frame(holdout_scores)).items():
        edges = metrics.bin_edges(values)
        found = Numbers(*scores_by_day(each[name], watched_index, len(watched_days), edges), _dates(watched_days))
        if found.quiet:
            calm_scores.append(_calm([found], [found.quiet], [1 / len(each)]))
        if of_scores:
            of_scores.take(Feature(name), each[name][::every], edges, found.values)
        scores[name] = {
            "edges": edges,
            "shares": metrics.shares(metrics.bin_counts(values, edges)).tolist(),
            "quiet": _kept(found.quiet),
        }
    alike = {name: 1 / len(each) for name in each}
    quiet_scores, calm_within = of_scores.learned(alike) if of_scores and calm_scores else ({}, [])
    calm_scores = shared(calm_scores, calm_within)
    daily = daily_quality(task, holdout_labels, holdout_scores, of_holdout)
    units = quality_units(task, daily)
    promised, together, calm_quality = dict[str, Any](), dict[str, Together](), list[Calm]()
    if earlier is not None:
        seen = Scored(holdout_labels, holdout_scores, of_holdout)
        promised, together, calm_quality = _promised(task, units, earlier, seen, case.overlap_days)
    return {
        "inputs": inputs_of(case.features),
        "features": features,
        "beside": beside,
        "task": task.recipe,
        "scores": scores,
        "holdout": {
            "first": str(holdout[0]),
            "last": str(holdout[1]),
            "quality": task.quality(holdout_labels, holdout_scores),
            "daily": daily,
        },
        "quality": promised,
        "together": {metric: vars(one) for metric, one in together.items()},
        "slices": _quiet_slices(
            task, units, holdout_labels, holdout_scores, of_holdout, groups or {}, case.overlap_days
        ),
        "within": _within(within, len(unique_days), quiet_inputs, quiet_scores) if within else {},
        "calm": {
            "input_drift": evidence.calm_evidence(calm_inputs),
            "prediction_drift": evidence.calm_evidence(calm_scores),
            "quality": evidence.calm_evidence(calm_quality),
        },
        "data": {"first": str(unique_days[0]), "last": str(unique_days[-1])},
    }
