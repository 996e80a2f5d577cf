"""The monitor's operating curve: how often its sensors fire, where it is known what has changed and what has not.

``python -m tests.simulations.monitor_curve`` reads features and labels of a year of the demonstration from this
installation's lake, and writes docs/monitor-curve.md; with a folder as its argument it reads features.parquet and
labels.parquet there. ``make test-full`` holds the curve to its bounds.

Champions are trained at the end of some months, as a night trains them. The days that follow are drawn again: each week
is a real one of at most a week earlier or later, so that season, weekdays and weather stay. Nothing has changed in
them: whatever fires is a false alarm. The same nights are then watched with something changed, after two weeks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import xgboost as xgb

from include.contracts.use_case import Feature, UseCase
from include.core.settings import settings
from include.lake import delta
from include.ml import (
    backtest,
    counted,
    dataset,
    evaluation,
    evidence,
    fitting,
    metrics,
    monitor,
    reference,
    rolling,
    scoring,
    slices,
    tasks,
)
from include.ml.backtest import Subject, Watch
from include.ml.evidence import Floats, State
from include.ml.monitor import Key, Told
from include.ml.reference import Reference
from include.use_cases import use_case

CASE = "flight_delays"
TUNED = (date(2013, 4, 30), date(2013, 5, 31))
"""The last days that the champions learned from by whose nights ``include.ml.evidence`` was made."""
ENDS = (date(2013, 7, 31), date(2013, 8, 31), date(2013, 9, 30), date(2013, 10, 31))
"""Those of the champions of the page: none of their nights was looked at before."""
WEEK, NEAR = 7, 1
NIGHTS, CALM = 56, 14
DRAWS = 15
SHIFT_PSI, SPREADS, SHARE, WIDTHS = 0.1, 3.0, 0.1, 3.0
RULES = ("policy", *monitor.READERS, "PSI .1", "PSI .25", "3 sigma")

type Change = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


@dataclass(frozen=True)
class Tells:
    """What a day tells the monitor, and by feature its PSI and how many sigmas it is off."""

    of: backtest.Tells
    psi: Floats
    sigma: Floats


@dataclass(frozen=True)
class Champion:
    """A version with its reference, and all days after those that it learned from, as they were."""

    case: UseCase
    ends: date
    reference: Reference
    booster: xgb.Booster
    rows: pl.DataFrame
    learned: pl.DataFrame
    memo: dict[str, dict[date, Tells]] = field(default_factory=dict)

    @cached_property
    def subject(self) -> Subject:
        return Subject(self.case, self.reference, self.booster, self.ends)

    @cached_property
    def by_day(self) -> dict[date, pl.DataFrame]:
        return {day: rows for (day,), rows in sorted(self.rows.partition_by(self.case.day, as_dict=True).items())}

    @cached_property
    def usual(self) -> dict[str, tuple[Floats, Floats]]:
        """Mean and sigma of each feature's numbers, over the days that were learned from."""
        values = dataset.matrix(self.case.features, self.learned)
        days, index = np.unique(self.learned[self.case.day].to_numpy(), return_inverse=True)
        found = {}
        for n, feature in enumerate(self.case.features):
            numbers = self.numbers(feature, values[:, n], index, len(days))[0]
            found[feature.name] = (np.nanmean(numbers, axis=0), np.nanstd(numbers, axis=0))
        return found

    def numbers(
        self, feature: Feature, values: npt.NDArray[np.float32], index: npt.NDArray[np.intp], days: int
    ) -> tuple[Floats, Floats]:
        edges = self.reference["features"][feature.name]["edges"]
        return reference.feature_by_day(feature, values, index, days, edges)

    def fixed(self, feature: Feature, values: npt.NDArray[np.float32]) -> tuple[float, float]:
        """PSI of a feature's values on a day, and by how many sigmas its numbers are off."""
        of_feature, (mean, sigma) = self.reference["features"][feature.name], self.usual[feature.name]
        counts = metrics.bin_counts(values, of_feature["edges"])
        numbers = self.numbers(feature, values, np.zeros(len(values), np.intp), 1)[0][0]
        off = np.abs(numbers - mean) / np.maximum(sigma, 1e-9)
        return metrics.psi(np.asarray(of_feature["shares"]), metrics.shares(counts)), float(np.nanmax(off))

    def tells(self, name: str, change: Change | None = None) -> dict[date, Tells]:
        """What each day tells where its rows are changed so; remembered by ``name``."""
        if name not in self.memo:
            random = np.random.default_rng(5)
            changed = {day: change(rows, random) if change else rows for day, rows in self.by_day.items()}
            self.memo[name] = {day: self._tells(day, rows) for day, rows in changed.items()}
        return self.memo[name]

    def _tells(self, day: date, rows: pl.DataFrame) -> Tells:
        values = dataset.matrix(self.case.features, rows)
        fixed = np.asarray([self.fixed(one, values[:, n]) for n, one in enumerate(self.case.features)])
        return Tells(backtest.tells(self.subject, day, rows), fixed[:, 0], fixed[:, 1])

    def one_feature(self, feature: Feature, spreads: float) -> dict[date, Tells]:
        """As it was, but ``feature`` is larger by so many of its own quiet spreads: of the days' means, in training."""
        name, found = feature.name, {}
        daily = self.learned.group_by(self.case.day).agg(pl.col(name).cast(pl.Float64).mean())[name]
        by, column = spreads * float(daily.std() or 0.0), list(self.case.feature_names).index(name)
        for day, one in self.tells("quiet").items():
            values = self.by_day[day][name].cast(pl.Float32).to_numpy() + np.float32(by)
            numbers, floors = self.numbers(feature, values, np.zeros(len(values), np.intp), 1)
            told = one.of.told | {(monitor.INPUTS, name, ""): Told(numbers[0], floors[0], len(values))}
            psi, sigma = one.psi.copy(), one.sigma.copy()
            psi[column], sigma[column] = self.fixed(feature, values)
            found[day] = Tells(backtest.Tells(told, one.of.facts), psi, sigma)
        return found

    def one_feature_of_a_slice(self, feature: Feature, widths: float | None) -> dict[date, Tells]:
        """``feature`` is larger by so many widths of the column in training, or missing, in a slice of a tenth."""
        if (memo := f"{feature.name} of a slice by {widths}") in self.memo:
            return self.memo[memo]
        name, column = feature.name, list(self.case.feature_names).index(feature.name)
        inside, nothing = tenth(self), pl.DataFrame()
        width = evidence.middle_and_spread(self.reference["features"][name]["edges"])[1]
        by, found = widths * width if widths else None, self.memo.setdefault(memo, {})
        moved = pl.when(inside).then(pl.col(name).cast(pl.Float64) + by).otherwise(pl.col(name)).alias(name)
        for day, one in self.tells("quiet").items():
            rows = self.by_day[day].with_columns(moved)
            of_day = counted.counted(self.case, self.reference, rows, nothing)
            night = monitor.Night(day, day, day, rows, nothing, nothing)
            told = one.of.told | monitor.told(self.case, self.reference, self.subject.streams, night, of_day)
            psi, sigma = one.psi.copy(), one.sigma.copy()
            psi[column], sigma[column] = self.fixed(feature, rows[name].cast(pl.Float32).to_numpy())
            found[day] = Tells(backtest.Tells(told, one.of.facts), psi, sigma)
        return found


