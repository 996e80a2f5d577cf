"""Faults: what shows on one day, column by column, that something before the features is broken.

A day's profile (``include/quality/profiles.py``) is compared with that of the day before, that of the day a week before
and what is usual of the last four weeks; the nearest of these counts, so that weekends, weather and the season are no
news. How far sound days lie from each other is known of each column from its own past: a day is at fault where it lies
several times as far as any of the last 120. That needs neither a model nor a champion. How often it is right:
docs/faults-at-the-gate.md.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import combinations
from math import comb, log
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from include.quality import profiles
from include.quality.profiles import DAY, Floats

type Bools = npt.NDArray[np.bool_]
type Places = npt.NDArray[np.intp]

RECENT_DAYS = 28
"""So many days with rows say what is usual."""
SCALE_DAYS = 120
"""Of so many days with rows is known how far they were from those before them."""
WINDOW_DAYS = RECENT_DAYS + SCALE_DAYS
"""Days before this are not looked at: what a night reads does not grow."""
LEAST_RECENT = 14
"""Fewer days than this do not say what is usual, nor how far days lie from it."""
LEAST_JUDGED = 70
"""Where of fewer days is known how far they were, what differs is told and stops nothing."""
WEEK = 7
LONG_GAP = 14
"""After so many days without any, a day is told and not stopped: nobody knows what has happened meanwhile."""
LEAST_VALUES = 5
"""A column that never had fewer different values than this cannot have come to one by chance. What usually has fewer a
day, as weather has, is single draws, whose tails are long: its range is that of all days that are looked at, and what
stops lies ``FEW_VALUES`` times as far, and outside of that range by so many times ``LEAST_OUTSIDE`` of it at least."""
FEW_VALUES = 2.0
LEAST_OUTSIDE = 0.5
TENTH, LEAST_BELOW = 0.1, 0.25
"""What is all below a tenth of the lowest value of any day, and by a quarter of its range, and not 0, is no draw."""
RARELY = 0.05
"""Nor can one of fewer, never only one, to a value that it had on no more days than this share."""
TOGETHER = 3
"""So many values of a day count as independent at most: what brings one, often brings several."""
LIKE_THE_ACCEPTED = 1.1
"""What a person has accepted is let through again up to so many times as far."""
CLEARLY = 3
"""So many times nearer to something else than to itself a column is, where it is said to be that."""
CERTAIN = 10.0
"""The score of what no history is needed for."""


@dataclass(frozen=True)
class Aspect:
    """One way in which a day can differ from the days before it.

    Attributes:
        words: what it says of a fault; ``{change}`` is how far the day lies, ``{usual}`` how far any day before did.
        least: what differs by less than this is as good as equal.
        limit: so many times as far as any day before, and a day is at fault. Chosen on every second week of the
            demonstration's days (``chosen`` in tests/simulations/faults.py).
    """

    words: str
    least: float
    limit: float


ASPECTS: Mapping[str, Aspect] = {
    "missing": Aspect("the share of nulls moved by {change:.1%}, and by {usual:.1%} at most before", 0.02, 2.65),
    "shape": Aspect("the values moved by {change:.1%} of their range, and by {usual:.1%} at most before", 0.02, 2.0),
    "distinct": Aspect(
        "the logarithm of the number of different values moved by {change:.2f}, and by {usual:.2f} at most before",
        *(0.15, 2.85),
    ),
    "top": Aspect(
        "the share of the most frequent value moved by {change:.1%}, and by {usual:.1%} at most before", 0.16, 2.1
    ),
    "beyond": Aspect(
        "the values lie {change:.1%} of their range outside of those of the days before, {usual:.1%} at most until now",
        *(0.02, 2.0),
    ),
    "weekly": Aspect(
        "the values were those of the day a week before on every day, and are {change:.1%} of their range off",
        *(0.02, 2.0),
    ),
}
CONVERTED = "converted"
KNOWN = Aspect(
    "the values moved by {change:.1%} of their range, by {usual:.1%} at most before, and are usual in another unit",
    *(0.02, 1.5),
)
"""What a known conversion makes usual again is at fault sooner than what moved anywhere."""
LEAST_OF_LEVELS = 0.05
"""Where so much of the rows of a category has another level, that is as good as equal."""
OF_RANGE = ("shape", "beyond", "weekly")
"""What is stored in the unit of its column, and compared and told as a share of the range that the column has."""
UNSEEN, STUCK, EMPTY, CONSTANT, TINY = "unseen", "stuck", "empty", "constant", "tiny"
SURPRISE = 4.5
"""The limit of what is told by a probability, as -log10 of it: once in thirty thousand days of a column."""
MOSTLY_NEW = 0.5
"""Of a column whose values are new more often than this, the same values again are news."""
MOST_EXCHANGES = 8
"""So many pairs of a day are told that have each other's places."""
RELATED, COPIED, SINGLE = "related", "copied", "single"
LEAST_SCATTER = 0.05
"""By less than this no day's correlation of two columns is taken to scatter."""
MOST_ODD = 9.0
"""So much, the square of three times its scatter, one correlation says at most: no single one tells columns apart."""
MOST_OFF = 0.5
"""What is in another unit is, turned back, no farther off than by this share of what it is compared with."""
SAME = 1e-4
"""A value that lies no farther from another than this share of the range is that value in another unit."""

WORDS = {name: aspect.words for name, aspect in ASPECTS.items()} | {
    UNSEEN: "it has values that no day before had (by chance once in 10^{change:.0f} days)",
    STUCK: "it is to the last digit what it was on the day before, as no day was (by chance once in 10^{change:.0f})",
    EMPTY: "it was empty on no day before",
    CONSTANT: "it had several values on every day before",
    TINY: "all of it is below a tenth of the lowest value of any day before",
    CONVERTED: KNOWN.words,
    RELATED: "beside the other columns each of the two is as the other always was (10^{change:.0f} times as likely)",
    COPIED: "it has the same values as another column, to the last digit, as on no day before",
    SINGLE: "it has one value in all rows (by chance once in 10^{change:.0f} days)",
}

