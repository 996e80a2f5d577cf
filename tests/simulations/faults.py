"""Faults at the feature gate: how often it stops a broken day, and how often a sound one.

``python -m tests.simulations.faults`` reads a year of the demonstration's features from this installation's lake (after
``make run`` and ``make backfill from=2013-01-01 to=2013-12-30 at_once=1``), and writes docs/faults-at-the-gate.md.
``make test-full`` makes a lake of its own and holds the figures to their bounds.

A fault is put into one column of one real day; the days before it stay as they are. But for how it goes with others,
which is left out there, the gate judges each column by itself: one judgement of a day tries a fault in all of its
columns at once. What that does not show of a pair of columns is judged by itself. The limits are chosen on the days of
every second week, and the rate of false alarms is that of the others, which had no part in it.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import polars as pl

from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.lake import delta, described
from include.quality import faults, profiles
from include.quality.profiles import DAY
from include.sources import source
from include.use_cases import use_case

CASE = "flight_delays"
FIRST, LAST = date(2013, 6, 1), date(2013, 12, 31)
EVERY = 6
"""Of so many days one is broken in each way."""
NIGHTS = 7
FEW = 6
FOUND = 0.95
"""A fault counts as found where so many of its days are stopped."""

C = pl.col


def _of(feature: str, **ways: Callable[[pl.Expr], pl.Expr]) -> dict[str, dict[str, pl.Expr]]:
    return {feature: {name: way(C(feature).cast(pl.Float64)).alias(feature) for name, way in ways.items()}}


def units(case: UseCase) -> dict[str, dict[str, pl.Expr]]:
    """Of each numeric feature the units that it may come in by mistake, by name."""
    found: dict[str, dict[str, pl.Expr]] = {}
    for feature in case.feature_names:
        if "rate" in feature:
            found |= _of(feature, **{"share to percent": lambda c: c * 100})
    for feature in ("aircraft_flights_28d", "route_flights_28d", "flight_number_flights_28d"):
        found |= _of(feature, **{"a month's number to a day's": lambda c: c / 28})
    return (
        found
        | _of("weather_temp_mean_f", **{"°F to °C": lambda c: (c - 32) / 1.8})
        | _of(
            "weather_wind_max_mph",
            **{"mph to m/s": lambda c: c * 0.44704, "mph to knots": lambda c: c * 0.868976},
        )
        | _of("weather_precip_sum_in", **{"inch to mm": lambda c: c * 25.4})
        | _of("weather_visib_min_mi", **{"mile to km": lambda c: c * 1.609344})
        | _of("weather_pressure_min_mb", **{"mb to inHg": lambda c: c * 0.02953})
        | _of("weather_humid_mean_pct", **{"percent to share": lambda c: c / 100})
        | _of("distance_miles", **{"mile to km": lambda c: c * 1.609344})
        | _of("sched_dep_minute", **{"minute to hour": lambda c: c / 60})
        | _of("sched_arr_minute", **{"minute to hour": lambda c: c / 60})
        | _of("sched_dep_hour", **{"hour to minute": lambda c: c * 60, "index + 1": lambda c: c + 1})
        | _of("day_of_week", **{"Monday is 2": lambda c: c % 7 + 1, "Monday is 0": lambda c: c - 1})
        | _of("aircraft_age_years", **{"age to year": lambda c: 2013 - c, "year to month": lambda c: c * 12})
        | _of("aircraft_seats", **{"index + 1": lambda c: c + 1})
    )


LANDED = {
    "weather_temp_mean_f": ("temp_f", "temp"),
    "weather_wind_max_mph": ("wind_mph", "wind_speed"),
    "weather_precip_sum_in": ("precip_in", "precip"),
    "weather_visib_min_mi": ("visib_mi", "visib"),
    "weather_pressure_min_mb": ("pressure_mb", "pressure"),
    "weather_humid_mean_pct": ("humid_pct", "humid"),
}
"""What features of the weather are made of: the column of ``silver.fct_weather_hourly``, and its name in the feed."""


def by_contract(case: UseCase) -> dict[tuple[str, str], set[date]]:
    """By feature and unit the days whose file the contract of the feed refuses, were all of its rows in that unit."""
    feed = next(one for one in source("flights").feeds if one.name == "weather")
    landed = delta.scan("silver", "fct_weather_hourly").collect()
    found: dict[tuple[str, str], set[date]] = {}
    for feature, (column, name) in LANDED.items():
        rule = next(one for one in feed.columns if one.name == name)
        for way, expression in units(case)[feature].items():
            values = landed.select(C("weather_date"), C(column).alias(feature)).with_columns(expression)
            refused = ~C(feature).is_between(rule.minimum, rule.maximum)
            share = values.group_by("weather_date").agg(refused.sum() / pl.len())
            days = share.filter(C(feature) > feed.max_quarantined_share)["weather_date"]
            # The weather of a day is known on the next one.
            found[feature, way] = {day + timedelta(1) for day in days}
    return found


@dataclass
class Tried:
    """One fault in one column: of each day that it was tried on, whether it was stopped, and how far that was.

    ``rules`` says of each day which rule beside the gate's comparison stopped it.
    """

    feature: str
    kind: str
    way: str
    stopped: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    rules: list[str] = field(default_factory=list)
    within: list[bool] = field(default_factory=list)  # as above, within NIGHTS nights

    @property
    def share(self) -> float:
        return float(np.mean(self.stopped))

    @property
    def is_found_at_once(self) -> bool:
        return self.share >= FOUND

    @property
    def is_found(self) -> bool:
        """On the first day, or on one of those after it."""
        return self.is_found_at_once or self.share_within >= FOUND

    @property
    def share_within(self) -> float:
        return float(np.mean(self.within)) if self.within else self.share


class World:
    """A year of features, and the profiles of its days, each beside those before it."""

    def __init__(self, case: UseCase, rows: pl.LazyFrame, refused: Mapping[tuple[str, str], set[date]]) -> None:
        self.case, self.refused, self.units = case, refused, described.units(case)
        self.rows = rows.collect().sort(case.key)
        found = profiles.of_days(case, case.features, self.rows.lazy())
        found = pl.concat([pl.DataFrame(schema=profiles.SCHEMA), found], how="diagonal")
        days = set(found[DAY])
        # As nights would: what is stopped is no part of the past of the nights after it.
        self.sound = faults.judge(found, days, days, {}, self.units)
        self.profiles = self.sound.profiles
        self.of_day = {day: frame for (day,), frame in self.rows.group_by(case.day)}
        self.days = sorted(day for day in days if FIRST <= day <= LAST)
        most = self.profiles.filter(C(DAY).is_in(self.days)).group_by("feature").agg(C("distinct").max())
        self.single = set(most.filter(C("distinct") == 1)["feature"])

    def judged(self, broken: Mapping[date, pl.DataFrame]) -> faults.Judged:
        """What the gate says of days whose profiles are ``broken``; earlier ones are as they were."""
        first, _ = faults.window(list(broken))
        past = self.profiles.filter(C(DAY).is_between(first, min(broken), closed="left"))
        found = pl.concat([past, *broken.values()], how="diagonal")
        return faults.judge(found, set(broken), set(broken), {}, self.units)

    def measured(self, broken: pl.DataFrame) -> pl.DataFrame:
        """The profiles of a day's rows, all of whose columns are broken: how they go together is not looked at."""
        if "feature" not in broken.columns:
            broken = profiles.of_days(self.case, self.case.features, broken.lazy())
        nothing = (pl.lit(None, profiles.SCHEMA[name]).alias(name) for name in ("beside", "relations"))
        return broken.with_columns(nothing)

    def own(self, day: date) -> pl.DataFrame:
        """The profiles of a day as it was."""
        return self.profiles.filter(C(DAY) == day).select(profiles.MEASURED)

    def rearranged(self, day: date, now: Mapping[str, str]) -> pl.DataFrame:
        """The profiles of ``day`` where columns have the values of others, by name."""
        own = self.own(day)
        related = own.drop_nulls("relations")
        (names,) = related["beside"].unique().to_list()
        place = [names.index(now.get(name, name)) for name in names]
        in_order = related.sort(C("feature").replace_strict(names, range(len(names))))
        relations = np.array(in_order["relations"].to_list())[np.ix_(place, place)].tolist()
        rows = {row["feature"]: row for row in own.iter_rows(named=True)}
        found = [rows[now.get(name, name)] | {"feature": name} for name in rows]
        of = {name: {"beside": names, "relations": one} for name, one in zip(names, relations, strict=True)}
        return pl.DataFrame([row | of.get(row["feature"], {}) for row in found], schema=own.schema)

    def by_rule(self, day: date, kind: str, ways: Mapping[str, str], measured: pl.DataFrame) -> dict[str, str]:
        """What is stopped by a rule beside the comparison: its range in the spec, or in the contract of its source."""
        found = {}
        values = {row["feature"]: row for row in measured.iter_rows(named=True)}
        for feature in self.case.features:
            row = values[feature.name]
            low, high = row["lowest"], row["highest"]
            if low is None:
                continue
            if (feature.low is not None and low < feature.low) or (feature.high is not None and high > feature.high):
                found[feature.name] = "the range of its spec"
        for feature_name, way in ways.items():
            if kind == "unit" and day in self.refused.get((feature_name, way), ()):
                found[feature_name] = "the contract of its source"
        return found

    def is_sound(self, day: date, feature: str, measured: pl.DataFrame) -> bool:
        """Whether a column is as it was: no rain is none in any unit."""
        own, without = (C(DAY) == day) & (C("feature") == feature), pl.exclude("beside", "relations")
        was = self.profiles.filter(own).select(profiles.MEASURED)
        return measured.filter(own).select(without).equals(was.select(without))

    def numbers(self) -> list[str]:
        return [feature.name for feature in self.case.features if not feature.levels]

    def several(self, day: date, feature: str) -> bool:
        """Whether a column has more than one value on a day, so that a constant is another one."""
        own = self.profiles.filter((C(DAY) == day) & (C("feature") == feature))
        return bool(own["distinct"][0] > 1)


