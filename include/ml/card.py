"""The card of a version: one HTML file, with all that somebody who is to rely on it asks for.

Everything is in the file: nothing is asked of other servers, and no script runs. The card of a training is an artifact
of its run in MLflow; ``make card`` makes one with the history of today. All of it is read off the sealed ledgers, the
version's own files, and its rows as the tables had them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import xgboost as xgb
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from include.contracts.use_case import Feature, UseCase
from include.core.settings import settings
from include.lake.delta import TableMissingError, VersionMissingError
from include.ml import (
    dataset,
    errors,
    evaluation,
    ledger,
    model_files,
    record,
    registry,
    scoring,
    tasks,
)
from include.ml.dataset import Dataset
from include.ml.ledger import Champion
from include.ml.record import Judgement, Training
from include.ml.reference import features_of
from include.ml.tasks import Task
from include.ml.tasks.interface import Array
from include.ml.tasks.multiclass import MulticlassTask

CARD_FILE = "card.html"
SAMPLE_ROWS = 1000
"""Rows of the holdout whose predictions are explained."""
MOST_BARS, MOST_PARTS = 15, 6
"""Features in the summary, and in an example."""
BINS, BIN_ROWS = 10, 20
"""Points of the reliability curve at most, and rows of one at least: each is drawn with its error."""
WIDTH, HEIGHT, LEFT, BOTTOM, RIGHT = 420.0, 230.0, 52.0, 28.0, 24.0
"""Of a picture, in its own units, and of the margins where its axes are labelled."""


class Said(NamedTuple):
    """A line of the version's history."""

    when: str
    what: str
    who: str
    why: str


@dataclass(frozen=True)
class Scored:
    """The holdout with what the version says of it. ``output`` is the booster's."""

    rows: pl.DataFrame
    labels: Array
    scores: Array
    booster: xgb.Booster
    features: tuple[Feature, ...]


@dataclass(frozen=True)
class Known:
    """What a card is made of.

    Attributes:
        case: the use case as its spec was when the version was trained.
        task: the one that it was trained for.
        training: its sealed record.
        split: the days and rows of each part of its training set.
        holdout: None where the rows are not to be had any more; ``problem`` says why.
        history: what has become of it, the oldest first.
    """

    case: UseCase
    version: int
    run_id: str
    task: Task
    training: Training
    split: Sequence[tuple[str, str, str, str]] = ()
    holdout: Scored | None = None
    problem: str = ""
    judgements: Sequence[Judgement] = ()
    history: Sequence[Said] = ()
    made: str = ""


def of_rows(case: UseCase, task: Task, booster: xgb.Booster, features: Sequence[Feature], rows: pl.DataFrame) -> Scored:
    """Score the rows of the holdout for a card."""
    scores = task.scores(scoring.output(case, booster, features, rows))
    return Scored(rows, task.labels(rows[case.label]), scores, booster, tuple(features))


def split_of(training: Training, rows_a_day: pl.DataFrame) -> list[tuple[str, str, str, str]]:
    """What each part of a training set is, its first and last day and its rows; of days and their numbers of rows."""
    days, rows = rows_a_day.columns
    day = pl.col(days)
    fitted = day <= training.fitted_through
    holdout = day >= training.holdout_from
    parts = (
        ("the trees were grown on", fitted),
        ("stopped early by, or left out since labels overlap", ~fitted & ~holdout),
        ("holdout: judged on", holdout),
    )
    found = ((what, rows_a_day.filter(where)) for what, where in parts)
    return [
        (what, str(part[days].min()), str(part[days].max()), f"{part[rows].sum():,}")
        for what, part in found
        if part.height
    ]


def _rows_a_day(case: UseCase, data: Dataset) -> pl.DataFrame:
    return data.scan().group_by(case.day).len().sort(case.day).collect()


