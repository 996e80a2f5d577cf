"""What the pages of model health draw: series, distributions, curves, as plain data. Pure functions of stored rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import date
from math import isfinite
from typing import Any

import polars as pl

from include.ml import figures
from include.ml.figures import Bins, Within
from include.web import pictures
from include.web.judgement import CARRIED, SENSORS, WORDS, Row, named

MOST_POINTS = 200
"""A longer window is drawn in as many steps, of each the highest evidence and the mean of the days' quality."""
WEEK = 7
MOST_LINES = 20


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
    """The evidence of each sensor over the nights, and where it fires; of several nights in a step the highest."""
    alone = (pl.col("feature") != "") | (pl.col("slice").fill_null("") != "")
    whole = rows.filter((pl.col("metric") == "evidence") & ~alone)
    values: dict[tuple[int, str], float] = {}
    newest: dict[int, date] = {}
    limit = None
    for night, name, value, threshold in whole.select("partition_day", "sensor", "value", "threshold").iter_rows():
        at = (night - first).days // step
        newest[at] = max(newest.get(at, night), night)
        limit = threshold if threshold is not None else limit
        if value is not None:
            values[at, name] = max(values.get((at, name), value), value)
    steps = sorted(newest)
    return {
        "nights": [str(newest[at]) for at in steps],
        "lines": [{"name": WORDS[name], "values": [short(values.get((at, name))) for at in steps]} for name in SENSORS],
        "threshold": limit,
    }


def _along(nights: Sequence[date], rows: pl.DataFrame) -> list[float | None]:
    of = dict(rows.select("partition_day", "value").iter_rows())
    return [short(of.get(night)) for night in nights]


def short(value: float | None) -> float | None:
    """Of as many digits as a picture shows; what is no number is none."""
    return None if value is None or not isfinite(value) else float(f"{value:.5g}")


def features(rows: pl.DataFrame, newest: pl.DataFrame, first: date, step: int) -> tuple[list[date], list[Row]]:
    """The nights, and along them each feature: importance, evidence and PSI, and its distributions.

    What carries most evidence comes first.
    ``rows`` are measurements, ``newest`` the distributions of the last week of nights.
    """
    own = rows.filter((pl.col("sensor") == "input_drift") & (pl.col("feature") != ""))
    own = own.filter(pl.col("slice").fill_null("") == "")
    if own.is_empty() and newest.is_empty():
        return [], []
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
                "importance": short(of["importance"]) if of else None,
                "weight": short(weight),
                "value": short(value),
                "part": short(value * weight) if value is not None and weight is not None else None,
                "evidence": _along(nights, parts.get(("evidence", name), empty)),
                "psi": _along(nights, parts.get(("day_psi", name), empty)),
                "distribution": of,
            }
        )
    return nights, sorted(found, key=lambda one: (-(one["part"] or 0), -(one["importance"] or 0), one["name"]))


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
            "edges": [short(edge) for edge in told[-1]["edges"]],
            "levels": told[-1].get("levels", []),
            "expected": [short(share) for share in told[-1]["expected"]],
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
                "values": [short(one) for one in rolled["value"]],
                "mean": [short(one) for one in rolled["mean"]],
                "low": [short(one) for one in rolled["mean"] - rolled["error"]],
                "high": [short(one) for one in rolled["mean"] + rolled["error"]],
                "promise": short(promise["value"]),
                "promise_low": short(promise["low"]),
                "promise_high": short(promise["high"]),
                "promise_days": promise["n"],
                "limits": limits(promise["value"], more.get("worse", "either"), more.get("tolerated", 0.0)),
                "worse": more.get("worse", "either"),
                "now": short(last[0]["mean"]) if last else None,
                "error": short(last[0]["error"]) if last else None,
            }
        )
    return found


def limits(promise: float, worse: str, tolerated: float) -> list[float]:
    """From where on a metric is worse than is tolerated."""
    found = {"lower": [promise - tolerated], "higher": [promise + tolerated]}
    return [float(f"{one:.5g}") for one in found.get(worse, [promise - tolerated, promise + tolerated])]