def champion(case: UseCase, data: pl.DataFrame, ends: date, threads: int = 1) -> Champion:
    """Train one of the days to ``ends``, as a night does. ``data`` has features and labels, row by row."""
    task = tasks.of(case)
    frame = data.filter(pl.col(case.day) >= case.training.first_day).sort(case.key)
    known, first = frame.filter(pl.col(case.day) <= ends), ends - timedelta(case.training.holdout_days - 1)
    fitted, holdout = known.filter(pl.col(case.day) < first), known.filter(pl.col(case.day) >= first)
    rows = xgb.QuantileDMatrix(
        dataset.matrix(case.features, fitted),
        task.labels(fitted[case.label]),
        feature_names=list(case.feature_names),
        feature_types=scoring.feature_types(case.features),
        enable_categorical=True,
        nthread=threads,
    )
    params = {**task.params, **case.training.params, "seed": case.training.seed, "nthread": threads}
    booster = xgb.train(params, rows, case.training.rounds)
    values = dataset.matrix(case.features, known)
    groups = evaluation.slices_of(case, holdout)
    chosen = slices.chosen(case.features, groups, case.training.holdout_days)
    seen = reference.build(
        case,
        (values[:, n] for n in range(values.shape[1])),
        known[case.day].to_numpy().astype("datetime64[D]"),
        fitting.gain_shares(booster),
        (first, ends),
        task.labels(holdout[case.label]),
        task.scores(evaluation.predict(case, booster, dataset.matrix(case.features, holdout))),
        groups,
        task.scores(evaluation.predict(case, booster, values)),
        rolling.scored(
            case,
            dataset.matrix(case.features, fitted),
            task.labels(fitted[case.label]),
            fitted[case.day].to_numpy().astype("datetime64[D]"),
            case.training.rounds,
            (),
        ),
        slices.grouped(chosen, known),
    )
    after = dataset.between(case, frame, (ends + timedelta(1), ends + timedelta(NIGHTS + WEEK * NEAR)))
    return Champion(case, ends, seen, booster, after, known)