def page(known: Known) -> str:
    """The card as HTML."""
    loader = PackageLoader("include.ml", "templates")
    environment = Environment(loader=loader, autoescape=select_autoescape(), undefined=StrictUndefined)
    case, training, found = known.case, known.training, known.training.metrics
    groups = evaluation.of_record(case.evaluation, found)
    shown = known.holdout
    return environment.get_template(CARD_FILE).render(
        case=case,
        known=known,
        training=training,
        kind=known.task.kind,
        loss=evaluation.loss_name(known.task).replace("_", " "),
        summary=_summary(known),
        metrics=_metrics(known),
        looks=[_look(known.task, one) for one in known.judgements if one.champion is not None],
        groups=sorted(groups, key=lambda one: (one.column, -one.rows)),
        judged={one.name for one in evaluation.judged(case, groups)},
        odd=_odd(known),
        found=found,
        reliability=_reliability(known.task, shown, case) if shown else None,
        by_day=_by_day(known.task, shown, case) if shown else None,
        distribution=_distribution(known.task, shown) if shown else None,
        explained=_explained(known.task, shown, case) if shown else None,
        limits=_limits(known, groups),
        airflow=settings().airflow_link,
        mlflow=settings().mlflow_link,
        size={"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "bottom": HEIGHT - BOTTOM},
    )


def _summary(known: Known) -> str:
    """How it stands with the version, in a sentence."""
    if known.history:
        last = known.history[-1]
        return f"{last.what} on {last.when[:10]}"
    return "trained, and judged by nobody yet"


def _metrics(known: Known) -> list[tuple[str, str, str]]:
    """Name, value, and the baseline's where there is one, of what the task measures on the holdout."""
    found = known.training.metrics
    own = [name for name in known.task.quality(*_two(known.task)) if name in found]
    return [(name.replace("_", " "), _number(found[name]), _beside(found, name)) for name in own]


def _two(task: Task) -> tuple[Array, Array]:
    """Labels and scores of two rows, to know the names of the task's metrics by."""
    labels = np.array([0, 1], dtype=np.int64)
    return labels, np.repeat(task.always(labels), 2, axis=0)


def _beside(found: Mapping[str, float], name: str) -> str:
    of = [found[f"{prefix}_{name}"] for prefix in ("baseline", "constant") if f"{prefix}_{name}" in found]
    return " and ".join(map(_number, of))


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) > 1 else f"{value:.4g}"


def _look(task: Task, one: Judgement) -> dict[str, Any]:
    """A comparison with a champion, with the metrics of both."""
    names = [*task.quality(*_two(task)), "skill", "crossed"]
    both = [name for name in names if {f"challenger_{name}", f"champion_{name}"} <= one.measured.keys()]
    rows = [
        (
            name.replace("_", " "),
            _number(one.measured[f"challenger_{name}"]),
            _number(one.measured[f"champion_{name}"]),
            "higher is better" if name in task.higher_is_better else "",
        )
        for name in both
    ]
    for compared in task.compared:
        if (gain := one.measured.get(f"gain_{compared.metric}")) is not None:
            error = one.measured.get(f"gain_{compared.metric}_error")
            shape = "{:.1%}" if compared.relative else "{:.4f}"
            within = f" ± {shape.format(error)}" if error is not None else ""
            sign = "+" if gain >= 0 else ""
            rows.append((f"gain in {compared.words}", f"{sign}{shape.format(gain)}{within}", "", "the day is the unit"))
    return {"judgement": one, "rows": rows}


def _odd(known: Known) -> list[tuple[str, str, str]]:
    """What was tried, the loss then, and by how much it is above that of always the usual."""
    found = known.training.metrics
    if "usual_loss" not in found:
        return []
    usual = found["usual_loss"]

    def row(what: str, value: float) -> tuple[str, str, str]:
        return what, _number(value), f"{value / usual - 1:+.1%}"

    rows = [row("as they are", found["loss"])] if "loss" in found else []
    for name, what in (
        ("loss_noise", "each number off by a tenth of its spread"),
        ("loss_shifted", "all numbers of one group moved by their spread"),
    ):
        if name in found:
            rows.append(row(what, found[name]))
    for prefix, words in (("loss_missing/", "without {}"), ("loss_unit/", "{} in another unit")):
        of = {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}
        rows += [row(words.format(name), of[name]) for name in sorted(of, key=lambda one: -of[one])[:3]]
    return rows


def _limits(known: Known, groups: Sequence[evaluation.Group]) -> list[str]:
    """What nobody may expect of it, each in a sentence."""
    case, training = known.case, known.training
    small = [one.name for one in groups if one not in evaluation.judged(case, groups)]
    found = [
        f"It has seen the days {training.trained_from} to {training.trained_through}, and was judged on the last of "
        f"them, from {training.holdout_from} on. What it does in other seasons nobody has measured.",
        "A value that its vocabulary does not have is read as unknown, and numbers as 32-bit floats.",
        "What it gives is for rows of its features table. Of who or what is not in that table it says nothing.",
    ]
    if case.label_days:
        found.append(f"A label takes {case.label_days} days to mature: how good it is, is known so much later.")
    if not case.evaluation.slices:
        found.append("Its spec names no groups of rows: how it does in one of them nobody has measured.")
    if small:
        more = f" and {len(small) - 8} more" if len(small) > 8 else ""
        found.append(f"Too small to be judged by themselves: {', '.join(small[:8])}{more}.")
    if not training.evaluation:
        found.append("The release that trained it did not measure groups, odd input, suspicion and speed.")
    return found