type Broken = Iterator[tuple[str, dict[str, str], pl.DataFrame]]


def broken(world: World, day: date, since: date | None = None) -> Broken:
    """The ways in which ``day`` can be broken: the kind, of each column the way, and its rows or profiles.

    ``since`` is the first day of what goes on for some.
    """
    rows, numbers, known = world.of_day[day], world.numbers(), units(world.case)
    for number in range(max(map(len, known.values()))):
        ways = {feature: list(of.items())[number] for feature, of in known.items() if len(of) > number}
        yield "unit", {name: way for name, (way, _) in ways.items()}, rows.with_columns(e for _, e in ways.values())
    several = [name for name in numbers if world.several(day, name)]
    yield "constant", dict.fromkeys(several, "its median"), rows.with_columns(C(several).median())
    # What has one value a day is constant where that stays.
    before = world.of_day[(since or day) - timedelta(1)]
    single = [name for name in numbers if name in world.single]
    stays = rows.with_columns(pl.lit(before[name].first(), before[name].dtype).alias(name) for name in single)
    yield "constant", dict.fromkeys(single, "its value of the day before"), stays
    filled = [name for name in numbers if rows[name].null_count() < rows.height]
    yield "empty", dict.fromkeys(filled, "null"), rows.with_columns(pl.lit(None, pl.Float64).alias(n) for n in filled)
    own = world.own(day)
    for shift in range(1, len(numbers)):
        other = dict(zip(numbers, [*numbers[shift:], *numbers[:shift]], strict=True))
        # The profile of a column that has another's values is the other's.
        copied = own.with_columns(C("feature").replace({theirs: ours for ours, theirs in other.items()}))
        yield "copy", other, copied