CONVERSIONS = {
    "°F to °C": ("degree Fahrenheit", 1 / 1.8, -32 / 1.8),
    "°C to °F": ("degree Celsius", 1.8, 32.0),
    "miles to kilometres": ("mile", 1.609344, 0.0),
    "kilometres to miles": ("kilometre", 1 / 1.609344, 0.0),
    "miles an hour to metres a second": ("mile per hour", 0.44704, 0.0),
    "miles an hour to kilometres an hour": ("mile per hour", 1.609344, 0.0),
    "miles an hour to knots": ("mile per hour", 0.868976, 0.0),
    "metres a second to miles an hour": ("metre per second", 1 / 0.44704, 0.0),
    "metres a second to kilometres an hour": ("metre per second", 3.6, 0.0),
    "metres a second to knots": ("metre per second", 1.943844, 0.0),
    "inches to millimetres": ("inch", 25.4, 0.0),
    "millimetres to inches": ("millimetre", 1 / 25.4, 0.0),
    "millibars to inches of mercury": ("millibar", 0.02953, 0.0),
    "shares to percent": ("share", 100.0, 0.0),
    "percent to shares": ("percent", 0.01, 0.0),
    "hours to minutes": ("hour", 60.0, 0.0),
    "minutes to seconds": ("minute", 60.0, 0.0),
    "minutes to hours": ("minute", 1 / 60, 0.0),
    "seconds to minutes": ("second", 1 / 60, 0.0),
    "years to months": ("year", 12.0, 0.0),
    "a thousand times": ("", 1000.0, 0.0),
    "a thousandth": ("", 0.001, 0.0),
    "the other sign": ("", -1.0, 0.0),
    "an index to one that is one more": ("", 1.0, 1.0),
    "an index to one that is one less": ("", 1.0, -1.0),
}
"""What a column's values are often turned into by mistake: of which unit, times, plus. A column whose unit is known is
tried in that one's, and in those of no unit."""
OF_UNIT = np.array([of for of, _, _ in CONVERSIONS.values()])
TIMES, PLUS = (np.array([one[at] for one in CONVERSIONS.values()])[:, None, None] for at in (1, 2))
IS_SMALL = np.array([not plus and 1 / 2 < times < 2 for _, times, plus in CONVERSIONS.values()])
IS_INDEX = np.array(["index" in words for words in CONVERSIONS])

# What was accepted, by day and feature: of each aspect how far.
type Accepted = Mapping[tuple[date, str], Mapping[str, float]]


@dataclass(frozen=True)
class Fault:
    """One feature of one day that is not like the days before it.

    Attributes:
        kind: what it looks like, in a few words: empty, constant, another unit.
        changes: in which aspects, and how far in each.
        said: the whole of it in a line, with the figures of the day before and of this day.
    """

    day: date
    feature: str
    kind: str
    changes: dict[str, float]
    said: str

    def is_within(self, accepted: Mapping[str, float]) -> bool:
        """Whether it is no farther in any aspect than what was ``accepted``."""
        return all(change <= LIKE_THE_ACCEPTED * accepted.get(name, 0.0) for name, change in self.changes.items())


@dataclass
class Judged:
    """What became of some days.

    Attributes:
        profiles: of the days that were measured, with how far each was from those before it.
        scores: of each judged day a row, of each feature a column: how far it is, as a share of what stops; null
            where nothing is known yet.
        faults: what stops; of what goes on, its first day.
        accepted: what a person has let through.
        told: what would stop if more days were known.
    """

    profiles: pl.DataFrame
    scores: pl.DataFrame
    faults: list[Fault] = field(default_factory=list)
    accepted: list[Fault] = field(default_factory=list)
    told: list[Fault] = field(default_factory=list)


def judge(
    found: pl.DataFrame,
    measured: Collection[date],
    judged: Collection[date],
    accepted: Accepted,
    units: Mapping[str, str] | None = None,
) -> Judged:
    """Measure the days ``measured`` of the profiles ``found``, each by those before it, and judge some of them.

    ``accepted`` are what persons have let through, ``units`` those of features, as dbt's metadata names them. Where a
    day stops, nothing of ``Judged.profiles`` may be published.
    """
    past = _Past(found, units or {})
    result = Judged(found.clear(), pl.DataFrame())
    scores: list[dict[str, Any]] = []
    for at, day in enumerate(past.days):
        if day not in measured:
            continue
        before = past.before(at)
        past.measure(at, before)
        if day not in judged:
            continue
        verdict = _Verdict(past, at, before)
        faults = list(verdict.faults(accepted))
        let_through = [one for one, stops, is_accepted in faults if is_accepted]
        stopped = [one for one, stops, is_accepted in faults if stops and not is_accepted]
        # Of what stops, nothing is published. The days after it are judged as if it had been accepted, so that a person
        # hears of all of them at once, and of what goes on for a month on its first day.
        past.accepted[at] = np.isin(past.names, [one.feature for one in (*let_through, *stopped)])
        result.faults += stopped
        result.accepted += let_through
        result.told += [one for one, stops, is_accepted in faults if not stops and not is_accepted]
        scores.append({DAY: day} | verdict.scores({one.feature for one in let_through}))
    result.profiles = past.with_changes(found).filter(pl.col(DAY).is_in(list(measured)))
    result.scores = pl.DataFrame(scores, schema={DAY: pl.Date(), **dict.fromkeys(past.names, pl.Float64())})
    return result