# --- what is drawn ---


@dataclass(frozen=True)
class Axis:
    """Of a picture: how values become places, and where it is labelled."""

    low: float
    high: float
    begins: float
    ends: float

    def at(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return round(self.begins + min(1.0, max(0.0, share)) * (self.ends - self.begins), 1)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        return [(self.at(value), _tick(value)) for value in np.linspace(self.low, self.high, 5).tolist()]


def _tick(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _across(low: float, high: float) -> Axis:
    return Axis(low, high, LEFT, WIDTH - RIGHT)


def _up(low: float, high: float) -> Axis:
    return Axis(low, high, HEIGHT - BOTTOM, 8)


def predicted_and_true(task: Task, labels: Array, scores: Array) -> tuple[Array, Array, str]:
    """What is predicted of each row and what was true of it, as numbers that should agree in the mean."""
    if isinstance(task, MulticlassTask):
        right = (scores.argmax(axis=1) == labels).astype(np.float64)
        return scores.max(axis=1), right, "probability of the likeliest class"
    values = task.watched_values(task.frame(scores))
    name = "predicted" if "predicted" in values else "score"
    return values[name], labels.astype(np.float64), "prediction"


@dataclass(frozen=True)
class Bin:
    """Rows of about one prediction: the means of both, the standard error of the true one by days, and how many."""

    predicted: float
    true: float
    error: float
    rows: int


def reliability(predicted: Array, true: Array, days: npt.NDArray[Any], bins: int = BINS) -> list[Bin]:
    """At most ``bins`` equally filled ones. Rows of one prediction are in one of them, whatever their order."""
    _, inverse, counts = np.unique(predicted, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts + 1) / 2.0)[inverse]
    few = max(1, min(bins, len(predicted) // BIN_ROWS))
    bin_of = (ranks * few / len(predicted)).astype(np.int64)
    found = []
    for one in np.unique(bin_of):
        within = bin_of == one
        mean, rows = float(true[within].mean()), int(within.sum())
        _, day_of = np.unique(days[within], return_inverse=True)
        off = np.bincount(day_of, weights=true[within] - mean)
        error = float(np.sqrt((off**2).sum() * len(off) / max(1, len(off) - 1))) / rows
        found.append(Bin(float(predicted[within].mean()), mean, error, rows))
    return found


def _reliability(task: Task, shown: Scored, case: UseCase) -> dict[str, Any]:
    predicted, true, words = predicted_and_true(task, shown.labels, shown.scores)
    found = reliability(predicted, true, shown.rows[case.day].to_numpy())
    ends = [value for one in found for value in (one.predicted, one.true - 2 * one.error, one.true + 2 * one.error)]
    # One scale for both: what is well calibrated is on the diagonal. Probabilities stay within 0 and 1.
    low, high = min(ends), max(ends)
    if task.kind != "regression":
        low, high = max(0.0, low - 0.02), min(1.0, high + 0.02)
    x, y = _across(low, high), _up(low, high)
    points = [
        {
            "x": x.at(one.predicted),
            "y": y.at(one.true),
            "low": y.at(one.true - 2 * one.error),
            "high": y.at(one.true + 2 * one.error),
            "said": f"predicted {one.predicted:.3g}, true {one.true:.3g} ± {2 * one.error:.2g}, {one.rows:,} rows",
        }
        for one in found
    ]
    diagonal = (x.at(low), y.at(low), x.at(high), y.at(high))
    return {"points": points, "x": x.ticks, "y": y.ticks, "words": words, "diagonal": diagonal}


def _by_day(task: Task, shown: Scored, case: UseCase) -> dict[str, Any]:
    watched = task.watched[0]
    days = shown.rows[case.day].to_numpy()
    unique = np.unique(days)
    daily = [task.daily(shown.labels[days == day], shown.scores[days == day])[watched.daily] for day in unique]
    there = [(n, str(day), value) for n, (day, value) in enumerate(zip(unique, daily, strict=True)) if value == value]
    values = [value for _, _, value in there] or [0.0]
    x, y = _across(0, max(1, len(unique) - 1)), _up(min(values), max(values))
    points = [{"x": x.at(n), "y": y.at(value), "said": f"{day}: {value:.4g}"} for n, day, value in there]
    ends = (str(unique[0]), str(unique[-1]))
    return {"points": points, "y": y.ticks, "words": watched.daily.replace("_", " "), "ends": ends}


def _distribution(task: Task, shown: Scored) -> dict[str, Any]:
    predicted, _, words = predicted_and_true(task, shown.labels, shown.scores)
    counts, edges = np.histogram(predicted, bins=24)
    x, y = _across(float(edges[0]), float(edges[-1])), _up(0, float(counts.max()))
    bars = [
        {
            "x": x.at(low),
            "width": round(max(1.0, x.at(high) - x.at(low) - 1), 1),
            "y": y.at(count),
            "height": round(y.at(0) - y.at(count), 1),
            "said": f"{low:.3g} to {high:.3g}: {count:,} rows",
        }
        for low, high, count in zip(edges[:-1], edges[1:], counts.tolist(), strict=True)
    ]
    return {"bars": bars, "x": x.ticks, "y": y.ticks, "words": words}


# --- why it says so ---


def contributions(booster: xgb.Booster, features: Sequence[Feature], rows: pl.DataFrame) -> Array:
    """SHAP values, of shape (rows, outputs, features + 1): the last one is what is said where nothing is known.

    They add up to the booster's margin: log-odds of a binary label, a class's before the softmax, or the number itself.
    """
    matrix = xgb.DMatrix(
        dataset.matrix(features, rows),
        feature_names=[one.name for one in features],
        feature_types=scoring.feature_types(features),
        enable_categorical=True,
    )
    found = np.asarray(booster.predict(matrix, pred_contribs=True), dtype=np.float64)
    return found if found.ndim == 3 else found[:, np.newaxis, :]


def _explained(task: Task, shown: Scored, case: UseCase) -> dict[str, Any]:
    at = np.linspace(0, shown.rows.height - 1, min(SAMPLE_ROWS, shown.rows.height)).astype(np.intp)
    rows, scores, labels = shown.rows[at], shown.scores[at], shown.labels[at]
    parts = contributions(shown.booster, shown.features, rows)
    strength = np.abs(parts[:, :, :-1]).mean(axis=(0, 1))
    order = np.argsort(-strength, kind="stable")[:MOST_BARS]
    most = float(strength.max()) or 1.0
    bars = [(shown.features[n].name, f"{strength[n]:.3g}", round(100 * strength[n] / most, 1)) for n in order]
    predicted, _, words = predicted_and_true(task, labels, scores)
    ranked = np.argsort(predicted, kind="stable")
    chosen = {"the lowest": ranked[0], "one in the middle": ranked[len(ranked) // 2], "the highest": ranked[-1]}
    examples = [
        _example(task, shown, case, rows, labels, scores, parts, what, int(n)) | {"said": f"{predicted[n]:.4g}"}
        for what, n in chosen.items()
    ]
    return {"bars": bars, "examples": examples, "rows": len(at), "unit": _unit(task), "words": words}


def _unit(task: Task) -> str:
    return {"binary": "log-odds", "multiclass": "the class's log-odds before the softmax"}.get(
        task.kind, "the label's unit"
    )


def _example(
    task: Task,
    shown: Scored,
    case: UseCase,
    rows: pl.DataFrame,
    labels: Array,
    scores: Array,
    parts: Array,
    what: str,
    n: int,
) -> dict[str, Any]:
    """A row, by the parts of its prediction. Who or what it is, is left out: a card goes further than the table."""
    predicted = task.frame(scores[n : n + 1]).row(0, named=True)
    output = int(scores[n].argmax()) if task.kind == "multiclass" else parts.shape[1] // 2
    own = parts[n, output]
    order = np.argsort(-np.abs(own[:-1]), kind="stable")
    shown_parts = [
        (shown.features[f].name, _value(rows[shown.features[f].name][n]), f"{own[f]:+.3f}") for f in order[:MOST_PARTS]
    ]
    return {
        "what": what,
        "day": str(rows[case.day][n]),
        "predicted": [(name, value if isinstance(value, str) else f"{value:.4g}") for name, value in predicted.items()],
        "true": str(rows[case.label][n]),
        "parts": shown_parts,
        "rest": f"{own[order[MOST_PARTS:]].sum():+.3f}",
        "bias": f"{own[-1]:+.3f}",
        "sum": f"{own.sum():+.3f}",
    }


def _value(value: Any) -> str:
    if value is None:
        return "missing"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# --- what has become of it ---


def history_of(case: UseCase, version: int) -> tuple[list[Judgement], list[Said]]:
    """The judgements of a version, and all that the ledgers say of it, the oldest first. Raises BrokenLedgerError."""
    judgements = [one for one in record.judgements(case) if one.model_version == version]
    said = [
        Said(
            f"{one.judged_at:%Y-%m-%d %H:%M}",
            {"promote": "let through the gates", "wait": "waits", "refuse": "refused"}[one.verdict],
            one.judged_by,
            "; ".join(one.reasons),
        )
        for one in judgements
    ]
    said += _approvals(case, version)
    rows = ledger.read(case)
    for before, row in zip([None, *rows], rows, strict=False):
        said += _deployed(before, row, version)
    return judgements, sorted(said, key=lambda one: one.when)


HOW = {ledger.ROLLBACK: "put back as champion", ledger.BY_HAND: "champion by hand"}
ANSWERS = {"ask": "asked for an approval", "approve": "approved", "reject": "rejected", "timeout": "nobody answered"}


def _approvals(case: UseCase, version: int) -> list[Said]:
    """What persons were asked, and have answered, of a version."""
    return [
        Said(f"{one.said_at:%Y-%m-%d %H:%M}", ANSWERS.get(one.word, one.word), one.who or "", one.why or "")
        for one in record.approvals(case)
        if one.model_version == version
    ]


def _deployed(before: Champion | None, row: Champion, version: int) -> Iterable[Said]:
    when = f"{row.decided_at:%Y-%m-%d %H:%M}"
    if row.model_version == version:
        how = HOW.get(row.how or "", "champion")
        yield Said(when, f"{how} from {row.effective_from} on", row.decided_by, row.reason)
    elif before is not None and before.model_version == version:
        yield Said(when, f"replaced by version {row.model_version} from {row.effective_from} on", row.decided_by, "")


def file_name(case: UseCase, version: int) -> str:
    return f"card-{re.sub(r'[^a-z0-9_]', '_', case.name)}-{version}.html"


# --- where it is put ---


def log(case: UseCase, version: int, run_id: str, training: Training, data: Dataset, booster: xgb.Booster) -> None:
    """Put the card of a version into its run, as it is when it was trained; ``data`` is its whole training set.

    Nothing is raised: a version that is registered stays registered, and its card can be made at any time.
    """
    from mlflow import MlflowClient

    try:
        task = tasks.of(case)
        days = (training.holdout_from, training.trained_through)
        shown = of_rows(case, task, booster, case.features, data.narrowed(days, case.features).frame)
        split = split_of(training, _rows_a_day(case, data))
        MlflowClient().log_text(run_id, page(Known(case, version, run_id, task, training, split, shown)), CARD_FILE)
    except Exception as error:  # noqa: BLE001 - whatever it is, the version is worth more than its card
        print(
            f"version {version} of {case.name} is registered without a card ({type(error).__name__}: {error}). To make "
            f"it: make card use_case={case.name} version={version}"
        )


def today(case: UseCase, version: int) -> str:
    """The card of a version with all that the ledgers say of it now; ``case`` is the spec as it was then.

    Where its rows are not to be had any more, it says so and has no pictures. Raises RegistryRefusedError for an
    unknown version, UnknownRecipeError for one that no training of ours registered, DamagedModelError,
    BrokenLedgerError.
    """
    from mlflow import MlflowClient

    with errors.of_mlflow(f"to tell about version {version} of {case.name}"):
        found = MlflowClient().get_model_version(case.name, str(version))
    training, run_id = registry.training_of(case, found), str(found.run_id)
    reference = model_files.reference_of(case, version, run_id, training.reference_sha256)
    booster = model_files.booster_of(case, version, run_id, training.model_sha256)
    task = tasks.of_version(case, reference["task"])
    judgements, history = history_of(case, version)
    known = Known(case, version, run_id, task, training, judgements=judgements, history=history)
    known = replace(known, made=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC")
    try:
        data = registry.training_set(case, version)
    except (VersionMissingError, TableMissingError, dataset.DataMissingError) as error:
        return page(replace(known, problem=str(error)))
    days, features = (training.holdout_from, training.trained_through), features_of(reference)
    shown = of_rows(case, task, booster, features, data.narrowed(days, features).frame)
    return page(replace(known, split=split_of(training, _rows_a_day(case, data)), holdout=shown))