def try_all(world: World, every: int = EVERY, say: Callable[[str], None] = print) -> list[Tried]:
    """Each fault on each ``every``-th day."""
    found: dict[tuple[str, str, str], Tried] = {}

    def add(feature: str, kind: str, way: str, score: float, said: str, rule: str = "") -> None:
        one = found.setdefault((feature, kind, way), Tried(feature, kind, way))
        one.stopped.append(score > 1 or rule != "")
        one.scores.append(score)
        one.kinds.append(said)
        one.rules.append(rule)

    for day in world.days[::every]:
        copies: dict[tuple[str, str], tuple[float, str, str]] = {}
        for kind, ways, rows in broken(world, day):
            measured = world.measured(rows)
            judged, rules = world.judged({day: measured}), world.by_rule(day, kind, ways, measured)
            score = judged.scores.row(0, named=True)
            kinds = {one.feature: one.kind for one in judged.faults}
            for feature, way in ways.items():
                if world.is_sound(day, feature, measured):
                    continue
                result = (score[feature] or 0.0, kinds.get(feature, ""), rules.get(feature, ""))
                if kind == "copy":
                    copies[feature, way] = result
                else:
                    add(feature, kind, way, *result)
        try_pairs(world, day, copies, add)
        say(f"{day} was broken in every way")
    return list(found.values())