class _Past:
    """Profiles as arrays: days × features, and by aspect how far each was from those before it."""

    def __init__(self, found: pl.DataFrame, units: Mapping[str, str]) -> None:
        self.days: list[date] = found[DAY].unique().sort().to_list()
        self.names: list[str] = found["feature"].unique(maintain_order=True).to_list()
        # The share of what is the same unit.
        self.units = np.array([re.sub(r"^share of .*", "share", units.get(name, "")) for name in self.names])
        self.day = found[DAY].rank("dense").to_numpy().astype(np.intp) - 1
        self.feature = found["feature"].replace_strict(self.names, range(len(self.names))).to_numpy().astype(np.intp)
        self.rows, self.nulls, self.distinct, self.top, self.lowest, self.highest = (
            self._array(found[name]) for name in ("rows", "nulls", "distinct", "top", "lowest", "highest")
        )
        self.filled: Bools = self.distinct > 0
        with np.errstate(invalid="ignore", divide="ignore"):
            self.missing = self.nulls / self.rows
            self.top_share = self.top / (self.rows - self.nulls)
            self.size = np.log(np.where(self.filled, self.distinct, np.nan))
        self.shape = np.full((*self.rows.shape, len(profiles.QUANTILES)), np.nan)
        has_shape = found["quantiles"].is_not_null().to_numpy()
        self.shape[self.day[has_shape], self.feature[has_shape]] = _matrix(found["quantiles"].drop_nulls())
        self.shares = dict(self._shares(found))
        self._list_values(found)
        self.related, self.relations = self._relations(found)
        self.changes = {name: self._array(found[f"{name}_change"]) for name in profiles.ASPECTS}
        self.accepted: Bools = np.nan_to_num(self._array(found["accepted"].cast(pl.Float64))) > 0
        self.facts = np.dstack([self.shape, self.lowest, self.highest, self.distinct])
        self.ordinal = np.array([day.toordinal() for day in self.days])

    def _array(self, values: pl.Series) -> Floats:
        found = np.full((len(self.days), len(self.names)), np.nan)
        found[self.day, self.feature] = values.cast(pl.Float64).to_numpy()
        return found

    def _shares(self, found: pl.DataFrame) -> Iterator[tuple[int, Floats]]:
        """Of each category the share that each level has on each day: days × levels."""
        listed = (
            found.with_columns(_day=self.day, _feature=self.feature)
            .filter(pl.col("levels").is_not_null())
            .select("_day", "_feature", "levels", "counts", filled=pl.col("rows") - pl.col("nulls"))
            .explode("levels", "counts")
        )
        for (feature,), own in listed.group_by("_feature"):
            _, level = np.unique(own["levels"].to_numpy(), return_inverse=True)
            shares = np.where(self.filled[:, [int(feature)]], 0.0, np.nan).repeat(level.max() + 1, axis=1)
            shares[own["_day"].to_numpy(), level] = (own["counts"] / own["filled"]).to_numpy()
            yield int(feature), shares

    def _list_values(self, found: pl.DataFrame) -> None:
        """The different values of all days, where they are listed: three arrays, in the order of days."""
        named = found.select(
            "feature",
            day=self.day,
            place=self.feature,
            value=pl.coalesce(pl.col("values").cast(pl.List(pl.String)), "levels"),
        )
        listed = named.filter(pl.col("value").is_not_null())
        self.is_listed: Bools = np.zeros(self.rows.shape, bool)
        self.is_listed[listed["day"].to_numpy(), listed["place"].to_numpy()] = True
        each = listed.explode("value").sort("day")
        self.value_day, self.value_feature = (each[name].to_numpy().astype(np.intp) for name in ("day", "place"))
        self.value = each.select(pl.struct("place", "value").rank("dense"))["place"].to_numpy().astype(np.intp) - 1
        self.number = each["value"].cast(pl.Float64, strict=False).to_numpy()
        self.values = int(self.value.max(initial=-1)) + 1

    def _relations(self, found: pl.DataFrame) -> tuple[Places, Floats]:
        """The columns of which it is known how each goes with each other, and that: days × those × those, else NaN."""
        listed = found.select("feature", "beside", "relations", day=self.day).drop_nulls("beside")
        groups = list(listed.group_by("beside"))
        there = {name for (beside,), _ in groups for name in beside}
        known = [name for name in self.names if name in there]
        places = {name: place for place, name in enumerate(known)}
        relations = np.full((len(self.days), len(known), len(known)), np.nan)
        for (beside,), own in groups:
            other = np.array([places.get(name, -1) for name in beside], np.intp)
            here = own["feature"].replace_strict(places).to_numpy().astype(np.intp)
            of = _matrix(own["relations"])[:, other >= 0]
            relations[own["day"].to_numpy()[:, None], here[:, None], other[other >= 0]] = of
        return np.array([self.names.index(name) for name in known], np.intp), relations

    def before(self, at: int, gap: int = 1) -> Places:
        """The days before that one, of the last ``WINDOW_DAYS``, that end ``gap`` days before it."""
        days = self.ordinal[at] - self.ordinal[:at]
        return np.flatnonzero((days >= gap) & (days <= WINDOW_DAYS))

    def measure(self, at: int, before: Places) -> None:
        """Work out how far the day ``at`` is from the days ``before``, for the table."""
        for name, change in self.change(at, before).items():
            self.changes[name][at] = change

    def changes_of(self, days: Places, gap: int) -> dict[str, Floats]:
        """How far each of ``days`` was from those before it, which end ``gap`` days before: days × features.

        Where a night or more is missing, a day has more time to change; and so it had in the past.
        """
        if gap <= 1:
            return {name: of[days] for name, of in self.changes.items()}
        found = [self.change(at, self.before(at, gap)) for at in days]
        return {name: np.array([one[name] for one in found]).reshape(-1, len(self.names)) for name in self.changes}

    def change(self, at: int, before: Places) -> dict[str, Floats]:
        """How far the day ``at`` is from the days ``before``, in each aspect; NaN where nothing tells it."""
        found = {name: np.full(len(self.names), np.nan) for name in self.changes}
        if len(before) < LEAST_RECENT:
            return found
        recent = before[-RECENT_DAYS:]
        week = before[self.ordinal[before] == self.ordinal[at] - WEEK]
        columns, last = np.arange(len(self.names)), self.last_of(recent)
        begins = self.begins(before)
        is_past, was_week = recent[:, None] >= begins, week[:, None] >= begins

        def nearest(values: Floats, of_last: Places) -> Floats:
            usual, weekly = _median(_where(is_past, values[recent])), _where(was_week, values[week])
            others = [usual, values[of_last, columns], *weekly]
            return np.asarray(np.fmin.reduce([np.abs(values[at] - one) for one in others]))

        found["missing"] = nearest(self.missing, np.full(len(columns), recent[-1]))
        # A column that never had anything begins to be.
        found["missing"][~self.filled[before].any(axis=0)] = np.nan
        found["distinct"] = nearest(self.size, last)
        found["top"] = nearest(self.top_share, last)
        shape = self.shape
        others = [np.abs(shape[at] - one).mean(axis=1) for one in self.compared_with(at, before)]
        found["shape"] = np.fmin.reduce(others)
        if len(week):
            found["weekly"] = others[-1]
        has_few = self.has_few(before)
        low = np.where(has_few, self.lowest_of(before), self.lowest_of(recent))
        high = np.where(has_few, self.highest_of(before), self.highest_of(recent))
        outside = np.fmax(low[:, None] - shape[at], 0) + np.fmax(shape[at] - high[:, None], 0)
        found["beyond"] = outside.mean(axis=1)
        for feature, shares in self.shares.items():
            own, its_week = is_past[:, [feature]], was_week[:, [feature]]
            usual = _median(_where(own, shares[recent]))
            of = [usual, shares[last[feature]], *_where(its_week, shares[week])]
            apart = [np.abs(shares[at] - one).sum() / 2 for one in of]
            found["shape"][feature] = np.fmin.reduce(apart)
            if len(week):
                found["weekly"][feature] = apart[-1]
        return found

    def last_of(self, recent: Places) -> Places:
        """Of each column the last of these days on which it had any value."""
        return np.asarray(recent[len(recent) - 1 - np.argmax(self.filled[recent][::-1], axis=0)])

    def begins(self, before: Places) -> Places:
        """With which day the past of each column begins: the last that a person has accepted."""
        return np.where(self.accepted[before], before[:, None], 0).max(axis=0, initial=0)

    def compared_with(self, at: int, before: Places) -> list[Floats]:
        """What the quantiles of the day ``at`` are compared with: what is usual, the last day, and a week before."""
        recent, begins = before[-RECENT_DAYS:], self.begins(before)
        week = before[self.ordinal[before] == self.ordinal[at] - WEEK]
        was = _where(recent[:, None] >= begins, self.shape[recent]).reshape(len(recent), -1)
        last = self.shape[self.last_of(recent), np.arange(len(self.names))]
        weekly = _where(week[:, None] >= begins, self.shape[week])
        return [_median(was).reshape(self.shape.shape[1:]), last, *weekly]

    def lowest_of(self, before: Places) -> Floats:
        """The lowest value of any of these days; NaN where there is none."""
        return np.asarray(np.fmin.reduce(self.lowest[before], initial=np.nan))

    def highest_of(self, before: Places) -> Floats:
        """The highest value of any of these days; NaN where there is none."""
        return np.asarray(np.fmax.reduce(self.highest[before], initial=np.nan))

    def has_few(self, before: Places, fewer: int = LEAST_VALUES) -> Bools:
        """Which columns usually have fewer than ``fewer`` values a day."""
        if not len(before):
            return np.zeros(len(self.names), bool)
        return np.asarray(_median(self.distinct[before[-RECENT_DAYS:]]) < fewer)

    def spread(self, before: Places) -> Floats:
        """The range that each number's values have on most days; 1 where they are all one, and of a category."""
        if not len(before):
            return np.ones(len(self.names))
        low = profiles.quantiles(np.sort(self.lowest[before], axis=0), np.array([0.05]))[0]
        high = profiles.quantiles(np.sort(self.highest[before], axis=0), np.array([0.95]))[0]
        return np.where(high > low, high - low, 1.0)

    def with_changes(self, found: pl.DataFrame) -> pl.DataFrame:
        """``found`` with what has been measured."""
        place = (self.day, self.feature)
        return found.with_columns(
            pl.Series("accepted", self.accepted[place]),
            *(pl.Series(f"{name}_change", of[place]).fill_nan(None) for name, of in self.changes.items()),
        )


