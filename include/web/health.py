"""What the pages of model health show, as plain data: read from summaries, never from rows, nor from the model.

``overview`` is of all use cases and ``page`` of one. A table that is missing, of an earlier release, or broken is a
sentence among the ``problems``, and the rest is shown. The judgement whether something is wrong, and what to do, is
``judge``, a pure function of what was read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import isfinite
from typing import Any, Literal

import polars as pl
from deltalake.exceptions import DeltaError

from include.contracts.use_case import UseCase
from include.core.errors import NocturneError
from include.ml import figures, ledger, record
from include.ml.figures import Bins
from include.serving import throughput
from include.web import pictures
from include.web.tables import Tables

type Level = Literal["bad", "warn", "ok", "none"]
type Row = dict[str, Any]

NIGHTS = 90
"""So many are shown where nobody asks for others."""
MOST_POINTS = 200
"""A longer window is drawn in as many steps, of each the highest evidence and the mean of the days' quality."""
SPARK_NIGHTS = 30
NEAR = 0.1
"""From this share of what fires on, evidence is worth a look."""
WEEK = 7
MOST_LINES = 20

SENSORS = {
    "input_drift": "inputs are not as they were",
    "prediction_drift": "scores are not as they were",
    "quality": "quality is worse than promised",
}
WORDS = {"input_drift": "Input drift", "prediction_drift": "Prediction drift", "quality": "Quality"}
FACTS = {
    "constant": "all predictions of the day are the same",
    "against": "the predictions of the day say the opposite of what came",
}

MONITORING: dict[str, pl.DataType] = {
    "partition_day": pl.Date(),
    "sensor": pl.String(),
    "metric": pl.String(),
    "feature": pl.String(),
    "slice": pl.String(),
    "n": pl.Int64(),
    "value": pl.Float64(),
    "threshold": pl.Float64(),
    "weight": pl.Float64(),
    "model_version": pl.Int64(),
}
"""What is read of the monitoring table: all but where evidence stands."""

DECISIONS: dict[str, pl.DataType] = {
    "partition_day": pl.Date(),
    "decision": pl.String(),
    "reason": pl.String(),
    "model_version": pl.Int64(),
}

DRAWN = pl.col("metric").is_in(["evidence", "day_psi", "constant", "against", "rows"])


@dataclass(frozen=True)
class Finding:
    """Something that is to be known of a use case: how bad it is, what it is, what carries it, what to do."""

    level: Level
    what: str
    carried: Sequence[tuple[str, float]] = ()
    todo: str = ""


@dataclass
class Facts:
    """What was read of a use case, for ``judge``.

    Attributes:
        champion: the champion of now, as the ledger has it; None where there is none.
        night: the newest that was measured.
        sensors: what ``sensors`` made of that night.
        decision: what the policy decided last, with its night.
        figures: the newest value by (figure, name).
        label_days: after how many days a label is due.
        problems: what could not be read.
    """

    champion: Row | None = None
    night: date | None = None
    sensors: Sequence[Row] = ()
    decision: Row | None = None
    figures: Mapping[tuple[str, str], Row] = field(default_factory=dict)
    label_days: int = 0
    fallback_rows: int = 0
    problems: Sequence[str] = ()


# --- what is wrong ---


def sensors(night: pl.DataFrame) -> list[Row]:
    """Each sensor by one night's measurements: its evidence, what fires, whether it did, and what carries it."""
    found = []
    for name in SENSORS:
        own = night.filter(pl.col("sensor") == name)
        of_evidence = own.filter(pl.col("metric") == "evidence")
        alone = (pl.col("feature") != "") | (pl.col("slice").fill_null("") != "")
        whole = of_evidence.filter(~alone).head(1).to_dicts()
        facts = [
            FACTS[row["metric"]]
            for row in own.filter(pl.col("metric").is_in(list(FACTS))).to_dicts()
            if _reached(row["value"], row["threshold"])
        ]
        row = whole[0] if whole else {"value": None, "threshold": None, "n": 0}
        found.append(
            {
                "sensor": name,
                "words": WORDS[name],
                "value": row["value"],
                "threshold": row["threshold"],
                "n": row["n"],
                "facts": facts,
                "fired": bool(facts) or _reached(row["value"], row["threshold"]),
                "share": _share(row["value"], row["threshold"]),
                "carried": carriers(of_evidence.filter(alone)),
            }
        )
    return found


def _reached(value: float | None, threshold: float | None) -> bool:
    return value is not None and threshold is not None and value >= threshold


def _share(value: float | None, threshold: float | None) -> float | None:
    return value / threshold if value is not None and threshold else None


