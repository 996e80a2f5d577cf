"""What the monitor and the policy would have done on the stored history, as it was and with something broken in it.

``make backtest use_case=…``: the last weeks of features and labels are watched again by the champion, where it has had
enough nights, and else by a model that is fitted on the days before them and thrown away. As far as anybody knows,
nothing has changed in them, so that what fires is a false alarm, or something to look at. Then the same nights are
watched with another unit, shifted features, and labels turned round. Nothing is written.

However long the history is, at most ``NIGHTS`` nights of it are read, some days at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from math import ceil

import numpy as np
import numpy.typing as npt
import polars as pl
import xgboost as xgb

from include.contracts.use_case import Feature, UseCase
from include.core.errors import NeedsAttentionError
from include.lake import delta, usage
from include.ml import dataset, evidence, ledger, model_files, monitor, policy, scoring, tasks, train
from include.ml.counted import counted
from include.ml.evidence import Beside, Floats, State
from include.ml.ledger import Champion
from include.ml.monitor import Key, Night, SensorReading, Stream, Told
from include.ml.policy import Request
from include.ml.reference import Reference, features_of
from include.use_cases import use_case

NIGHTS, CALM = 56, 14
"""So many nights at most are watched, and so many of them before something breaks."""

LEAST_NIGHTS = 28
"""Fewer nights than this show neither that it is quiet nor that something is found."""

AT_ONCE_DAYS, MOST_ROWS = 7, 100_000
"""So many days are read at once. Of a larger day every n-th row is looked at."""

MOVED, ALL_MOVED, TURNED = 1.0, 0.35, 0.1
"""One feature moves by its own width in training, all by a third of it (a PSI of about .1), and so many labels turn."""

type Change = Callable[[pl.DataFrame, np.random.Generator], pl.DataFrame]


class TooShortError(NeedsAttentionError):
    """There is not enough history to backtest on; the message says what is missing."""


@dataclass(frozen=True)
class Subject:
    """The version that watches: its reference and booster, and what is watched by them. ``who`` names it."""

    case: UseCase
    reference: Reference
    booster: xgb.Booster
    trained_through: date
    who: str = ""

    @cached_property
    def streams(self) -> dict[Key, Stream]:
        return monitor.streams(self.case, self.reference)

    @cached_property
    def beside(self) -> list[tuple[list[Key], Beside]]:
        return monitor.beside(self.reference)

    @cached_property
    def limits(self) -> Floats:
        return np.asarray(list(monitor.limits(self.case, self.reference).values()))

    @cached_property
    def features(self) -> tuple[Feature, ...]:
        return features_of(self.reference)


@dataclass(frozen=True)
class Tells:
    """What a day tells: what is watched, and by sensor whether a fact is there that needs no evidence over nights."""

    told: dict[Key, Told]
    facts: npt.NDArray[np.bool_]


def tells(of: Subject, day: date, rows: pl.DataFrame) -> Tells:
    """What ``rows``, features with labels, tell of ``day`` where the version scores them."""
    task = tasks.of_version(of.case, of.reference["task"])
    output = scoring.predicted(of.case, of.booster, of.features, [dataset.matrix(of.features, rows)])
    given = pl.concat([rows, task.frame(task.scores(output))], how="horizontal")
    # The night scores its rows and knows their labels: which of the two comes first makes no difference.
    night = Night(day, day, day, rows, given, given)
    of_night = counted(of.case, of.reference, night.features, night.predictions)
    single = monitor.measure_scores(of.reference, day, of_night)
    single += monitor.measure_quality(of.case, of.reference, night)
    there = {one.sensor for one in single if one.threshold and (one.value or 0.0) >= one.threshold}
    facts = np.asarray([sensor in there for sensor in monitor.READERS], dtype=np.bool_)
    return Tells(monitor.told(of.case, of.reference, of.streams, night, of_night), facts)


class Watch:
    """The evidence of a version, night by night: what the monitor does."""

    def __init__(self, of: Subject) -> None:
        self._of, self.states = of, dict[Key, State]()

    def fired(self, day: date, found: Tells) -> npt.NDArray[np.bool_]:
        """Which sensors fire after another night."""
        nothing = pl.DataFrame()
        night = Night(day, day, day, nothing, nothing, nothing)
        self.states = monitor.advanced(self._of.streams, self._of.beside, self.states, found.told, night)
        total = dict.fromkeys(monitor.READERS, 0.0)
        for key, stream in self._of.streams.items():
            total[key[0]] += stream.weight * stream.evidence(self.states[key])
        return np.asarray((np.asarray(list(total.values())) >= self._of.limits) | found.facts)


# --- what breaks ---


def moved(by: Mapping[str, float], factor: float = 1.0) -> Change:
    """Numeric features as ``factor`` times themselves and so much more."""
    columns = [(pl.col(name).cast(pl.Float64) * factor + add).alias(name) for name, add in by.items()]
    return lambda rows, _: rows.with_columns(columns)


def turned(case: UseCase, share: float = 1.0, within: pl.Expr | None = None) -> Change:
    """Labels turned round: of a binary one the opposite, of others those of other rows of the day.

    ``share`` is of which part of the rows, ``within`` which rows may be hit at all; None: all of them.
    """

    def change(rows: pl.DataFrame, random: np.random.Generator) -> pl.DataFrame:
        hit = pl.Series(random.random(rows.height) < share)
        if within is not None:
            hit &= rows.select(within.fill_null(False)).to_series()
        label = rows[case.label]
        if tasks.of(case).kind == "binary":
            other = (1 - label.cast(pl.Int8)).cast(label.dtype)
        else:
            other = label.gather(random.permutation(rows.height))
        return rows.with_columns(pl.Series(case.label, other).zip_with(hit, label))

    return change


@dataclass(frozen=True)
class Scenario:
    """Something that breaks. A backtest fails where one that is ``wanted`` is not found."""

    name: str
    change: Change
    wanted: bool


def scenarios(of: Subject) -> list[Scenario]:
    """What can break for this version: of a use case without numeric features or slices there is less."""
    kept, found = of.reference["features"], list[Scenario]()
    numeric = [one.name for one in of.features if one.kind == "numeric" and kept[one.name].get("quiet")]
    if numeric:
        most = max(numeric, key=lambda name: kept[name]["weight"])
        widths = {name: evidence.middle_and_spread(kept[name]["edges"])[1] for name in numeric}
        found = [
            Scenario(f"{most} in another unit (°F for °C)", moved({most: 32.0}, 1.8), True),
            Scenario("all numeric features by a third of their width", _all(widths), False),
            Scenario(f"{most} by its width", moved({most: MOVED * widths[most]}), False),
        ]
    found.append(Scenario("a tenth of the labels turned round", turned(of.case, TURNED), False))
    if groups := of.reference.get("slices"):
        column, value = next(iter(groups)).split("=", 1)
        within = pl.col(column).cast(pl.String) == value
        found.append(Scenario(f"labels of {column}={value} turned round", turned(of.case, within=within), False))
    return found


def _all(widths: Mapping[str, float]) -> Change:
    return moved({name: ALL_MOVED * width for name, width in widths.items()})


# --- the history, watched again ---


@dataclass(frozen=True)
class Replayed:
    """Nights watched again: which sensors fired in each (nights × sensors), and when the policy asked to retrain."""

    days: list[date]
    fired: npt.NDArray[np.bool_]
    asked: list[date]

    @property
    def alarms(self) -> list[date]:
        """The nights in which something began to fire."""
        any_fired = self.fired.any(axis=1)
        return [
            day for day, now, before in zip(self.days, any_fired, [False, *any_fired[:-1]], strict=True) if now > before
        ]


def replay(of: Subject, nights: Mapping[date, Tells]) -> Replayed:
    """What sensors and policy do with ``nights``, in their order."""
    watch, fired, requests = Watch(of), list[npt.NDArray[np.bool_]](), list[Request]()
    for day, found in nights.items():
        fired.append(watch.fired(day, found))
        readings = [
            SensorReading(sensor, bool(now), "replayed", {})
            for sensor, now in zip(monitor.READERS, fired[-1], strict=True)
        ]
        made = policy.decide(of.case.drift, day, _champion(of), readings, requests, of.case.label_days)
        if made.decision == "yes":
            requests.append(Request(day, 0, "open"))
    return Replayed(list(nights), np.asarray(fired), [one.night for one in requests])


def _champion(of: Subject) -> Champion:
    """The version as the ledger would name it."""
    through = of.trained_through
    made = datetime(through.year, through.month, through.day, tzinfo=UTC)
    return Champion(0, through + timedelta(1), made, "backtest", "", "", "", "", through, through, through)


@dataclass(frozen=True)
class Line:
    """A scenario in a backtest: in which of the nights after it began it was found; None where it was not."""

    name: str
    night: int | None
    sensors: str
    wanted: bool


@dataclass(frozen=True)
class Backtest:
    """What came of a backtest. ``quiet`` are the nights as they are stored."""

    case: UseCase
    who: str
    quiet: Replayed
    lines: list[Line] = field(default_factory=list)

    @property
    def allowed(self) -> int:
        """In so many nights something may begin to fire: the rate that the spec states, of these nights."""
        return max(1, ceil(self.case.drift.false_alarm_rate * len(self.quiet.days)))

    @property
    def problems(self) -> list[str]:
        """Why the policy is not accepted; nothing where it is."""
        said = []
        if len(self.quiet.alarms) > self.allowed:
            nights = ", ".join(map(str, self.quiet.alarms))
            said.append(
                f"something began to fire in {len(self.quiet.alarms)} nights as they are stored ({nights}), and "
                f"{self.allowed} may. Either something did change then (make card, and the monitoring table, say what "
                "carries it), or days scatter more than this version has seen: train on more of them"
            )
        return said + [f"not found: {one.name}" for one in self.lines if one.wanted and one.night is None]

    def __str__(self) -> str:
        days, after = self.quiet.days, len(self.quiet.days) - CALM
        rows = [
            f"{self.case.name}: {len(days)} nights, {days[0]} to {days[-1]}, watched by {self.who}",
            f"as stored: fired in {int(self.quiet.fired.any(axis=1).sum())} nights, began to in "
            f"{len(self.quiet.alarms)}; the policy would have asked for {len(self.quiet.asked)} retrainings",
            f"broken after {CALM} nights, and watched for {after}:",
        ]
        width = max((len(one.name) for one in self.lines), default=0)
        for one in self.lines:
            found = f"found in night {one.night} by {one.sensors}" if one.night else "not found"
            rows.append(f"  {one.name:<{width}}  {found}")
        rows += self.problems or ["accepted: quiet on what is stored, and it finds what is broken"]
        return "\n".join(rows)


def backtest(name: str) -> Backtest:
    """Watch the stored history of use case ``name`` again, as it is and broken. Reads the lake, and writes nothing.

    Raises TooShortError where there is too little history, and what training raises where a model has to be fitted.
    """
    case = use_case(name)
    days = _days(case)
    of = _subject(case, days)
    watched = [day for day in days if day > of.trained_through][-NIGHTS:]
    broken = scenarios(of)
    quiet, changed = dict[date, Tells](), {one.name: dict[date, Tells]() for one in broken}
    random = np.random.default_rng(case.training.seed)
    for day, rows in _rows(case, watched):
        quiet[day] = tells(of, day, rows)
        for one in broken:
            changed[one.name][day] = tells(of, day, one.change(rows, random)) if day >= watched[CALM] else quiet[day]
    as_stored = replay(of, quiet)
    lines = [_line(one, replay(of, changed[one.name]), as_stored) for one in broken]
    return Backtest(case, of.who, as_stored, lines)


def _line(scenario: Scenario, found: Replayed, as_stored: Replayed) -> Line:
    """What fires in a night as it is stored has not been found by what was broken."""
    after = (found.fired & ~as_stored.fired)[CALM:]
    if not after.any():
        return Line(scenario.name, None, "", scenario.wanted)
    night = int(after.any(axis=1).argmax())
    by = [sensor for sensor, now in zip(monitor.READERS, after[night], strict=True) if now]
    return Line(scenario.name, night + 1, ", ".join(by), scenario.wanted)


def _days(case: UseCase) -> list[date]:
    """The event dates that have features and labels, both."""
    tables = [f"gold.{case.features_table}", f"gold.{case.labels_table}"]
    there = [usage.days_of(table) for table in tables]
    for table, days in zip(tables, there, strict=True):
        if not days:
            raise TooShortError(
                f"{table} has no days yet: load the history first (make backfill), and then make backtest"
            )
    return sorted(there[0] & there[1])


def _subject(case: UseCase, days: Sequence[date]) -> Subject:
    """The champion, where it has had enough nights; else a model of the days before the last ``NIGHTS``, or before
    fewer where it needs them to learn from."""
    champion = ledger.latest_champion(case)
    if champion is not None and sum(day > champion.trained_through for day in days) >= LEAST_NIGHTS:
        reference = model_files.load_reference(case, champion)
        who = f"version {champion.model_version}"
        return Subject(case, reference, model_files.load_booster(case, champion), champion.trained_through, who)
    problem: dataset.DataMissingError | None = None
    for nights in (NIGHTS, LEAST_NIGHTS):
        if len(days) <= nights:
            continue
        night = days[-nights - 1] + timedelta(case.label_days)
        try:
            first, last = dataset.training_range(case, night)
        except dataset.DataMissingError as short:
            problem = short
            continue
        made = train.fit_and_judge(case, dataset.load(case, first, last, as_of=night), "cpu", None)
        return Subject(case, made.reference, made.booster, last, f"a model of {first} to {last}")
    have = f"{case.name} has {len(days)} days with features and labels"
    raise TooShortError(
        f"{have}; a backtest watches at least {LEAST_NIGHTS} of them, behind those that a model learns from. "
        f"{problem or ''} Load more of the history (make backfill), or come back later"
    )


def _rows(case: UseCase, days: Sequence[date]) -> Iterator[tuple[date, pl.DataFrame]]:
    """Features with labels of each day that has some, read some days at a time."""
    for begin in range(0, len(days), AT_ONCE_DAYS):
        some = days[begin : begin + AT_ONCE_DAYS]
        features, labels = (
            delta.read_days("gold", table, some[0], some[-1], day=case.day)
            for table in (case.features_table, case.labels_table)
        )
        known = dataset.labelled(case, labels).select(*case.key, case.label)
        together = features.join(known, on=case.key, how="inner")
        for day in some:
            rows = together.filter(pl.col(case.day) == day).sort(case.key)
            if rows.height:
                yield day, rows.gather_every(max(1, -(-rows.height // MOST_ROWS)))