class _Verdict:
    """One day beside those before it: what it is at fault in, and whether enough is known to stop it."""

    def __init__(self, past: _Past, at: int, before: Places) -> None:
        self.past, self.at, self.before = past, at, before
        scale = before[-SCALE_DAYS:]
        self.spread = past.spread(before)
        self.change: dict[str, Floats] = {}
        self.usual: dict[str, Floats] = {}
        self.ratio: dict[str, Floats] = {}
        self.is_known: dict[str, Bools] = {}
        self.twin: dict[int, int] = {}
        has_few = past.has_few(before)
        gap = int(past.ordinal[at] - past.ordinal[before[-1]]) if len(before) else LONG_GAP + 1
        is_near, of_scale = gap <= LONG_GAP, past.changes_of(scale, gap)
        # What a person has accepted is no measure of what sound days do, but of the week that follows it: until each
        # weekday has been once.
        set_aside = past.accepted[scale] & (past.ordinal[scale] < past.ordinal[at] - WEEK)[:, None]
        for name, aspect in ASPECTS.items():
            range_ = self.spread if name in OF_RANGE else 1.0
            self.change[name] = past.changes[name][at] / range_
            of_past = np.where(set_aside, np.nan, of_scale[name]) / range_
            most = np.fmax.reduce(of_past, initial=0.0) if len(scale) else np.zeros(len(past.names))
            number = np.count_nonzero(~np.isnan(of_scale[name]), axis=0)
            least = np.full(len(past.names), aspect.least)
            if name in OF_RANGE:
                least[list(past.shares)] = LEAST_OF_LEVELS
            if name == "beyond":
                least[has_few] = LEAST_OUTSIDE
            self.usual[name] = np.fmax(most, least)
            limit = aspect.limit * np.where(has_few, FEW_VALUES, 1.0) if name in OF_RANGE else aspect.limit
            self.ratio[name] = np.where(number >= LEAST_RECENT, self.change[name] / (limit * self.usual[name]), np.nan)
            self.is_known[name] = (number >= LEAST_JUDGED) & is_near
        # Only of what is the same each week is another week news.
        self.ratio["weekly"][self.usual["weekly"] > ASPECTS["weekly"].least] = np.nan  # nor of a category
        # A column that has had one value on all days begins to have others.
        for name in OF_RANGE:
            self.ratio[name][self.was_one()] = np.nan
        is_long = np.full(len(past.names), len(before) >= LEAST_JUDGED and is_near)
        for name, surprise in ((UNSEEN, self.unseen()), (STUCK, self.stuck()), (SINGLE, self.single())):
            self.change[name], self.ratio[name], self.is_known[name] = surprise, surprise / SURPRISE, is_long
        self.convert()
        self.change[RELATED], least, self.partner = self.exchanged()
        self.ratio[RELATED], self.is_known[RELATED] = self.change[RELATED] / least, is_long
        for name, is_so in self.certain().items():
            self.change[name], self.ratio[name] = np.where(is_so, 1.0, np.nan), np.where(is_so, CERTAIN, np.nan)
            self.is_known[name] = np.full(len(past.names), True)
        self.spare_the_copied()

    def spare_the_copied(self) -> None:
        """Of two columns that are the same, where only one is unlike itself: that one is the copy."""
        others = [np.where(of > 1, 1.0, 0.0) for name, of in self.ratio.items() if name != COPIED]
        is_odd = np.fmax.reduce(others) > 0
        for one, other in self.twin.items():
            if is_odd[other] and not is_odd[one]:
                self.change[COPIED][one] = self.ratio[COPIED][one] = np.nan

    def was_one(self) -> Bools:
        """Which columns have had a single value, the same on all days before."""
        past, before = self.past, self.before
        if not len(before):
            return np.zeros(len(past.names), bool)
        return np.asarray(np.fmin.reduce(past.lowest[before]) == np.fmax.reduce(past.highest[before]))

    def certain(self) -> dict[str, Bools]:
        """What a few weeks of past are enough for."""
        past, at, before = self.past, self.at, self.before
        was_filled = past.filled[before].all(axis=0) & (len(before) >= LEAST_RECENT)
        least = np.fmin.reduce(past.distinct[before]) if len(before) else np.zeros(len(past.names))
        low, is_known = past.lowest_of(before), len(before) >= LEAST_JUDGED
        is_rare = (self.share_of_days() <= RARELY) & is_known
        return {
            EMPTY: was_filled & ~past.filled[at] & (past.missing[at] == 1),
            TINY: is_known
            & (past.lowest[at] > 0)
            & (past.highest[at] < TENTH * low)
            & (low - past.highest[at] > LEAST_BELOW * self.spread),
            CONSTANT: was_filled & (past.distinct[at] == 1) & ((least >= LEAST_VALUES) | ((least > 1) & is_rare)),
            COPIED: self.copied(),
        }

    def share_of_days(self) -> Floats:
        """Of each column the share of days that had its most common value of this day; 1 where not all are listed."""
        past, before = self.past, self.before
        found = np.zeros(len(past.names))
        if not len(before):
            return found
        times, today = self.times(), past.value_day == self.at
        np.maximum.at(found, past.value_feature[today], times[past.value[today]] / len(before))
        return np.where(past.is_listed[before].all(axis=0), found, 1.0)

    def times(self) -> Places:
        """On how many of the days before each value was there."""
        past = self.past
        counts = np.zeros(len(past.days), bool)
        counts[self.before] = True
        return np.bincount(past.value[counts[past.value_day]], minlength=past.values)

    def chance_of_new(self) -> Floats:
        """How likely a value of each column is one that no day before had: the share of what was seen a single time.

        That is the estimate of Good and Turing. NaN for a column that has too many values on some days to list them.
        """
        past, before, times = self.past, self.before, self.times()
        number, place = len(past.names), np.zeros(past.values, np.intp)
        place[past.value] = past.value_feature
        seen = np.bincount(place, weights=times, minlength=number)
        once = np.bincount(place, weights=times == 1, minlength=number)
        always = (past.is_listed[before] | ~past.filled[before]).all(axis=0)
        enough = np.count_nonzero(past.is_listed[before], axis=0) >= LEAST_RECENT
        return np.where(always & enough, np.minimum((once + 1) / (seen + 1), 1.0), np.nan)

    def unseen(self) -> Floats:
        """How unlikely so many values are that no day before had, as -log10 of the probability; 0 where none is new."""
        past, times, chance = self.past, self.times(), self.chance_of_new()
        today = past.value_day == self.at
        of_today = past.value_feature[today]
        here = np.bincount(of_today, minlength=len(past.names))
        new = np.bincount(of_today, weights=times[past.value[today]] == 0, minlength=len(past.names))
        together = np.minimum(here, TOGETHER)
        independent = np.floor(together * new / np.maximum(here, 1) + 1e-9)
        found = np.zeros(len(past.names))
        for one in np.flatnonzero(~np.isnan(chance) & (independent > 0)):
            found[one] = -np.log10(at_least(int(independent[one]), int(together[one]), float(chance[one])))
            if found[one] <= SURPRISE and chance[one] <= MOSTLY_NEW and one not in past.shares:
                found[one] += self.fits(int(one))
        return found

    def fits(self, feature: int) -> float:
        """How unlikely it is, as -log10, that a conversion makes all values of the day ones that days before had.

        By on how many of the days before one would have; 0 where none does.
        """
        past = self.past
        first = self.before[0] if len(self.before) else self.at
        own = (past.value_feature == feature) & (past.value_day >= first) & (past.value_day <= self.at)
        day, value = past.value_day[own], past.number[own]
        seen = np.unique(value[np.isin(day, self.before)])
        unit = past.units[feature]
        tried = np.flatnonzero((unit == OF_UNIT) if unit in OF_UNIT and unit else OF_UNIT != "")
        back = (value - PLUS[tried, 0]) / TIMES[tried, 0]
        place = np.clip(np.searchsorted(seen, back), 1, len(seen) - 1)
        apart = np.minimum(np.abs(back - seen[place - 1]), np.abs(seen[place] - back))
        is_off = apart > SAME * self.spread[feature]
        off = np.array([np.bincount(day, one, len(past.days)) for one in is_off])
        fitting = (off == 0).any(axis=0)
        if not fitting[self.at]:
            return 0.0
        days = self.before[past.is_listed[self.before, feature]]
        return float(-np.log10((fitting[days].sum() + 1) / (len(days) + 1)))

    def stuck(self) -> Floats:
        """How unlikely it is that a column is to the last digit as the day before, as -log10; 0 where it is not.

        Asked only of what has values that are new on most days: a mean of dry days may stay 0, and a fleet has the same
        seats. A single value a day may well be the same again, and a mean of a week again and again where nothing
        comes and nothing goes: of it, by on how many days it was, and how often on the day after such a day. None is 0.
        """
        past, at, before, facts = self.past, self.at, self.before, self.past.facts
        if not len(before):
            return np.zeros(len(past.names))
        same = (facts[before] == facts[at]).all(axis=2)
        run = np.where(same.all(axis=0), 0, np.argmin(same[::-1], axis=0))
        repeated = (facts[before][1:] == facts[before][:-1]).all(axis=2)
        chance = (np.count_nonzero(repeated, axis=0) - np.maximum(run - 1, 0) + 1) / (len(before) + 1)
        together = np.minimum(np.nan_to_num(past.distinct[at]), TOGETHER)
        is_asked = (together > 0) & (self.chance_of_new() > MOSTLY_NEW) & ~self.was_one()
        found = np.where(is_asked, -np.log10(np.clip(chance, 1e-12, 1.0)) * run * together, 0.0)
        for one in np.flatnonzero(is_asked & (together == 1) & (run > 0)):
            found[one] = 0.0 if past.lowest[at, one] == 0 else _surprise_of_run(repeated[:, one])
        return found

    def single(self) -> Floats:
        """How unlikely it is that a column has one value in all rows once more, as -log10; 0 where it has not.

        By on how many days before it had, and how often on the day after such a day.
        """
        past, before = self.past, self.before
        found = np.zeros(len(past.names))
        if len(before) >= LEAST_JUDGED:
            for one in np.flatnonzero((past.distinct[self.at] == 1) & (past.distinct[before] > 1).any(axis=0)):
                found[one] = _surprise_of_run(past.distinct[before[past.filled[before, one]], one] == 1)
        return found

    def convert(self) -> None:
        """Ask of each column whether a known conversion makes its values usual again, and they are not as they are.

        Of what has few values a day no factor is asked that lies between a half and two: a strong wind is half as much
        again as a usual one, and in no other unit. What has a single one has to lie ``FEW_VALUES`` times as far.
        """
        past, at, before = self.past, self.at, self.before
        moved, usual = self.change["shape"], np.fmax(self.usual["shape"], KNOWN.least)
        ratio = np.full(len(past.names), np.nan)
        if len(before) >= LEAST_RECENT:
            back = (past.shape[at] - PLUS) / TIMES
            off = np.full((len(CONVERSIONS), len(past.names)), np.nan)
            for one in past.compared_with(at, before):
                apart = np.abs(back - one).mean(axis=2)
                # Where there is next to nothing, a hundredth of it is near, and is no percent of it.
                is_near = apart <= MOST_OFF * np.abs(one).mean(axis=1)
                off = np.fmin(off, np.where(is_near, apart / self.spread, np.nan))
            whole = (past.shape[at] % 1 == 0).mean(axis=1) > MOSTLY_NEW
            is_tried = (OF_UNIT[:, None] == past.units) & (past.units != "") | IS_INDEX[:, None] & whole
            is_tried &= ~(IS_SMALL[:, None] & past.has_few(before))
            fits = (is_tried & (off <= self.usual["shape"]) & (CLEARLY * off <= moved)).any(axis=0)
            limit = KNOWN.limit * np.where(past.has_few(before, 2), FEW_VALUES, 1.0)
            ratio = np.where(fits, moved / (limit * usual), np.nan)
        self.change[CONVERTED], self.usual[CONVERTED] = np.where(np.isnan(ratio), np.nan, moved), usual
        self.ratio[CONVERTED], self.is_known[CONVERTED] = ratio, self.is_known["shape"]

    def exchanged(self) -> tuple[Floats, Floats, Places]:
        """Of each column how much likelier the day is, as log10, if it and another one have changed places.

        By how they go with all other columns, on this day and on those before. A pair is asked only where each day
        before was likelier as it was; the limit is as much as the least clear of them, and ``SURPRISE`` at least.
        Returns with it that limit and the other column.
        """
        past, at, before = self.past, self.at, self.before
        number = len(past.names)
        found, limit, partner = np.full(number, np.nan), np.full(number, SURPRISE), np.zeros(number, np.intp)
        scale, today = before[-SCALE_DAYS:], past.relations[at]
        here = np.flatnonzero(~np.isnan(np.diagonal(today)) & past.filled[before][:, past.related].any(axis=0))
        asked = past.related[here]
        if len(scale) < LEAST_JUDGED or len(asked) < 2:
            return found, limit, partner
        relations = past.relations[scale][:, here][:, :, here]
        flat = relations[-RECENT_DAYS:].reshape(min(RECENT_DAYS, len(scale)), -1)
        usual = _median(flat).reshape(len(asked), len(asked))
        scatter = np.sqrt(_mean((relations - usual) ** 2)) + LEAST_SCATTER
        begins = past.begins(before)[asked]
        now = today[np.ix_(here, here)]
        # One after the other: what goes with two that are exchanged looks as if it were, until they are put right.
        for _ in range(MOST_EXCHANGES):
            clear = _all_exchanges(now, usual, scatter)
            pairs = np.argwhere(np.triu(clear, 1) > SURPRISE)
            for one, other in pairs[np.argsort(-clear[tuple(pairs.T)])].tolist():
                own = relations[scale >= max(begins[one], begins[other])]
                own = own[~np.isnan(own[:, one, one] + own[:, other, other])]
                least = -_exchange(own, usual, scatter, one, other).max(initial=-np.inf)
                if len(own) >= LEAST_JUDGED and least > 0 and self.may_be(asked[one], asked[other]):
                    break
            else:
                break
            for here, there in ((one, other), (other, one)):
                found[asked[here]], limit[asked[here]] = clear[one, other], max(SURPRISE, least)
                partner[asked[here]] = asked[there]
            order = np.arange(len(asked))
            order[[one, other]] = other, one
            now = now[np.ix_(order, order)]
        return found, limit, partner

    def may_be(self, one: int, other: int) -> bool:
        """Whether the values of two columns lie where each other's usually do: else each by itself shows it."""
        past, limit = self.past, ASPECTS["shape"].limit * FEW_VALUES
        for here, there in ((one, other), (other, one)):
            today = past.shape[self.at, here]
            apart = [np.abs(today - ref[there]).mean() for ref in past.compared_with(self.at, self.before)]
            if not np.fmin.reduce(apart) / self.spread[there] <= limit * self.usual["shape"][there]:
                return False
        return True

    def copied(self) -> Bools:
        """Which columns have the values of another one, as on no day before.

        Asked only where there are several values, or where those of one of the two are new on most days. Two that have
        one value a day have the same one now and then: of them, by on how many days, and for how many nights on end.
        """
        past, before = self.past, self.before
        found = np.zeros(len(past.names), bool)
        if len(before) < LEAST_JUDGED:
            return found
        facts, missing = past.facts[self.at], past.missing[self.at]
        is_number = past.filled[self.at] & ~np.isnan(facts).any(axis=1)
        is_zero = (past.lowest[self.at] == 0) & (past.highest[self.at] == 0)
        is_telling = (past.distinct[self.at] >= LEAST_VALUES) | (self.chance_of_new() > MOSTLY_NEW)
        asked = np.flatnonzero(is_number & ~is_zero)
        _, group = np.unique(np.column_stack([facts, missing])[asked], axis=0, return_inverse=True)
        for alike in np.flatnonzero(np.bincount(group) > 1):
            for one, other in combinations(asked[group == alike], 2):
                was = (past.facts[before, one] == past.facts[before, other]).all(axis=1)
                is_single = past.distinct[self.at, one] == 1
                is_news = _surprise_of_run(was) > SURPRISE if is_single else not was.any()
                if is_news and (is_telling[one] or is_telling[other]):
                    found[[one, other]] = True
                    self.twin |= {one: other, other: one}
        return found

    def scores(self, accepted: Collection[str]) -> dict[str, float | None]:
        """Of each feature how far it is, as a share of what stops; of what stops nothing less than 1."""
        worst: Floats = np.fmax.reduce([np.where(self.is_known[name], of, np.nan) for name, of in self.ratio.items()])
        return {
            name: None if np.isnan(score) else min(score, 1.0) if name in accepted else float(score)
            for name, score in zip(self.past.names, worst.tolist(), strict=True)
        }

    def faults(self, accepted: Accepted) -> Iterator[tuple[Fault, bool, bool]]:
        """What differs: with each, whether it stops, and whether a person has let it through."""
        past, day = self.past, self.past.days[self.at]
        for feature, name in enumerate(past.names):
            beyond = [aspect for aspect, of in self.ratio.items() if of[feature] > 1]
            stops = [aspect for aspect in beyond if self.is_known[aspect][feature]]
            if not beyond:
                continue
            changes = {aspect: float(self.change[aspect][feature]) for aspect in stops or beyond}
            kind = self.kind(feature, changes)
            fault = Fault(day, name, kind, changes, self.said(feature, kind, changes))
            yield fault, bool(stops), bool(stops) and fault.is_within(accepted.get((day, name), {}))

    def said(self, feature: int, kind: str, changes: Mapping[str, float]) -> str:
        past = self.past
        why = "; ".join(
            WORDS[aspect].format(change=change, usual=self.usual[aspect][feature] if aspect in ASPECTS else 0.0)
            for aspect, change in changes.items()
        )
        filled = self.before[past.filled[self.before, feature]]
        then = f"on {past.days[filled[-1]]} {self.shown(filled[-1], feature)}" if len(filled) else "never any"
        return (
            f"{past.names[feature]} {past.days[self.at]}: {kind}. It was {then}, and is "
            f"{self.shown(self.at, feature)}. By {len(self.before)} days: {why}"
        )

    def shown(self, at: int, feature: int) -> str:
        """The figures of a column on one day."""
        past = self.past
        share = past.missing[at, feature]
        if not past.filled[at, feature]:
            return "empty"
        nulls = f", {share:.1%} null" if share else ""
        number = int(past.distinct[at, feature])
        values = f"{number} value{'s' if number > 1 else ''}"
        if feature in past.shares:
            return f"{values}, the most frequent {past.top_share[at, feature]:.1%} of the rows{nulls}"
        ends = f"{past.lowest[at, feature]:.4g} to {past.highest[at, feature]:.4g}"
        return f"{ends}, mean {past.shape[at, feature].mean():.4g}, {values}{nulls}"

    def kind(self, feature: int, changes: Mapping[str, float]) -> str:
        """What a fault looks like, in a few words."""
        past, at = self.past, self.at
        if not past.filled[at, feature]:
            return "empty"
        was = past.distinct[self.before, feature]
        if past.distinct[at, feature] == 1 and np.nanmedian(was) > 1:
            return "constant"
        if set(changes) == {"missing"}:
            return "nulls"
        if set(changes) == {STUCK}:
            return "stuck"
        if COPIED in changes:
            return f"another column's values, the same as of {past.names[self.twin[feature]]}"
        if RELATED in changes:
            return f"another column's values, as if of {past.names[self.partner[feature]]}"
        if feature not in past.shares and (like := self.looks_like(feature)):
            return like
        return "values never seen" if UNSEEN in changes else "other values"

    def looks_like(self, feature: int) -> str:
        """A conversion by which the values are those of before, or another column whose values they are."""
        past, recent = self.past, self.before[-RECENT_DAYS:]
        today, spread = past.shape[self.at, feature], self.spread
        usual = _median(past.shape[recent].reshape(len(recent), -1)).reshape(past.shape.shape[1:])
        # By the change that a column of this spread has, from one sound day to the next at most.
        apart = np.abs(usual - today).mean(axis=1) / spread / self.usual["shape"]
        own = apart[feature]
        converted: dict[str, float] = {}
        is_whole, unit = (today % 1 == 0).mean() > MOSTLY_NEW, past.units[feature]
        for (words, (of, times, plus)), is_index in zip(CONVERSIONS.items(), IS_INDEX, strict=True):
            if (is_index and not is_whole) or (of and unit and of != unit):
                continue
            for before in (usual[feature], past.shape[recent[-1], feature]):
                off = np.abs(today - (before * times + plus)).mean() / (spread[feature] * abs(times))
                converted[words] = min(converted.get(words, np.inf), float(off / self.usual["shape"][feature]))
        units = sorted(converted, key=converted.__getitem__)
        best, words = converted[units[0]], f"another unit or scale, as if from {units[0]}"
        # Where several are as near as sound days are to each other, no day can tell which it is.
        if others := [one for one in units[1:3] if converted[one] <= 1]:
            words += f" (or {', or '.join(others)})"
        apart[feature] = np.nan
        if not np.isnan(apart).all() and apart[nearest := int(np.nanargmin(apart))] < best:
            best, words = apart[nearest], f"another column's values, as if of {past.names[nearest]}"
        return words if best < min(own / CLEARLY, ASPECTS["shape"].limit) else ""