def carriers(streams: pl.DataFrame, most: int = 5) -> list[tuple[str, float]]:
    """Which features and slices carry the evidence of their sensor, by their share of it, the largest first."""
    parts = streams.with_columns(part=pl.col("weight") * pl.col("value")).filter(pl.col("part").is_not_null())
    total = float(parts["part"].sum() or 0)
    if not total:
        return []
    newest = parts.sort("part", "feature", descending=[True, False]).head(most)
    return [
        (_named(row["feature"], row["slice"]), row["part"] / total)
        for row in newest.iter_rows(named=True)
        if row["part"] / total >= 0.01
    ]


def _named(feature: str, group: str | None) -> str:
    return f"{feature} of {group}" if group else feature


def judge(facts: Facts) -> list[Finding]:
    """What is to be known, the worst first; one that says that all is well where nothing is wrong."""
    found = [Finding("bad", problem, todo="make verify names what is broken") for problem in facts.problems]
    if facts.champion is None:
        if not facts.problems:
            todo = "Train the first version: make train use_case=… partition=…, or wait for its first training"
            found.append(Finding("none", "No champion yet: nothing is scored.", todo=todo))
        return found
    if facts.night is None:
        if not facts.problems:
            what = "Not measured yet: its first night with predictions measures it."
            found.append(Finding("none", what, todo="Wait for the night, or run it: make night use_case=… partition=…"))
        return found
    found += [_of_sensor(one, facts.decision, facts.night) for one in facts.sensors if one["fired"]]
    found += [
        Finding("warn", f"{one['words']} is at {one['share']:.0%} of what fires.", one["carried"], "Keep an eye on it.")
        for one in facts.sensors
        if not one["fired"] and (one["share"] or 0) >= NEAR
    ]
    found += _of_data(facts)
    if all(one["value"] is None for one in facts.sensors):
        what = "The champion is of an earlier release, which kept nothing to tell drift by."
        found.append(Finding("warn", what, todo="It is watched from the next champion on: make train"))
    order = {"bad": 0, "warn": 1, "none": 2, "ok": 3}
    return sorted(found, key=lambda one: order[one.level]) or [Finding("ok", "Nothing is wrong.")]


def _of_sensor(one: Row, decision: Row | None, night: date) -> Finding:
    what = "; ".join(one["facts"]) or SENSORS[one["sensor"]]
    told = ""
    if decision and decision["partition_day"] == night:
        asked = decision["decision"] == "yes"
        told = "A retraining was asked for. " if asked else f"No retraining: {_clipped(decision['reason'])}. "
    look = {
        "input_drift": "Look at the features that carry it: mend the source where it is broken; else it is the world "
        "that has changed.",
        "prediction_drift": "Look at what carries input drift: scores move with what goes in.",
        "quality": "Compare the newest weeks with the promise; train by hand (make train) or roll back (make rollback) "
        "where it cannot wait.",
    }
    return Finding("bad", f"{what[0].upper()}{what[1:]}.", one["carried"], told + look[one["sensor"]])


def _clipped(text: str, most: int = 200) -> str:
    text = text.split("; fired:", 1)[0]
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _of_data(facts: Facts) -> list[Finding]:
    """What freshness, completeness and duplicates say."""
    found = []

    def value(figure: str, name: str = "") -> float | None:
        row = facts.figures.get((figure, name))
        return None if row is None else row["value"]

    late = value(figures.FRESHNESS, "labels")
    if late is not None and late > facts.label_days:
        what = f"The newest labels are {late:.0f} days old, {facts.label_days} are usual: quality is not measured."
        found.append(Finding("warn", what, todo="Look at the newest nights of ingest, and at late files: make stale"))
    scored = value(figures.COMPLETENESS, "scored")
    if scored is not None and scored < 1:
        what = f"{scored:.1%} of the newest day's rows are scored by the champion."
        found.append(Finding("warn", what, todo="Somebody else scored the rest, or nobody: make stale says which"))
    labelled = value(figures.COMPLETENESS, "labelled")
    if labelled is not None and 0 < labelled < 0.9:
        what = f"{labelled:.0%} of the rows whose labels are due have one."
        found.append(Finding("warn", what, todo="Quality is that of the rest: look at the labels table"))
    if twice := value(figures.DUPLICATES):
        found.append(Finding("bad", f"{twice:.0f} rows of features are there twice.", todo="Mend the model in dbt"))
    if facts.fallback_rows:
        what = f"{facts.fallback_rows:,} rows were scored by a fallback, since the champion could not."
        found.append(Finding("bad", what, todo="Restore what the alert names, then score again: make refresh"))
    return found


def worst(found: Sequence[Finding]) -> Level:
    """The level of the first, which is the worst."""
    return found[0].level if found else "none"


# --- series ---