# --- what changes ---


def shifted(of: Champion) -> Change:
    """Every feature moved so far that its PSI against itself is ``SHIFT_PSI``, or as little above as it can be."""
    before = of.rows
    steps = {one.name: _step(one, before[one.name]) for one in of.case.features}

    def change(rows: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        moved = []
        for one in of.case.features:
            step = steps[one.name]
            if one.kind == "numeric":
                moved.append((pl.col(one.name).cast(pl.Float64) + step).alias(one.name))
            else:
                hit = pl.Series(random.random(rows.height) < step)
                moved.append(pl.when(hit).then(pl.lit(one.vocabulary[0])).otherwise(pl.col(one.name)).alias(one.name))
        return rows.with_columns(moved)

    return change


def _step(feature: Feature, values: pl.Series) -> float:
    """By how much a feature moves: a number in its unit; a category by the share of rows that go to its first level."""
    if feature.kind == "categorical":
        codes = dataset.encode(feature, values).to_numpy().astype(np.int64)
        before = np.bincount(codes, minlength=len(feature.levels)) / len(codes)
        first = np.eye(len(feature.levels))[0]
        return next(
            share
            for share in np.linspace(0.02, 1, 50)
            if metrics.psi(before, before * (1 - share) + share * first) >= SHIFT_PSI
        )
    known = values.cast(pl.Float64).drop_nulls().to_numpy()
    edges, spread = metrics.bin_edges(known), float(np.std(known)) or 1.0
    before = metrics.shares(metrics.bin_counts(known, edges))

    def distance(by: float) -> float:
        return metrics.psi(before, metrics.shares(metrics.bin_counts(known + by, edges)))

    return next((by for by in spread * np.linspace(0.02, 3, 150) if distance(by) >= SHIFT_PSI), 3 * spread)


def flipped(of: Champion) -> Change:
    """A tenth of the labels turned round."""
    label = of.case.label

    def change(rows: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        hit = pl.Series(random.random(rows.height) < SHARE)
        return rows.with_columns(pl.when(hit).then(1 - pl.col(label)).otherwise(pl.col(label)).alias(label))

    return change


def inverted(of: Champion) -> Change:
    """All labels turned round of the slice that has closest to a tenth of the rows."""
    label, hit = of.case.label, tenth(of)
    return lambda rows, _: rows.with_columns(pl.when(hit).then(1 - pl.col(label)).otherwise(pl.col(label)).alias(label))


def tenth(of: Champion) -> pl.Expr:
    """Which rows are of the slice that has closest to a tenth of them."""
    counts = of.rows["carrier"].value_counts()
    chosen = min(counts.iter_rows(), key=lambda one: abs(one[1] / of.rows.height - SHARE))[0]
    return pl.col("carrier") == chosen


def upside_down(of: Champion) -> Change:
    """Labels that are the opposite of what the model says: an AUC of 0."""
    label = of.case.label

    def change(rows: pl.DataFrame, _: np.random.Generator) -> pl.DataFrame:
        task, values = tasks.of(of.case), dataset.matrix(of.case.features, rows)
        scores = task.scores(evaluation.predict(of.case, of.booster, values))
        turned = (scores <= np.quantile(scores, rows[label].mean())).astype(np.int32)
        return rows.with_columns(pl.Series(label, turned))

    return change


@dataclass(frozen=True)
class Scenario:
    """Something that changes, within how many nights it is to be found, how often that is wanted, and held to at least.

    ``bound`` is below ``target`` where that is not reached: docs/decisions/evidence.md says why.
    """

    name: str
    tells: Callable[[Champion, np.random.Generator], dict[date, Tells]]
    within: int
    target: float
    bound: float


def _any_numeric(of: Champion, random: np.random.Generator) -> Feature:
    numeric = [one for one in of.case.features if one.kind == "numeric"]
    return numeric[int(random.integers(len(numeric)))]


def _one_feature(of: Champion, random: np.random.Generator) -> dict[date, Tells]:
    """A numeric feature by chance."""
    return of.one_feature(_any_numeric(of, random), SPREADS)


def _moved_in_slice(of: Champion, random: np.random.Generator) -> dict[date, Tells]:
    return of.one_feature_of_a_slice(_any_numeric(of, random), WIDTHS)


def _missing_in_slice(of: Champion, random: np.random.Generator) -> dict[date, Tells]:
    return of.one_feature_of_a_slice(_any_numeric(of, random), None)


SCENARIOS = (
    Scenario("all features, PSI .1", lambda of, _: of.tells("all", shifted(of)), 10, 0.99, 0.99),
    Scenario("one feature, 3 quiet spreads", _one_feature, 21, 0.95, 0.85),
    Scenario("one feature of a slice of 10 %, 3 widths", _moved_in_slice, 21, 0.95, 0.7),
    Scenario("one feature missing in a slice of 10 %", _missing_in_slice, 21, 0.95, 0.8),
    Scenario("10 % of labels turned round", lambda of, _: of.tells("flipped", flipped(of)), 42, 0.99, 0.99),
    Scenario("a slice of 10 % inverted", lambda of, _: of.tells("slice", inverted(of)), 10, 0.95, 0.95),
    Scenario("AUC of 0", lambda of, _: of.tells("auc", upside_down(of)), 1, 0.99, 0.99),
)


# --- the nights, drawn again ---


def redrawn(of: Champion, random: np.random.Generator) -> list[date]:
    """The real day behind each of ``NIGHTS`` nights after the training: whole weeks from around the same time."""
    days, found = list(of.by_day), list[date]()
    weeks = len(days) // WEEK
    for week in range(NIGHTS // WEEK):
        near = [one for one in range(week - NEAR, week + NEAR + 1) if 0 <= one < weeks]
        start = WEEK * int(random.choice(near))
        found += days[start : start + WEEK]
    return found


def fired(watch: Watch, of: Champion, nights: Sequence[Tells], before: int = 0) -> npt.NDArray[np.bool_]:
    """Which rules fire in each night: nights × ``RULES``. ``watch`` has seen so many nights ``before`` them."""
    rows = []
    for n, tells in enumerate(nights, before):
        sensors = watch.fired(of.ends + timedelta(n + 1), tells.of)
        rows.append(
            [sensors.any(), *sensors, (tells.psi >= 0.1).any(), (tells.psi >= 0.25).any(), (tells.sigma > 3).any()]
        )
    return np.asarray(rows, dtype=bool)


@dataclass(frozen=True)
class Quiet:
    """Nights in which nothing changes: what fires in them, and where evidence stood after ``CALM`` of them."""

    days: list[date]
    fired: npt.NDArray[np.bool_]
    states: dict[Key, State]


def _quiet(of: Champion, days: list[date]) -> Quiet:
    watch, nights = Watch(of.subject), [of.tells("quiet")[day] for day in days]
    before, states = fired(watch, of, nights[:CALM]), watch.states
    return Quiet(days, np.vstack([before, fired(watch, of, nights[CALM:], CALM)]), states)


@dataclass(frozen=True)
class Found:
    """Of a scenario, by rule: the share of draws in which it fires within the nights, changed and quiet, and when.

    ``night`` is the median of the first night, of those in which it was found.
    """

    scenario: Scenario
    draws: int
    changed: dict[str, float]
    quiet: dict[str, float]
    night: float

    @property
    def line(self) -> str:
        cells = [f"{self.changed[rule]:.1%} ({self.quiet[rule]:.1%})" for rule in RULES]
        return f"| {self.scenario.name}, within {self.scenario.within} | {' | '.join(cells)} | {self.night:.0f} |"

    @property
    def target_line(self) -> str:
        one, share = self.scenario, self.changed["policy"]
        said = "" if share >= one.target else "not reached"
        return f"| {one.name} | {one.within} | {one.target:.0%} | {share:.1%} | {said} |"


@dataclass(frozen=True)
class Curve:
    """``nightly``: by champion and rule, the share of quiet nights in which it fires."""

    nightly: dict[date, dict[str, float]]
    found: list[Found]
    nights: int

    @property
    def all_nights(self) -> dict[str, float]:
        return {rule: float(np.mean([share[rule] for share in self.nightly.values()])) for rule in RULES}

    def broken(self) -> list[str]:
        """The bounds that do not hold."""
        rate = self.all_nights["policy"]
        said = [f"{rate:.2%} of quiet nights fire, and 1 % may"] if rate > 0.01 else []
        return said + [
            f"{one.scenario.name}: {one.changed['policy']:.1%} found, and {one.scenario.bound:.0%} is the least"
            for one in self.found
            if one.changed["policy"] < one.scenario.bound
        ]


def curve(champions: Sequence[Champion], draws: int = DRAWS, say: Callable[[str], None] = print) -> Curve:
    """Every champion's quiet nights, and every scenario beside the same nights unchanged."""
    nightly, quiet_of = {}, {}
    for of in champions:
        random = np.random.default_rng(of.ends.toordinal())
        quiet_of[of.ends] = [_quiet(of, redrawn(of, random)) for _ in range(draws)]
        share = np.mean([one.fired for one in quiet_of[of.ends]], axis=(0, 1))
        nightly[of.ends] = dict(zip(RULES, share.tolist(), strict=True))
        say(f"{of.ends} quiet {nightly[of.ends]}")
    found = []
    for scenario in SCENARIOS:
        changed, calm, first = [], [], []
        for of in champions:
            random = np.random.default_rng([of.ends.toordinal(), 1])
            for quiet in quiet_of[of.ends]:
                tells, watch = scenario.tells(of, random), Watch(of.subject)
                watch.states, end = quiet.states, CALM + scenario.within
                after = fired(watch, of, [tells[day] for day in quiet.days[CALM:end]], CALM)
                changed.append(after.any(axis=0))
                calm.append(quiet.fired[CALM:end].any(axis=0))
                if after[:, 0].any():
                    first.append(int(after[:, 0].argmax()) + 1)
        shares = [dict(zip(RULES, np.mean(one, axis=0).tolist(), strict=True)) for one in (changed, calm)]
        found.append(Found(scenario, len(changed), *shares, float(np.median(first)) if first else float("nan")))
        say(found[-1].line)
    return Curve(nightly, found, draws * NIGHTS)


PAGE = """\
# How often the monitor is right

Made by `python -m tests.simulations.monitor_curve` on the days of the demonstration, and held to its bounds by
`make test-full`. What the sensors do, and how this is simulated: [evidence](decisions/evidence.md).

## Quiet nights

Nothing has changed in them: whatever fires is a false alarm. Share of nights, by the last day that the champion learned
from; {nights} nights each, {draws} draws of {weeks} weeks.

| champion | {rules} |
|---|{rule}
{nightly}

## Changed nights

Something changes after {calm} quiet nights. Share of {tried} draws in which it is found in time, and in brackets the
share of the same draws in which the rule fires in the same nights with nothing changed. *Night*: the one in which the
policy finds it, in the median.

| what changes | {rules} | night |
|---|{rule}---|
{found}

| what changes | within nights | wanted | found | |
|---|---|---|---|---|
{targets}
"""


def page(found: Curve) -> str:
    """docs/monitor-curve.md."""
    rows = [*found.nightly.items(), ("**all**", found.all_nights)]
    return PAGE.format(
        nights=found.nights,
        draws=found.nights // NIGHTS,
        weeks=NIGHTS // WEEK,
        calm=CALM,
        tried=found.found[0].draws,
        rules=" | ".join(RULES),
        rule="---|" * len(RULES),
        nightly="\n".join(f"| {who} | {' | '.join(f'{share[rule]:.1%}' for rule in RULES)} |" for who, share in rows),
        found="\n".join(one.line for one in found.found),
        targets="\n".join(one.target_line for one in found.found),
    )


def labelled(case: UseCase, features: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Features with the label of each row that has one."""
    return features.join(labels.select(*case.key, case.label).drop_nulls(), on=case.key, how="inner")


def read(case: UseCase, folder: Path | None) -> pl.DataFrame:
    """A year of features and labels: those of the lake, or of two files."""
    if folder is not None:
        return labelled(case, *(pl.read_parquet(folder / f"{name}.parquet") for name in ("features", "labels")))
    return labelled(case, delta.read_all("gold", case.features_table), delta.read_all("gold", case.labels_table))


def main(arguments: Sequence[str]) -> int:
    """Write the page. Exit code 1 where a bound does not hold."""
    case = use_case(CASE)
    folder = Path(arguments[0]) if arguments else None
    if folder is None and not delta.exists("gold", case.features_table):
        print(f"gold.{case.features_table} is missing: run the demonstration first (make run)", file=sys.stderr)
        return 1
    data = read(case, folder)
    found = curve([champion(case, data, ends) for ends in ENDS])
    (settings().home / "docs" / "monitor-curve.md").write_text(page(found))
    broken = found.broken()
    print("\n".join(broken) or "all bounds hold")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