def at_least(number: int, of: int, chance: float) -> float:
    """The probability that ``number`` or more of so many independent things happen, each with ``chance``."""
    return sum(comb(of, k) * chance**k * (1 - chance) ** (of - k) for k in range(number, of + 1))


def _surprise_of_run(was: Bools) -> float:
    """How unlikely it is that something is so once more, as -log10, by on which days before it was."""
    run = int(np.argmin(was[::-1])) if not was.all() else len(was)
    known = was[: len(was) - run]
    again = np.count_nonzero(known[1:] & known[:-1])
    # Of what never was, nobody knows how long it stays; one more night in three is what it is taken to do.
    first, next_ = (known.sum() + 1) / (len(known) + 1), (again + 1) / (known.sum() + 3)
    return float(-np.log10(first) - run * np.log10(next_))


def _all_exchanges(today: Floats, usual: Floats, scatter: Floats) -> Floats:
    """``_exchange`` of each pair of columns: columns × columns."""
    odd = _oddity(today, usual[:, None], scatter[:, None])  # column, whose relations, with which
    each = np.arange(len(today))
    odd[each, :, each], odd[:, each, each] = 0.0, 0.0
    own = odd[each, each].sum(axis=1)[:, None] - odd[each, each]
    other = odd.sum(axis=2)
    return np.asarray((own + own.T - other - other.T) / TO_LOG10)