def calibrations(rows: pl.DataFrame) -> list[Row]:
    """The reliability of what is predicted, of all days of ``rows`` together: points with their intervals.

    Days are added as long as their bins are those of the newest. A bin of fewer than 10 rows is left out, and so is
    what has no other. The interval is Wilson's for shares, at 95 %; there is none for numbers.
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
            {"n": n, "score": short(score / n), "label": short(label / n), **(_wilson(label, n) if is_share else {})}
            for n, score, label in zip(whole.counts, whole.scores, whole.labels, strict=True)
            if n >= 10
        ]
        if not points:
            continue
        rows_ = sum(whole.counts)
        off = sum(abs(s - y) for s, y in zip(whole.scores, whole.labels, strict=True)) / rows_ if rows_ else None
        found.append({"name": str(name), "points": points, "rows": rows_, "error": short(off), "is_share": is_share})
    return found


def _wilson(hits: float, n: int) -> dict[str, float | None]:
    z, p = 1.96, hits / n
    middle, below = (p + z * z / (2 * n)) / (1 + z * z / n), 1 + z * z / n
    half = z * (p * (1 - p) / n + z * z / (4 * n * n)) ** 0.5 / below
    return {"low": short(max(0.0, middle - half)), "high": short(min(1.0, middle + half))}


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


def others(rows: pl.DataFrame, night: date | None) -> list[Row]:
    """What else carries evidence: scores, figures of quality, and what is of a slice; the most first."""
    own = rows.filter((pl.col("metric") == "evidence") & (pl.col("partition_day") == (night or date.min)))
    group = pl.col("slice").fill_null("") != ""
    own = own.filter((pl.col("feature") != "") & ((pl.col("sensor") != "input_drift") | group))
    return [
        {
            "sensor": WORDS.get(row["sensor"], row["sensor"]),
            "name": named(row["feature"], row["slice"]),
            "value": short(row["value"]),
            "part": short(row["part"]),
        }
        for row in own.with_columns(part=pl.col("value") * pl.col("weight"))
        .sort("part", descending=True, nulls_last=True)
        .head(MOST_LINES)
        .iter_rows(named=True)
    ]


def within(rows: pl.DataFrame, first: date, step: int, night: date | None) -> list[Row]:
    """Each slice and sensor: its evidence, its part of the sensor's, a picture of it over time, and what carries it.

    Those with the largest part come first, at most ``MOST_LINES`` of them. ``rows`` are measurements.
    """
    inside = (pl.col("slice").fill_null("") != "") & (pl.col("sensor") != "quality")
    own = rows.filter(inside & (pl.col("metric") == "evidence") & (pl.col("feature") == ""))
    last = own.filter(pl.col("partition_day") == (night or date.min))
    told = rows.filter((pl.col("metric") == CARRIED) & (pl.col("partition_day") == (night or date.min)))
    limits = {
        row["sensor"]: row["threshold"]
        for row in rows.filter((pl.col("partition_day") == (night or date.min)) & (pl.col("metric") == "evidence"))
        .filter((pl.col("feature") == "") & (pl.col("slice").fill_null("") == ""))
        .iter_rows(named=True)
    }
    parts = last.with_columns(part=pl.col("value") * pl.col("weight")).sort("part", descending=True, nulls_last=True)
    shown = parts.head(MOST_LINES)
    thin = thinned(
        own.filter(pl.col("slice").is_in(shown["slice"].to_list())),
        first,
        step,
        ["sensor", "slice"],
        pl.col("value").max(),
    )
    nights, along = sorted(set(thin["partition_day"])), thin.partition_by("sensor", "slice", as_dict=True)
    found = []
    for row in shown.iter_rows(named=True):
        key = (row["sensor"], row["slice"])
        limit = limits[row["sensor"]] / row["weight"] if limits.get(row["sensor"]) and row["weight"] else None
        carried = told.filter((pl.col("sensor") == key[0]) & (pl.col("slice") == key[1]))
        found.append(
            {
                "sensor": WORDS[row["sensor"]],
                "kind": row["sensor"],
                "slice": row["slice"],
                "value": short(row["value"]),
                "part": short(row["part"]),
                "share": row["part"] / limits[row["sensor"]] if limits.get(row["sensor"]) else None,
                "picture": picture(_along(nights, along[key]), limit) if key in along else None,
                "carried": [
                    (one["feature"], one["value"] * one["weight"] / row["part"])
                    for one in carried.iter_rows(named=True)
                    if row["part"]
                ],
                "values": [],
            }
        )
    return found


def summed(rows: pl.DataFrame) -> dict[str, list[Within]]:
    """The figures of slices, those of each slice: the days of ``rows``."""
    found: dict[str, list[Within]] = {}
    for name, text in rows.select("feature", "bins").drop_nulls().iter_rows():
        found.setdefault(name, []).append(json.loads(text))
    return found


def values_of(one: Row, now: Mapping[str, list[Within]], before: Mapping[str, list[Within]]) -> list[Row]:
    """Of each column that carries the evidence of a slice: its mean and missing share, of two weeks.

    Means are in widths of the column in training, from its middle there; a category has none.
    """
    kind = {"input_drift": "inputs", "prediction_drift": "scores"}[one["kind"]]
    return [
        {"name": name}
        | {
            f"{what}_{when}": short(value)
            for when, days in (("now", now), ("then", before))
            for what, value in figures.within_of(days.get(one["slice"], []), kind, name).items()
        }
        for name, _ in one["carried"]
    ]


def versions(rows: pl.DataFrame) -> list[Row]:
    """From which night on each version was measured: where evidence begins anew."""
    found = rows.group_by("model_version").agg(pl.col("partition_day").min()).drop_nulls().sort("partition_day")
    return [{"version": version, "night": str(night)} for version, night in found.iter_rows()]


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
        "seconds": [short(one) for one in series["seconds"]],
        "rate": [short(one) for one in series["rows_a_second"]],
        "times": [f"{one:%Y-%m-%d %H:%M}" for one in series["at"]],
    }


def highest(series: Row) -> list[float | None]:
    """The evidence of the sensor that is nearest to firing, night by night, as a share of what fires."""
    limit = series["threshold"]
    nights = zip(*(line["values"] for line in series["lines"]), strict=True)
    return [max((one / limit for one in of if one is not None), default=None) if limit else None for of in nights]


def picture(values: Sequence[float | None], limit: float | None) -> Row | None:
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
        shown.append(one | {"picture": picture(one["evidence"], limit), "steps": steps})
    return shown