def step_of(first: date, last: date, most: int = MOST_POINTS) -> int:
    """How many days go into one point."""
    return max(1, -(-((last - first).days + 1) // most))


def thinned(rows: pl.DataFrame, first: date, step: int, by: Sequence[str], how: pl.Expr) -> pl.DataFrame:
    """``rows`` in steps of so many nights, each named by its newest night: ``how`` of each of them and of ``by``."""
    if step == 1:
        return rows.group_by("partition_day", *by).agg(how).sort("partition_day")
    bucket = ((pl.col("partition_day") - first).dt.total_days() // step).alias("bucket")
    newest = pl.col("partition_day").max()
    return rows.group_by(bucket, *by).agg(newest, how).drop("bucket").sort("partition_day")


def evidence_series(rows: pl.DataFrame, first: date, step: int) -> dict[str, Any]:
    """The evidence of each sensor over the nights, and where it fires."""
    whole = rows.filter(
        (pl.col("metric") == "evidence") & (pl.col("feature") == "") & (pl.col("slice").fill_null("") == "")
    )
    thin = thinned(whole, first, step, ["sensor"], pl.col("value").max())
    nights = sorted(set(thin["partition_day"]))
    lines = [_along(nights, thin.filter(pl.col("sensor") == name)) for name in SENSORS]
    limits = whole.filter(pl.col("threshold").is_not_null())["threshold"]
    return {
        "nights": list(map(str, nights)),
        "lines": [{"name": WORDS[name], "values": line} for name, line in zip(SENSORS, lines, strict=True)],
        "threshold": float(limits[-1]) if len(limits) else None,
    }


def _along(nights: Sequence[date], rows: pl.DataFrame) -> list[float | None]:
    of = dict(rows.select("partition_day", "value").iter_rows())
    return [_short(of.get(night)) for night in nights]


def _short(value: float | None) -> float | None:
    """Of as many digits as a picture shows; what is no number is none."""
    return None if value is None or not isfinite(value) else float(f"{value:.5g}")


def features(rows: pl.DataFrame, newest: pl.DataFrame, first: date, step: int) -> list[Row]:
    """Each feature: importance, evidence and PSI over the nights, and its distributions; what carries most first.

    ``rows`` are measurements, ``newest`` the distributions of the last week of nights.
    """
    own = rows.filter((pl.col("sensor") == "input_drift") & (pl.col("feature") != ""))
    own = own.filter(pl.col("slice").fill_null("") == "")
    if own.is_empty() and newest.is_empty():
        return []
    thin = thinned(
        own.filter(pl.col("metric").is_in(["evidence", "day_psi"])),
        first,
        step,
        ["metric", "feature"],
        pl.col("value").max(),
    )
    nights = sorted(set(thin["partition_day"]))
    parts = thin.partition_by("metric", "feature", as_dict=True)
    last = own.filter((pl.col("metric") == "evidence") & (pl.col("partition_day") == pl.col("partition_day").max()))
    now = {row["feature"]: row for row in last.iter_rows(named=True)}
    bins = distributions(newest)
    empty = thin.clear()
    found = []
    for name in dict.fromkeys([*now, *bins]):
        at, of = now.get(name, {}), bins.get(name)
        value, weight = at.get("value"), at.get("weight")
        found.append(
            {
                "name": name,
                "importance": _short(of["importance"]) if of else None,
                "weight": _short(weight),
                "value": _short(value),
                "part": _short(value * weight) if value is not None and weight is not None else None,
                "evidence": _along(nights, parts.get(("evidence", name), empty)),
                "psi": _along(nights, parts.get(("day_psi", name), empty)),
                "distribution": of,
            }
        )
    return sorted(found, key=lambda one: (-(one["part"] or 0), -(one["importance"] or 0), one["name"]))


def nights_of_features(rows: pl.DataFrame, first: date, step: int) -> list[str]:
    """The nights that the series of ``features`` are along."""
    own = rows.filter(
        (pl.col("sensor") == "input_drift")
        & (pl.col("feature") != "")
        & (pl.col("slice").fill_null("") == "")
        & pl.col("metric").is_in(["evidence", "day_psi"])
    )
    return sorted({str(night) for night in thinned(own, first, step, [], pl.len())["partition_day"]})


def distributions(newest: pl.DataFrame) -> dict[str, Row]:
    """Of each feature its shares by bins: in training, on the newest day, and in the week before it, by name.

    ``newest`` are figures of kind ``distribution`` of a week; nights of another version than the newest are left out,
    whose bins are others. Missing values are the last share.
    """
    found: dict[str, Row] = {}
    if newest.is_empty():
        return found
    last = newest.filter(pl.col("partition_day") == pl.col("partition_day").max())
    version = last["model_version"][0]
    for (name,), rows in (
        newest.filter(pl.col("model_version") == version)
        .partition_by("feature", as_dict=True, maintain_order=True)
        .items()
    ):
        told = [json.loads(text) for text in rows.sort("partition_day")["bins"].drop_nulls()]
        if not told or name not in set(last["feature"]):
            continue
        week = figures.merged(Bins.from_dict(one) for one in told)
        newest_row = rows.filter(pl.col("partition_day") == pl.col("partition_day").max()).row(0, named=True)
        found[str(name)] = {
            "importance": newest_row["value"],
            "edges": [_short(edge) for edge in told[-1]["edges"]],
            "levels": told[-1].get("levels", []),
            "expected": [_short(share) for share in told[-1]["expected"]],
            "day": _shares(told[-1]["counts"]),
            "week": _shares(week.counts if week else ()),
            "rows": newest_row["n"],
            "of": str(newest_row["day"]),
        }
    return found


def _shares(counts: Sequence[int]) -> list[float]:
    total = sum(counts)
    return [round(count / total, 5) if total else 0.0 for count in counts]


def quality(rows: pl.DataFrame, newest: pl.DataFrame, first: date, step: int) -> list[Row]:
    """Each watched metric: the days, the mean of a week with its interval, and what was promised.

    ``rows`` are figures of the nights, ``newest`` the promises of the last of them. The interval is that of the mean of
    up to seven days that differ by chance: 1.96 standard errors, by days.
    """
    found = []
    value, days = pl.col("value"), pl.min_horizontal(pl.int_range(1, pl.len() + 1), pl.lit(WEEK))
    for promise in newest.filter(pl.col("figure") == figures.PROMISE).iter_rows(named=True):
        name, more = promise["feature"], json.loads(promise["bins"] or "{}")
        own = rows.filter((pl.col("figure") == figures.QUALITY) & (pl.col("feature") == name) & value.is_not_null())
        rolled = own.sort("partition_day").with_columns(
            mean=value.rolling_mean(WEEK, min_samples=3),
            error=value.rolling_std(WEEK, min_samples=3) / days.sqrt() * 1.96,
        )
        if step > 1:
            rolled = thinned(rolled, first, step, [], pl.col("value", "mean", "error").mean())
        last = rolled.tail(1).to_dicts()
        found.append(
            {
                "name": name,
                "days": [str(day) for day in rolled["partition_day"]],
                "values": [_short(one) for one in rolled["value"]],
                "mean": [_short(one) for one in rolled["mean"]],
                "low": [_short(one) for one in rolled["mean"] - rolled["error"]],
                "high": [_short(one) for one in rolled["mean"] + rolled["error"]],
                "promise": _short(promise["value"]),
                "promise_low": _short(promise["low"]),
                "promise_high": _short(promise["high"]),
                "promise_days": promise["n"],
                "limits": limits(promise["value"], more.get("worse", "either"), more.get("tolerated", 0.0)),
                "worse": more.get("worse", "either"),
                "now": _short(last[0]["mean"]) if last else None,
                "error": _short(last[0]["error"]) if last else None,
            }
        )
    return found


def limits(promise: float, worse: str, tolerated: float) -> list[float]:
    """From where on a metric is worse than is tolerated."""
    found = {"lower": [promise - tolerated], "higher": [promise + tolerated]}
    return [float(f"{one:.5g}") for one in found.get(worse, [promise - tolerated, promise + tolerated])]


def calibrations(rows: pl.DataFrame) -> list[Row]:
    """The reliability of what is predicted, of all days of ``rows`` together: points with their intervals.

    Days are added as long as their bins are those of the newest. A bin of fewer than 10 rows is left out. The interval
    is Wilson's for shares, at 95 %; there is none for numbers.
    """
    found: list[Row] = []
    if rows.is_empty():
        return found
    for (name,), own in rows.sort("partition_day").partition_by("feature", as_dict=True, maintain_order=True).items():
        told = [Bins.from_dict(json.loads(text)) for text in own["bins"].drop_nulls()]
        whole = figures.merged(one for one in told if one.edges == told[-1].edges)
        if whole is None:
            continue
        is_share = name != "predicted"
        points = [
            {"n": n, "score": _short(score / n), "label": _short(label / n), **(_wilson(label, n) if is_share else {})}
            for n, score, label in zip(whole.counts, whole.scores, whole.labels, strict=True)
            if n >= 10
        ]
        rows_ = sum(whole.counts)
        off = sum(abs(s - y) for s, y in zip(whole.scores, whole.labels, strict=True)) / rows_ if rows_ else None
        found.append({"name": str(name), "points": points, "rows": rows_, "error": _short(off), "is_share": is_share})
    return found


def _wilson(hits: float, n: int) -> dict[str, float | None]:
    z, p = 1.96, hits / n
    middle, below = (p + z * z / (2 * n)) / (1 + z * z / n), 1 + z * z / n
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / below
    return {"low": _short(max(0.0, middle - half)), "high": _short(min(1.0, middle + half))}


def data_series(rows: pl.DataFrame, first: date, step: int) -> dict[str, Any]:
    """Freshness, completeness, missing values and duplicates over the nights, by what they are called."""
    kinds = [figures.FRESHNESS, figures.COMPLETENESS, figures.MISSING, figures.DUPLICATES]
    own = rows.filter(pl.col("figure").is_in(kinds))
    thin = thinned(own, first, step, ["figure", "feature"], pl.col("value").mean())
    nights = sorted(set(thin["partition_day"]))
    lines = {
        f"{figure} {name}".strip(): _along(nights, part)
        for (figure, name), part in thin.partition_by("figure", "feature", as_dict=True).items()
    }
    return {"nights": list(map(str, nights)), "lines": lines}


# --- reading ---


@dataclass
class _Case:
    """One use case's tables, and what could not be read of them."""

    tables: Tables
    case: UseCase
    problems: list[str] = field(default_factory=list)

    def tried[Answer](self, what: str, read: Callable[[], Answer], nothing: Answer) -> Answer:
        """What ``read`` gives; ``nothing`` and a problem where it cannot be read."""
        try:
            return read()
        except (NocturneError, DeltaError, pl.exceptions.PolarsError, OSError, ValueError) as error:
            said = str(error).strip().splitlines() or [type(error).__name__]
            self.problems.append(f"{what} cannot be read: {said[0][:300]}")
            return nothing

    def table(self, name: str) -> str:
        return f"gold.{name}"

    def nights(self) -> list[date]:
        name = self.table(self.case.monitoring_table)
        return self.tried(name, lambda: self.tables.days(name), [])

    def measured(self, first: date, last: date, only: pl.Expr = DRAWN) -> pl.DataFrame:
        name = self.table(self.case.monitoring_table)
        nothing = pl.DataFrame(schema=MONITORING)
        between = ("partition_day", first, last)
        return self.tried(name, lambda: self.tables.rows(name, MONITORING, between=between, only=only), nothing)

    def figures(self, first: date, last: date, kinds: Sequence[str], *, bins: bool = False) -> pl.DataFrame:
        name = self.table(self.case.figures_table)
        columns = [column for column in figures.SCHEMA if bins or column != "bins"]
        only, between = pl.col("figure").is_in(list(kinds)), ("partition_day", first, last)
        nothing = pl.DataFrame(schema={column: figures.SCHEMA[column] for column in columns})
        return self.tried(name, lambda: self.tables.rows(name, figures.SCHEMA, columns, between, only), nothing)

    def decisions(self, first: date, last: date) -> pl.DataFrame:
        name = self.table(self.case.decisions_table)
        nothing, between = pl.DataFrame(schema=DECISIONS), ("partition_day", first, last)
        found = self.tried(name, lambda: self.tables.rows(name, DECISIONS, between=between), nothing)
        return found.sort("partition_day", descending=True)

    def champions(self) -> list[ledger.Champion]:
        return self.tried(self.table(self.case.deployments_table), lambda: ledger.read(self.case), [])

    def scorings(self) -> pl.DataFrame:
        own, nothing = pl.col("use_case") == self.case.name, pl.DataFrame(schema=throughput.SCHEMA)
        found = self.tried(
            throughput.LEDGER, lambda: self.tables.rows(throughput.LEDGER, throughput.SCHEMA, only=own), nothing
        )
        return throughput.with_rates(found.sort("at"))


def made_of(case: UseCase) -> list[str]:
    """The tables that the page of ``case`` is drawn from."""
    own = (
        case.monitoring_table,
        case.figures_table,
        case.decisions_table,
        case.deployments_table,
        case.trainings_table,
        case.judgements_table,
        case.approvals_table,
        rollouts_table(case),
    )
    return [*(f"gold.{name}" for name in own), throughput.LEDGER]


def rollouts_table(case: UseCase) -> str:
    return f"{case.name}__rollouts"


LIGHT = (
    figures.QUALITY,
    figures.PROMISE,
    figures.FRESHNESS,
    figures.COMPLETENESS,
    figures.MISSING,
    figures.DUPLICATES,
)
"""Figures of one number each."""


def overview(tables: Tables, cases: Mapping[str, UseCase]) -> list[Row]:
    """A line for each use case, the worst first."""
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda case: _line(tables, case), cases.values()))
    order = {"bad": 0, "warn": 1, "none": 2, "ok": 3}
    return sorted(found, key=lambda one: (order[one["level"]], -one["share"], one["name"]))


def _line(tables: Tables, case: UseCase) -> Row:
    return tables.kept(("line", case.name), made_of(case), lambda: _made_line(_Case(tables, case)))


def _made_line(of: _Case) -> Row:
    nights = of.nights()
    champions = of.champions()
    last = nights[-1] if nights else None
    first = last - timedelta(SPARK_NIGHTS - 1) if last else None
    rows = of.measured(first, last) if first and last else pl.DataFrame(schema=MONITORING)
    newest = of.figures(last - timedelta(WEEK - 1), last, LIGHT) if last else pl.DataFrame(schema=figures.SCHEMA)
    facts = _facts(of, champions, rows, newest, last)
    found = judge(facts)
    series = evidence_series(rows, first, 1) if first else None
    return {
        "name": of.case.name,
        "description": of.case.description,
        "owner": of.case.owner,
        "level": worst(found),
        "findings": found,
        "champion": facts.champion,
        "night": str(last) if last else None,
        "nights": len(nights),
        "sensors": list(facts.sensors),
        "share": max((one["share"] or 0.0 for one in facts.sensors), default=0.0),
        "picture": _picture(_highest(series), 1.0) if series else None,
        "quality": _quality_now(newest),
        "decision": facts.decision,
    }


def _highest(series: Row) -> list[float | None]:
    """The evidence of the sensor that is nearest to firing, night by night, as a share of what fires."""
    limit = series["threshold"]
    nights = zip(*(line["values"] for line in series["lines"]), strict=True)
    return [max((one / limit for one in of if one is not None), default=None) if limit else None for of in nights]


def _picture(values: Sequence[float | None], limit: float | None) -> Row | None:
    """Evidence in a small picture, with what fires in it; None where there is nothing to draw."""
    there = [one for one in values if one is not None]
    if not there or not limit:
        return None
    low, high = limit * 1e-4, max(limit * 10, *there)
    # Evidence of nothing is far below any scale: it is drawn at its foot.
    return {"lines": pictures.along(values, low, high), "limit": pictures.height_of(limit, low, high)}


def pictured(found: Sequence[Row], threshold: float | None) -> list[Row]:
    """``features`` with the small pictures of each: its evidence beside what fires alone, and its distributions."""
    shown = []
    for one in found:
        limit = threshold / one["weight"] if threshold and one["weight"] else None
        of = one["distribution"]
        most = max([*of["expected"], *of["day"]], default=1.0) if of else 1.0
        steps = [pictures.steps(of[kind], most) for kind in ("expected", "day")] if of else None
        shown.append(one | {"picture": _picture(one["evidence"], limit), "steps": steps})
    return shown


def drawn(page: Row) -> Row:
    """What of a page's data the browser draws."""
    names = ("versions", "evidence", "feature_nights", "quality", "calibration", "data", "cost")
    of_feature = ("name", "importance", "weight", "value", "part", "evidence", "psi", "distribution")
    series = ("times", "rate", "seconds")
    cost = page["cost"] and {name: page["cost"][name] for name in series}
    features = [{name: one[name] for name in of_feature} for one in page["features"]]
    return {name: page[name] for name in names} | {"features": features, "cost": cost}


def _quality_now(newest: pl.DataFrame) -> Row | None:
    """The first watched metric: the mean of the week, and what was promised."""
    promise = newest.filter(pl.col("figure") == figures.PROMISE)
    if promise.is_empty():
        return None
    name = promise["feature"][0]
    own = newest.filter((pl.col("figure") == figures.QUALITY) & (pl.col("feature") == name))["value"].drop_nulls()
    promised = promise.filter(pl.col("feature") == name).sort("partition_day")["value"][-1]
    mean = own.mean() if len(own) else None
    return {
        "name": name,
        "now": _short(float(str(mean))) if mean is not None else None,
        "days": len(own),
        "promise": _short(promised),
    }


def _facts(
    of: _Case, champions: Sequence[ledger.Champion], rows: pl.DataFrame, newest: pl.DataFrame, last: date | None
) -> Facts:
    night = rows.filter(pl.col("partition_day") == last) if last else rows
    decided = of.decisions(last - timedelta(SPARK_NIGHTS), last) if last else pl.DataFrame(schema=DECISIONS)
    champion = ledger.pick(list(champions), date.max)
    of_last = newest.filter(pl.col("partition_day") == last) if last else newest
    fallback = night.filter((pl.col("sensor") == "fallback") & (pl.col("metric") == "rows"))["value"].sum()
    return Facts(
        champion=_champion(champion) if champion else None,
        night=last,
        sensors=sensors(night) if last else [],
        decision=decided.row(0, named=True) if decided.height else None,
        figures={(row["figure"], row["feature"]): row for row in of_last.iter_rows(named=True)},
        label_days=of.case.label_days,
        fallback_rows=int(fallback or 0),
        problems=list(of.problems),
    )


def _champion(row: ledger.Champion) -> Row:
    return {
        "version": row.model_version,
        "from": str(row.effective_from),
        "decided_at": f"{row.decided_at:%Y-%m-%d %H:%M}",
        "by": row.decided_by,
        "reason": row.reason,
        "run_id": row.run_id,
        "trained": f"{row.trained_from} to {row.trained_through}",
        "how": row.how or "gates",
    }


@dataclass(frozen=True)
class Window:
    """The nights that a page is of; None of an end where nobody has said."""

    first: date | None = None
    last: date | None = None

    def of(self, nights: Sequence[date]) -> tuple[date, date] | None:
        """The ends, of nights of which some are measured; the newest 90 where nobody has said."""
        if not nights:
            return None
        last = self.last or nights[-1]
        return min(self.first or last - timedelta(NIGHTS - 1), last), last


def page(tables: Tables, case: UseCase, window: Window) -> Row:
    """All that the page of a use case draws."""
    return tables.kept(("page", case.name, window), made_of(case), lambda: _made_page(_Case(tables, case), window))


def _made_page(of: _Case, window: Window) -> Row:
    nights, champions = of.nights(), of.champions()
    ends = window.of(nights)
    if ends is None:
        first = last = date.min
        shown = pl.DataFrame(schema=MONITORING)
        light, heavy, reliable = (pl.DataFrame(schema=figures.SCHEMA) for _ in range(3))
    else:
        first, last = ends
        shown = of.measured(first, last)
        light = of.figures(first, last, LIGHT)
        newest = max(light["partition_day"], default=last)
        heavy = of.figures(newest - timedelta(WEEK - 1), newest, [figures.DISTRIBUTION, figures.PROMISE], bins=True)
        since = max(first, last - timedelta(NIGHTS - 1))
        reliable = of.figures(since, last, [figures.CALIBRATION], bins=True)
    step = step_of(first, last) if ends else 1
    at = max(shown["partition_day"], default=None)
    facts = _facts(of, champions, shown, light, at)
    of_last = heavy.filter(pl.col("partition_day") == max(heavy["partition_day"], default=last))
    kind = pl.col("figure") == figures.DISTRIBUTION
    series = evidence_series(shown, first, step) if ends else None
    found = {
        "name": of.case.name,
        "description": of.case.description,
        "owner": of.case.owner,
        "champion": facts.champion,
        "champions": [_champion(row) for row in reversed(champions)],
        "night": str(at) if at else None,
        "measured": [str(nights[0]), str(nights[-1])] if nights else None,
        "window": [str(first), str(last)] if ends else None,
        "step": step,
        "sensors": list(facts.sensors),
        "evidence": series,
        "features": pictured(features(shown, heavy.filter(kind), first, step), series["threshold"] if series else None),
        "feature_nights": nights_of_features(shown, first, step),
        "others": others(shown, at),
        "quality": quality(light, of_last, first, step),
        "calibration": calibrations(reliable),
        "data": data_series(light, first, step),
        "versions": versions(shown),
        "decisions": _decisions(of, ends),
        "ledgers": ledgers(of),
        "cost": cost(of.scorings()),
        "trainings": trainings(of),
    }
    # Last, since what could not be read on the way is to be known as well.
    facts.problems = list(dict.fromkeys(of.problems))
    findings = judge(facts)
    if facts.night and not light.height:
        findings.append(
            Finding(
                "warn",
                "Figures of these nights are not there: an earlier release measured them.",
                todo="The next night has them. To have them of earlier ones, measure those again: make refresh",
            )
        )
    return found | {"findings": findings, "level": worst(findings)}


def others(rows: pl.DataFrame, night: date | None) -> list[Row]:
    """What else carries evidence: scores, figures of quality, and what is of a slice; the most first."""
    own = rows.filter((pl.col("metric") == "evidence") & (pl.col("partition_day") == (night or date.min)))
    group = pl.col("slice").fill_null("") != ""
    own = own.filter(((pl.col("feature") != "") | group) & ((pl.col("sensor") != "input_drift") | group))
    return [
        {
            "sensor": WORDS.get(row["sensor"], row["sensor"]),
            "name": _named(row["feature"], row["slice"]),
            "value": _short(row["value"]),
            "part": _short(row["part"]),
        }
        for row in own.with_columns(part=pl.col("value") * pl.col("weight"))
        .sort("part", descending=True, nulls_last=True)
        .head(MOST_LINES)
        .iter_rows(named=True)
    ]


def versions(rows: pl.DataFrame) -> list[Row]:
    """From which night on each version was measured: where evidence begins anew."""
    found = rows.group_by("model_version").agg(pl.col("partition_day").min()).drop_nulls().sort("partition_day")
    return [{"version": version, "night": str(night)} for version, night in found.iter_rows()]


def _decisions(of: _Case, ends: tuple[date, date] | None) -> Row:
    """The newest decisions of the window, each that asked for a retraining, and how many of each there are."""
    if ends is None:
        return {"lines": [], "yes": 0, "no": 0}
    rows = of.decisions(*ends)
    asked = rows.filter(pl.col("decision") == "yes")
    shown = pl.concat([asked.head(MOST_LINES), rows.head(WEEK)]).unique().sort("partition_day", descending=True)
    lines = [row | {"partition_day": str(row["partition_day"])} for row in shown.iter_rows(named=True)]
    return {"lines": lines, "yes": asked.height, "no": rows.height - asked.height}


def ledgers(of: _Case) -> dict[str, list[Row]]:
    """Judgements, approvals and rollouts, the newest first."""
    case = of.case
    no_judgements, no_approvals = list[record.Judgement](), list[record.Approval]()
    judgements = of.tried(of.table(case.judgements_table), lambda: record.judgements(case), no_judgements)
    approvals = of.tried(of.table(case.approvals_table), lambda: record.approvals(case), no_approvals)
    rollouts = of.table(rollouts_table(case))
    return {
        "judgements": [
            {
                "at": f"{one.judged_at:%Y-%m-%d %H:%M}",
                "version": one.model_version,
                "beside": one.champion,
                "verdict": one.verdict,
                "days": f"{one.first} to {one.last}",
                "why": "; ".join(one.reasons),
                "by": one.judged_by,
            }
            for one in judgements[::-1][:MOST_LINES]
        ],
        "approvals": [
            {
                "at": f"{one.said_at:%Y-%m-%d %H:%M}",
                "version": one.model_version,
                "word": one.word,
                "who": one.who,
                "why": one.why or one.subject,
            }
            for one in approvals[::-1][:MOST_LINES]
        ],
        "rollouts": of.tried(rollouts, lambda: _lines_of(of.tables, rollouts), []),
    }


def _lines_of(tables: Tables, table: str) -> list[Row]:
    """The newest lines of a ledger in the columns that it has, as text, without its seals."""
    there = tables.opened(table)
    if there is None:
        return []
    rows = pl.scan_delta(there).collect()
    if "line" in rows.columns:
        rows = rows.sort("line")
    rows = rows.drop("line", "seal", strict=False).tail(MOST_LINES).reverse()
    return [{name: "" if value is None else _text(value) for name, value in row.items()} for row in rows.to_dicts()]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:200]