def _exchange(days: Floats, usual: Floats, scatter: Floats, one: int, other: int) -> Floats:
    """How much likelier each of ``days`` × columns × columns is with the two columns exchanged, as log10."""
    both, swapped = [one, other], [other, one]
    by = np.delete(np.arange(len(usual)), both)
    place = np.ix_(both, by)
    own = _oddity(days[:, both][:, :, by], usual[place], scatter[place])
    exchanged = _oddity(days[:, swapped][:, :, by], usual[place], scatter[place])
    return np.asarray((own - exchanged).sum(axis=(1, 2)) / TO_LOG10)


TO_LOG10 = 2 * log(10)
"""Squares of deviations are twice the natural logarithm of a likelihood."""


def _oddity(relations: Floats, usual: Floats, scatter: Floats) -> Floats:
    return np.nan_to_num(np.minimum(((relations - usual) / scatter) ** 2, MOST_ODD))


def _mean(values: Floats) -> Floats:
    """Over days, of those that are known; NaN where none is."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0.0).sum(axis=0) / known.sum(axis=0))


def _where(mask: Bools, values: Floats) -> Floats:
    """``values`` of days × columns (× quantiles), NaN where the ``mask`` of days × columns is false."""
    return np.where(mask[..., None] if values.ndim > mask.ndim else mask, values, np.nan)


def _median(values: Floats) -> Floats:
    """Of each column of days × columns; NaN where it has none."""
    return profiles.quantiles(np.sort(values, axis=0), np.array([0.5]))[0]


def _matrix(lists: pl.Series) -> Floats:
    return lists.explode().to_numpy().reshape(len(lists), -1) if len(lists) else np.empty((0, len(profiles.QUANTILES)))


def window(days: Sequence[date]) -> tuple[date, date]:
    """The first and the last day whose profiles the judgement of ``days`` needs."""
    return min(days) - timedelta(WINDOW_DAYS), max(days)