def try_pairs(
    world: World, day: date, copies: dict[tuple[str, str], tuple[float, str, str]], add: Callable[..., None]
) -> None:
    """A column that has another's values, and two that have each other's.

    ``copies`` are what each column by itself says of it; what it does not show, how it goes with others may.
    """
    left = [pair for pair, (score, _, rule) in copies.items() if score <= 1 and not rule]
    now = copies.copy()
    while left:
        batch = {}
        for feature, other in left:
            if feature not in {*batch, *batch.values()} and other not in batch:
                batch[feature] = other
        left = [pair for pair in left if batch.get(pair[0]) != pair[1]]
        judged = world.judged({day: world.measured(world.rearranged(day, batch))})
        kinds = {one.feature: one.kind for one in judged.faults}
        score = judged.scores.row(0, named=True)
        now |= {(one, other): (score[one] or 0.0, kinds.get(one, ""), "") for one, other in batch.items()}
    for (feature, other), result in now.items():
        add(feature, "copy", other, *result)
    for (feature, other), result in copies.items():
        if feature < other:
            both = (result, copies.get((other, feature), result))
            worst = max(both, key=lambda of: (of[2] != "", of[0]))
            if worst[0] <= 1 and not worst[2]:
                worst = exchanged(world, day, feature, other)
            add(feature, "exchange", other, *worst)


def exchanged(world: World, day: date, feature: str, other: str) -> tuple[float, str, str]:
    """How far a day is on which two columns have each other's values, and what is said of it."""
    judged = world.judged({day: world.rearranged(day, {feature: other, other: feature})})
    score = judged.scores.select(pl.max_horizontal(feature, other)).item()
    return score or 0.0, next((one.kind for one in judged.faults if one.feature in (feature, other)), ""), ""


def try_on(world: World, tried: Sequence[Tried], every: int = 2 * EVERY) -> None:
    """Let what one day did not show go on for ``NIGHTS`` nights, on some days."""
    missed = defaultdict(list)
    for one in tried:
        if not one.is_found_at_once and one.kind not in PAIRS:
            missed[one.kind, one.way].append(one)
    for day in world.days[:-NIGHTS:every]:
        span = [each for n in range(NIGHTS) if (each := day + timedelta(n)) in world.of_day]
        for (kind, way), ones in missed.items():
            names = {one.feature for one in ones}
            rows = {each: world.measured(rows_of(world, each, day, kind, way, names)) for each in span}
            judged = world.judged(rows)
            rules = [world.by_rule(each, kind, dict.fromkeys(names, way), of) for each, of in rows.items()]
            for one in ones:
                is_ruled = any(one.feature in of for of in rules)
                one.within.append(is_ruled or bool((judged.scores[one.feature].fill_null(0) > 1).any()))


def rows_of(world: World, day: date, since: date, kind: str, way: str, names: Collection[str]) -> pl.DataFrame:
    """The rows of ``day`` with a fault that began on the day ``since``; as they are where it cannot have it."""
    for known, ways, rows in broken(world, day, since):
        if known == kind and way in ways.values() and names & ways.keys():
            return rows
        if known == "copy":
            break
    return world.of_day[day]


# --- what is said of it ---

WEEKS = {0: "even", 1: "odd"}


def half(day: date) -> int:
    """Of which half a day is: the limits are chosen on days of 0."""
    return day.isocalendar().week % 2


def false_alarms(world: World) -> dict[int, tuple[int, int]]:
    """By half of the weeks: sound days that were stopped, and all of them."""
    stopped = stopped_days(world)
    return {of: (sum(half(day) == of for day in stopped), sum(half(day) == of for day in world.days)) for of in WEEKS}


LIMITED = {**faults.ASPECTS, faults.CONVERTED: faults.KNOWN}
MARGIN, STEP = 1.05, 0.05
LEAST_LIMIT = dict.fromkeys(faults.ASPECTS, 2.0) | {faults.CONVERTED: 1.5}


def chosen(world: World) -> dict[str, float]:
    """The limits that the even weeks choose: a bit above the farthest sound day but for one, and 2 at least.

    The day that is left out is the one that is farthest of all: what a limit above it would cost is most of the faults.
    """
    past = faults._Past(world.profiles, world.units)
    farthest: dict[date, dict[str, float]] = {}
    for at, day in enumerate(past.days):
        if day in world.days and half(day) == 0:
            verdict = faults._Verdict(past, at, past.before(at))
            ratios = {name: np.nanmax(verdict.ratio[name], initial=0) * one.limit for name, one in LIMITED.items()}
            farthest[day] = {name: float(ratio) for name, ratio in ratios.items()}
    worst = max(farthest, key=lambda day: max(farthest[day].values()))
    most = {name: max(of[name] for day, of in farthest.items() if day != worst) for name in LIMITED}
    return {
        name: max(LEAST_LIMIT[name], round(float(np.ceil(MARGIN * one / STEP)) * STEP, 2)) for name, one in most.items()
    }