def cost(scorings: pl.DataFrame) -> Row | None:
    """What the newest scoring took, and those before it, the newest first; None where there was none."""
    if scorings.is_empty():
        return None
    lines = [
        {
            "at": f"{row['at']:%Y-%m-%d %H:%M}",
            "days": str(row["first_day"])
            if row["first_day"] == row["last_day"]
            else f"{row['first_day']} to {row['last_day']}",
            "rows": row["rows"],
            "seconds": row["seconds"],
            "rows_a_second": row["rows_a_second"],
            "peak_mib": row["peak_mib"],
            "gpu": row["gpu"] or "none",
            "gpu_seconds": row["gpu_seconds"],
            "cost": row["cost_a_thousand"],
        }
        for row in scorings.tail(MOST_LINES).reverse().iter_rows(named=True)
    ]
    series = scorings.tail(MOST_POINTS)
    return {
        "lines": lines,
        "seconds": [_short(one) for one in series["seconds"]],
        "rate": [_short(one) for one in series["rows_a_second"]],
        "times": [f"{one:%Y-%m-%d %H:%M}" for one in series["at"]],
    }


def trainings(of: _Case) -> list[Row]:
    """The newest trainings first: when, of what, how long, on what."""
    nothing = list[record.Training]()
    found = of.tried(of.table(of.case.trainings_table), lambda: record.trainings(of.case), nothing)
    return [
        {
            "at": f"{one.trained_at:%Y-%m-%d %H:%M}",
            "partition": str(one.partition),
            "days": f"{one.trained_from} to {one.trained_through}",
            "seconds": one.seconds,
            "device": one.device,
            "gpu_seconds": one.metrics.get("gpu_seconds"),
            "champion": one.champion,
        }
        for one in found[::-1][:MOST_LINES]
    ]


