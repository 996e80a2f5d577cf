"""Faults: what shows on one day, column by column, that something before the features is broken.

A day's profile (``include/quality/profiles.py``) is compared with that of the day before, that of the day a week before
and what is usual of the last four weeks; the nearest of these counts, so that weekends, weather and the season are no
news. How far sound days lie from each other is known of each column from its own past: a day is at fault where it lies
several times as far as any of the last 120. That needs neither a model nor a champion. How often it is right:
docs/faults-at-the-gate.md.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import comb
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
LEAST_OF_LEVELS = 0.05
"""Where so much of the rows of a category has another level, that is as good as equal."""
OF_RANGE = ("shape", "beyond", "weekly")
"""What is stored in the unit of its column, and compared and told as a share of the range that the column has."""
UNSEEN, STUCK, EMPTY, CONSTANT, TINY = "unseen", "stuck", "empty", "constant", "tiny"
SURPRISE = 4.5
"""The limit of what is told by a probability, as -log10 of it: once in thirty thousand days of a column."""
MOSTLY_NEW = 0.5
"""Of a column whose values are new more often than this, the same values again are news."""

WORDS = {name: aspect.words for name, aspect in ASPECTS.items()} | {
    UNSEEN: "it has values that no day before had (by chance once in 10^{change:.0f} days)",
    STUCK: "it is to the last digit what it was on the day before, as no day was (by chance once in 10^{change:.0f})",
    EMPTY: "it was empty on no day before",
    CONSTANT: "it had several values on every day before",
    TINY: "all of it is below a tenth of the lowest value of any day before",
}

CONVERSIONS = {
    "°F to °C": (1 / 1.8, -32 / 1.8),
    "°C to °F": (1.8, 32.0),
    "miles to kilometres": (1.609344, 0.0),
    "kilometres to miles": (1 / 1.609344, 0.0),
    "miles an hour to metres a second": (0.44704, 0.0),
    "metres a second to miles an hour": (1 / 0.44704, 0.0),
    "inches to millimetres": (25.4, 0.0),
    "millimetres to inches": (1 / 25.4, 0.0),
    "millibars to inches of mercury": (0.02953, 0.0),
    "shares to percent": (100.0, 0.0),
    "percent to shares": (0.01, 0.0),
    "hours to minutes, or minutes to seconds": (60.0, 0.0),
    "minutes to hours, or seconds to minutes": (1 / 60, 0.0),
    "years to months": (12.0, 0.0),
    "a thousand times": (1000.0, 0.0),
    "a thousandth": (0.001, 0.0),
    "the other sign": (-1.0, 0.0),
}
"""What a column's values are often turned into by mistake: times, plus."""

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


def judge(found: pl.DataFrame, measured: Collection[date], judged: Collection[date], accepted: Accepted) -> Judged:
    """Measure the days ``measured`` of the profiles ``found``, each by those before it, and judge some of them.

    ``accepted`` are what persons have let through. Where a day stops, nothing of ``Judged.profiles`` may be published.
    """
    past = _Past(found)
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

    def __init__(self, found: pl.DataFrame) -> None:
        self.days: list[date] = found[DAY].unique().sort().to_list()
        self.names: list[str] = found["feature"].unique(maintain_order=True).to_list()
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
        self.values = int(self.value.max(initial=-1)) + 1

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
        columns = np.arange(len(self.names))
        # Of what is told of values, the day before is the last one that had any.
        filled = self.filled[recent]
        last = recent[len(recent) - 1 - np.argmax(filled[::-1], axis=0)]

        # Where a person has accepted a day, a column's past begins with it.
        begins = np.where(self.accepted[before], before[:, None], 0).max(axis=0)
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
        usual = _median(_where(is_past, shape[recent]).reshape(len(recent), -1)).reshape(shape.shape[1:])
        weekly = _where(was_week, shape[week])
        others = [np.abs(shape[at] - one).mean(axis=1) for one in (usual, shape[last, columns], *weekly)]
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

    def lowest_of(self, before: Places) -> Floats:
        """The lowest value of any of these days; NaN where there is none."""
        return np.asarray(np.fmin.reduce(self.lowest[before], initial=np.nan))

    def highest_of(self, before: Places) -> Floats:
        """The highest value of any of these days; NaN where there is none."""
        return np.asarray(np.fmax.reduce(self.highest[before], initial=np.nan))

    def has_few(self, before: Places) -> Bools:
        """Which columns usually have fewer than ``LEAST_VALUES`` values a day."""
        if not len(before):
            return np.zeros(len(self.names), bool)
        return np.asarray(_median(self.distinct[before[-RECENT_DAYS:]]) < LEAST_VALUES)

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
        for name, surprise in ((UNSEEN, self.unseen()), (STUCK, self.stuck())):
            self.change[name], self.ratio[name] = surprise, surprise / SURPRISE
            self.is_known[name] = np.full(len(past.names), len(before) >= LEAST_JUDGED and is_near)
        for name, is_so in self.certain().items():
            self.change[name], self.ratio[name] = np.where(is_so, 1.0, np.nan), np.where(is_so, CERTAIN, np.nan)
            self.is_known[name] = np.full(len(past.names), True)

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
        return found

    def stuck(self) -> Floats:
        """How unlikely it is that a column is to the last digit as the day before, as -log10; 0 where it is not.

        Asked only of what has several values a day that are new on most days: a mean of dry days may stay 0, and a
        fleet has the same seats.
        """
        past, at, before, facts = self.past, self.at, self.before, self.past.facts
        if not len(before):
            return np.zeros(len(past.names))
        same = (facts[before] == facts[at]).all(axis=2)
        run = np.where(same.all(axis=0), 0, np.argmin(same[::-1], axis=0))
        again = np.count_nonzero((facts[before][1:] == facts[before][:-1]).all(axis=2), axis=0)
        chance = (again - np.maximum(run - 1, 0) + 1) / (len(before) + 1)
        together = np.minimum(np.nan_to_num(past.distinct[at]), TOGETHER)
        is_asked = (together > 1) & (self.chance_of_new() > MOSTLY_NEW)
        return np.where(is_asked, -np.log10(np.clip(chance, 1e-12, 1.0)) * run * together, 0.0)

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
        for words, (times, plus) in CONVERSIONS.items():
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