def stopped_days(world: World) -> list[date]:
    """The sound days that were stopped. Each was then accepted, as a person would."""
    names = [name for name in world.sound.scores.columns if name != DAY]
    worst = world.sound.scores.select(DAY, worst=pl.max_horizontal(names))
    return [day for day in worst.filter(C("worst") > 1)[DAY] if day in set(world.days)]


BEFORE = dict.fromkeys(("copy", "exchange"), "not measured") | {
    "unit": "19 of 32",
    "constant": "17 of 41",
    "empty": "40 of 41",
}
SAID = {
    "unit": "another unit",
    "constant": "constant",
    "empty": "empty",
    "copy": "another column's values",
    "exchange": "exchanged with another",
}
PAIRS = ("copy", "exchange")


def why_not(world: World, one: Tried) -> str:
    """What keeps a fault from being seen on its first day."""
    of = world.profiles.filter((C("feature") == one.feature) & (C(DAY) >= FIRST))
    single = float(np.mean(of["distinct"].to_numpy() == 1))
    if one.kind == "constant" and single:
        return f"it has one value on {single:.0%} of the sound days too"
    ends = of.select(C("lowest").quantile(0.05), C("highest").quantile(0.95)).row(0)
    number = float(np.median(of["distinct"]))
    few = f"{number:.0f} value{'s' if number > 1 else ''} a day, " if number < faults.LEAST_VALUES else ""
    far = of["shape_change"].max()
    moves = f"{few}{ends[0]:.3g} to {ends[1]:.3g}, and a sound day is up to {far:.3g} from those before it"
    return f"{moves}; the fault is at {np.median(one.scores):.2f} of the limit"


PAGE = """\
# Faults at the feature gate

Made by `python -m tests.simulations.faults` on the demonstration's year, and held to its bounds by `make test-full`.
What the gate does, and why: [faults](decisions/faults.md).

A fault is put into one column of one day, on {days} days of {first} to {last} ({every}), and counts as found where
{found:.0%} of these days are stopped on the first night. What is not found goes on for {nights} nights, and counts
where in {found:.0%} of the tries one of them is stopped. An exchange is stopped where either of its columns is.
*Before* is the gate that compared a day with the champion's training set by PSI; the units that it was tried with were
32.

| one column of a day is | tried | found at once | or in {nights} nights | days stopped | kind said rightly | before |
|---|--:|--:|--:|--:|--:|--:|
{summary}

Of units, {ruled} are stopped by a rule beside the comparison too, on some days: {spec} by the column's range in the
spec of the use case, and by the contract of the feed that it is made of, which refuses the day's file, {contract}.

| sound days | stopped | of |
|---|--:|--:|
{sound}

{stopped}

## Not found on the first day

Of what went on for {nights} nights, the share of tries that one of them stopped. What is in bold counts as found.

| column | fault | stopped on the first day | within {nights} nights | why not |
|---|---|--:|--:|---|
{missed}

## Column by column

The share of days that were stopped; of another column's values and of an exchange, the mean of all {others} others.

| column | another unit | constant | empty | another column's values | exchanged |
|---|---|--:|--:|--:|--:|
{columns}
"""

RIGHT: dict[str, tuple[str, ...]] = {
    "unit": ("another unit",),
    "constant": ("constant",),
    "empty": ("empty",),
    "copy": ("another column",),
    "exchange": ("another column",),
}


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def row_of(kind: str, tried: Sequence[Tried]) -> str:
    """A line of the first table."""
    own = [one for one in tried if one.kind == kind]
    kinds = [said for one in own for said in one.kinds if said]
    right = np.mean([said.startswith(RIGHT[kind]) for said in kinds]) if kinds else 0.0
    stopped = np.mean([each for one in own for each in one.stopped])
    at_once, found = (
        f"{sum(of)} ({np.mean(of):.1%})"
        for of in ([one.is_found_at_once for one in own], [one.is_found for one in own])
    )
    return f"| {SAID[kind]} | {len(own)} | {at_once} | {found} | {stopped:.1%} | {right:.0%} | {BEFORE[kind]} |"