def summary_of(lines: Sequence[Row]) -> str:
    """The answer to the first question of a morning, in a sentence."""
    bad = [one["name"] for one in lines if one["level"] == "bad"]
    warn = [one["name"] for one in lines if one["level"] == "warn"]
    watched = sum(one["level"] != "none" for one in lines)
    if bad:
        return f"{len(bad)} of {len(lines)} use cases {'needs' if len(bad) == 1 else 'need'} you: {_listed(bad)}."
    if warn:
        return f"Nothing is broken; {len(warn)} of {len(lines)} use cases to keep an eye on: {_listed(warn)}."
    if not watched:
        return "No use case has been measured yet."
    rest = len(lines) - watched
    return f"All is well: {watched} watched{f', {rest} without a measurement yet' if rest else ''}."


def _listed(names: Iterable[str], most: int = 4) -> str:
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most} more" if len(every) > most else "")


def ranges(measured: Sequence[str] | None) -> list[tuple[str, str]]:
    """Windows to choose from, by what they are called and their first night; each ends with the newest night."""
    if not measured:
        return []
    first, last = map(date.fromisoformat, measured)
    found = [("30 d", last - timedelta(29)), ("90 d", last - timedelta(89)), ("1 y", last - timedelta(364))]
    return [*((words, str(day)) for words, day in found), ("all", str(first))]