def ruled(tried: Sequence[Tried], rule: str) -> list[str]:
    """Of which columns a unit is stopped by a rule beside the comparison, with the share of days."""
    of = [(one, np.mean([rule in each for each in one.rules])) for one in tried if one.kind == "unit"]
    return [f"{one.feature}, {one.way}: {share:.0%} of days" for one, share in of if share > 0]


PAIRED = "its values lie where the other's do, and beside the other columns the two are alike"


def page(world: World, tried: Sequence[Tried], every: int = EVERY) -> str:
    """docs/faults-at-the-gate.md."""
    alarms, days = false_alarms(world), stopped_days(world)
    names = {0: "of even weeks, by which the limits are chosen", 1: "of odd weeks, by which no limit is chosen"}
    missed = sorted((one for one in tried if not one.is_found_at_once), key=lambda one: (one.kind, one.feature))
    by_column = defaultdict[str, dict[str, list[Tried]]](lambda: defaultdict(list))
    for one in tried:
        by_column[one.feature][one.kind].append(one)
        if one.kind == "exchange":
            by_column[one.way][one.kind].append(replace(one, feature=one.way, way=one.feature))

    def cell(ones: Sequence[Tried]) -> str:
        return f"{np.mean([one.share for one in ones]):.0%}" if ones else "it is always"

    def of_units(ones: Sequence[Tried]) -> str:
        return ", ".join(f"{one.way}: {one.share:.0%}" for one in ones)

    def within(one: Tried) -> str:
        return f"**{one.share_within:.0%}**" if one.is_found else f"{one.share_within:.0%}"

    lines = [
        f"| {one.feature} | {SAID[one.kind]}: {one.way} | {one.share:.0%} | {within(one)} | "
        f"{PAIRED if one.kind in PAIRS else why_not(world, one)} |"
        for one in missed
    ]
    by_spec, by_feed = ruled(tried, "spec"), ruled(tried, "contract")
    sound = [f"| {names[of]} | {number} | {total} |" for of, (number, total) in alarms.items()]
    total = sum(number for number, _ in alarms.values())
    sound.append(f"| all | {total} ({total / len(world.days):.1%}) | {len(world.days)} |")
    said = {fault.day: fault.said for fault in world.sound.faults}
    return PAGE.format(
        days=len(world.days[::every]),
        first=world.days[0],
        last=world.days[-1],
        every=f"every {every}th",
        found=FOUND,
        nights=NIGHTS,
        summary="\n".join(row_of(kind, tried) for kind in SAID),
        sound="\n".join(sound),
        stopped="\n".join(f"- {said.get(day, day)}" for day in days),
        missed="\n".join(lines),
        others=len(world.numbers()) - 1,
        ruled=len(by_spec + by_feed),
        spec=len(by_spec),
        contract="; ".join(by_feed) or "none",
        columns="\n".join(
            f"| {name} | {of_units(of['unit'])} | {cell(of['constant'])} | {cell(of['empty'])} | {cell(of['copy'])} "
            f"| {cell(of['exchange'])} |"
            for name, of in by_column.items()
        ),
    )


def problems(world: World, tried: Sequence[Tried]) -> list[str]:
    """The bounds that do not hold."""
    limits = {name: one.limit for name, one in LIMITED.items()}
    found = (
        [f"the limits are {limits}, and the even weeks choose {wanted}"] if (wanted := chosen(world)) != limits else []
    )
    alarms = sum(number for number, _ in false_alarms(world).values())
    if alarms > MOST_ALARMS * len(world.days):
        found.append(f"{alarms} of {len(world.days)} sound days are stopped")
    for kind, least in LEAST_FOUND.items():
        share = float(np.mean([one.is_found for one in tried if one.kind == kind]))
        if share < least:
            found.append(f"{SAID[kind]}: {share:.1%} are found, and the bound is {least:.0%}")
    return found


MOST_ALARMS = 0.01
LEAST_FOUND = dict.fromkeys(SAID, 0.95)


def world(case: UseCase) -> World:
    """The days of the lake."""
    return World(case, delta.scan("gold", case.features_table), by_contract(case))


def main() -> int:
    """Write the page. Exit code 1 where a bound does not hold."""
    case = use_case(CASE)
    if not delta.exists("gold", case.features_table):
        print(f"gold.{case.features_table} is missing: run the demonstration first (make run)", file=sys.stderr)
        return 1
    days = world(case)
    tried = try_all(days)
    try_on(days, tried)
    (settings().home / "docs" / "faults-at-the-gate.md").write_text(page(days, tried))
    broken = problems(days, tried)
    print("\n".join(broken) or "all bounds hold")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
