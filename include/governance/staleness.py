"""What is stale: the partitions whose features, predictions or measurements are of something that is not there now.

A rerun of a stage may change nothing, so that nothing would tell that it has looked. Therefore each use case has a
ledger, ``gold.<case>__made``: as of when the features and labels of a day were built, and the measurements of a night
were made, and by which SQL, or of which predictions. A line is added only where a rerun has something newer to say. A
prediction carries its version and the content of the features that it was made from. Everything else is in the ledger
of publications and in the deployment ledger.

What came too late to be known changes nothing (docs/decisions/late-rows.md): a revision of silver that only rows of a
later night have brought makes no features stale that were made before that night.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import polars as pl

from include.contracts.use_case import UseCase
from include.core.partitions import Partitions
from include.governance import lineage
from include.governance.lineage import Graph, Manifest, NotBuiltError
from include.governance.trace import Ledger, Line
from include.lake import chain, commit, dbt, delta, publications, usage
from include.lake.commit import Change
from include.lake.dbt import Build
from include.ml import dataset, ledger, rollouts
from include.ml.ledger import Champion
from include.ml.rollouts import Step
from include.ml.scoring import CANARY, CHAMPION, FEATURES, SCORED_BY, VERSION

type Stage = Literal["features", "predict", "monitor"]
type What = Literal["features", "labels", "measurements"]

STAGES: tuple[Stage, ...] = ("features", "predict", "monitor")
"""In the order in which what is stale is made again: each stage reads what the one before it has made."""

SCHEMA: dict[str, pl.DataType] = {
    "what": pl.String(),
    "day": pl.Date(),  # the event date of features and labels, the night of measurements
    "as_of": pl.Datetime("us", "UTC"),  # what was published by then was read, what came later was not
    "of": pl.String(),  # the SQL that built it, or the champion and the predictions that were measured
    "run": pl.String(),
}

SHOWN = 3
"""So many reasons of a partition are given one by one."""

LONG_AGO = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Made:
    """One line of the ledger ``gold.<case>__made``."""

    what: What
    day: date
    as_of: datetime
    of: str


@dataclass(frozen=True)
class Stale:
    """A partition that has to pass a stage again, and why: each reason in a few words."""

    stage: Stage
    night: date
    why: tuple[str, ...]

    @property
    def reasons(self) -> str:
        """Why, in a line."""
        more = f"; and {len(self.why) - SHOWN} more" if len(self.why) > SHOWN else ""
        return f"{'; '.join(self.why[:SHOWN])}{more}"


def find(case: UseCase, first: date = date.min, last: date = date.max) -> list[Stale]:
    """The stale partitions of ``case`` from the night ``first`` to ``last``, in the order in which to make them again.

    Reads ledgers, and of the predictions which version and which features each day is of; writes nothing. A partition
    whose input is stale is listed too, though it may turn out that nothing of it changes.
    """
    now = _Now.read(case)
    features = _stale_features(now)
    predictions = _stale_predictions(now, features)
    found: dict[Stage, dict[date, list[str]]] = {
        "features": features,
        "predict": predictions,
        "monitor": _stale_measurements(now, features, predictions),
    }
    return [
        Stale(stage, night, tuple(found[stage][night]))
        for stage in STAGES
        for night in sorted(found[stage])
        if first <= night <= last
    ]


# --- what is recorded ---


def recording(case: UseCase) -> dbt.Also:
    """What to add to the ledger with a build of features and labels: as of when, and by which SQL, it was built."""

    def also(build: Build, run: str) -> Sequence[Change]:
        try:
            manifest = lineage.manifest_of(f"{case.name}_features")
        except NotBuiltError:
            return []
        graph, begun = lineage.graph(manifest), datetime.fromisoformat(build["begun"])
        nights = [*Partitions.parse(build["nights"]).days, *dbt.also_built(build)]
        tables: dict[str, What] = {f"gold.{case.features_table}": "features", f"gold.{case.labels_table}": "labels"}
        built = [(one, tables[one.table]) for one in dbt.candidates_of(build) if one.table in tables]
        table_of = {what: one.table for one, what in built}
        lines: list[Made] = [
            Made(what, night + timedelta(one.lead_days), begun, sql_of(manifest, one.table))
            for one, what in built
            for night in nights
        ]

        def spans(made: Made) -> Iterator[tuple[str, date, date]]:
            for upstream in graph.get(table_of[made.what], []):
                back = date.min if upstream.first is None else made.day + timedelta(upstream.first)
                yield upstream.table, back, made.day + timedelta(upstream.last)

        return _lines(case, lines, spans, run)

    return also


@contextmanager
def measuring(case: UseCase, nights: Partitions, run: str = "by hand") -> Iterator[None]:
    """Around measuring ``nights``: what it was made of is noted before it begins, and written down when it has ended.

    What is published or scored meanwhile may or may not have been read, and makes what was measured stale.
    """
    with ledger.deploying(case):  # nobody scores meanwhile
        as_of = commit.moment()
        decided = ledger.read(case)
        stamps = _stamps(case, *_span(case, nights))
    champions = {night: champion for night in nights.days if (champion := ledger.pick(decided, night))}
    lines = [
        Made("measurements", night, as_of, _measured_of(case, night, champion, stamps))
        for night, champion in champions.items()
    ]
    yield

    def spans(made: Made) -> Iterator[tuple[str, date, date]]:
        for table, (first, last) in _windows(case, made.day).items():
            yield table, first, last

    with commit.committing():
        commit.commit_all(_lines(case, lines, spans, run), f"measurements of {case.name} {nights}")


def made(case: UseCase, days: Sequence[date] | None = None) -> dict[tuple[What, date], Made]:
    """What the ledger says last of each day, all or those of ``days``."""
    if not delta.exists("gold", case.made_table):
        return {}
    rows = delta.scan("gold", case.made_table)
    if days is not None:
        rows = rows.filter(pl.col("day").is_in(days))
    found = rows.select("line", "what", "day", "as_of", "of").collect().sort("line").drop("line")
    return {(row["what"], row["day"]): Made(**row) for row in found.iter_rows(named=True)}


def _lines(
    case: UseCase, lines: Sequence[Made], spans: Callable[[Made], Iterable[tuple[str, date, date]]], run: str
) -> list[Change]:
    """The change that adds those of ``lines`` that say something newer than the ledger: none where nothing is.

    ``spans`` tells the tables that a line read, and their first and last day. Hold the lake's lease.
    """
    known = made(case, [line.day for line in lines])
    before = [known[line.what, line.day].as_of for line in lines if (line.what, line.day) in known]
    tables = {table for line in lines for table, _, _ in spans(line)}
    news = _news(tables, min(before)) if before else {}

    def is_new(line: Made) -> bool:
        last = known.get((line.what, line.day))
        return (
            last is None
            or last.of != line.of
            or any(
                at > last.as_of
                for table, first, end in spans(line)
                for day, at in news.get(table, [])
                if first <= day <= end
            )
        )

    rows = [{**vars(line), "run": run} for line in lines if is_new(line)]
    return [chain.change(f"gold.{case.made_table}", pl.DataFrame(rows, schema=SCHEMA))] if rows else []


def _news(tables: Iterable[str], since: datetime) -> dict[str, list[tuple[date, datetime]]]:
    """The days of each of ``tables`` that were published after ``since``, and when."""
    if not delta.exists(publications.LAYER, publications.TABLE):
        return {}
    wanted = pl.col("table").is_in(sorted(tables)) & (pl.col("published_at") > since)
    lines = delta.scan(publications.LAYER, publications.TABLE).filter(wanted)
    found: dict[str, list[tuple[date, datetime]]] = {}
    for table, day, at in lines.select("table", "partition_day", "published_at").collect().iter_rows():
        found.setdefault(table, []).append((day, at))
    return found


def sql_of(manifest: Manifest, table: str) -> str:
    """A hash of the SQL that makes ``table``: its model's, that of whatever is only a part of it, and our macros'.

    Without comments and blanks. What dbt itself and other packages do is not in it.
    """
    nodes, macros = manifest["nodes"], manifest.get("macros", {})
    (root,) = (name for name, one in nodes.items() if one["resource_type"] == "model" and _name(one) == table)
    parts: dict[str, str] = {}

    def add(name: str, one: Mapping[str, Any], code: str) -> None:
        parts[name] = _bare(one.get(code) or "")
        for macro in one.get("depends_on", {}).get("macros", []):
            ours = macros.get(macro, {}).get("package_name") == nodes[root].get("package_name")
            if macro not in parts and macro in macros and ours:
                add(macro, macros[macro], "macro_sql")

    def add_model(name: str) -> None:
        add(name, nodes[name], "raw_code")
        for parent in nodes[name]["depends_on"]["nodes"]:
            if parent not in parts and parent in nodes and nodes[parent]["config"]["materialized"] == "ephemeral":
                add_model(parent)

    add_model(root)
    return hashlib.sha256(repr(sorted(parts.items())).encode()).hexdigest()[:16]


def _name(node: Mapping[str, Any]) -> str:
    return f"{node['schema']}.{node['alias']}"


def _bare(code: str) -> str:
    without = re.sub(r"\{#.*?#\}|/\*.*?\*/|--[^\n]*", "", code, flags=re.DOTALL)
    return " ".join(without.split())


# --- what is there now ---

type Stamp = tuple[int | None, str | None, str | None]
type Stamps = dict[date, list[Stamp]]
"""Of each day with predictions: by which versions, from which content of the features, and in whose place."""


@dataclass(frozen=True)
class _Now:
    """All that decides what is stale."""

    case: UseCase
    lines: Ledger
    graph: Graph
    sql: dict[str, str]
    made: dict[tuple[What, date], Made]
    decided: list[Champion]
    steps: list[Step]
    stamps: Stamps
    built: set[date]
    measured: set[date]
    written: dict[str, dict[date, datetime]] = field(default_factory=dict)

    @classmethod
    def read(cls, case: UseCase) -> _Now:
        lines = Ledger.read()
        try:
            manifest = lineage.manifest_of(f"{case.name}_features")
            graph = lineage.graph(manifest)
            own = (f"gold.{case.features_table}", f"gold.{case.labels_table}")
            sql = {table: sql_of(manifest, table) for table in own if table in graph}
        except NotBuiltError:
            graph, sql = {}, {}
        return cls(
            case=case,
            lines=lines,
            graph=graph,
            sql=sql,
            made=made(case),
            decided=ledger.read(case),
            steps=rollouts.read(case),
            stamps=_stamps(case),
            built=usage.days_of(f"gold.{case.features_table}"),
            measured=usage.days_of(f"gold.{case.monitoring_table}"),
            written={table: _written(table) for table in (case.predictions_table, case.monitoring_table)},
        )

    def newest(self, table: str, day: date) -> Line | None:
        """The last revision of a day of a table above bronze."""
        lines = self.lines.lines.get(table, {}).get(day, {}).get(None)
        return lines[-1] if lines else None

    def since(self, table: str, first: date, last: date, as_of: datetime, through: date) -> list[str]:
        """What of ``table`` was published after ``as_of`` that was known in the night ``through``, in words."""
        days = self.lines.lines.get(table, {})
        return [
            _said(line)
            for day in dataset.days_between(first, last)
            for night, its in days.get(day, {}).items()
            if its[-1]["published_at"] > as_of and (night is None or night <= through)
            for line in its
            if line["published_at"] > as_of and self._was_known(line, through)
        ]

    def drawn_since(self, table: str, day: date, as_of: datetime, through: date) -> list[str]:
        """What a row of ``day`` of ``table`` draws on, and was published after ``as_of``, in words."""
        found: list[str] = []
        for upstream in self.graph.get(table, []):
            last = day + timedelta(upstream.last)
            if upstream.first is not None:
                found += self.since(upstream.table, day + timedelta(upstream.first), last, as_of, through)
                continue
            # The newest day then and the newest day now: whichever of them is another one.
            for one in sorted({self._newest_day(upstream.table, last, at) for at in (as_of, datetime.max)} - {None}):
                found += self.since(upstream.table, one, one, as_of, through)
        return found

    def _newest_day(self, table: str, last: date, moment: datetime) -> Any:
        """The newest day up to ``last`` of which ``table`` had rows at ``moment``, None where it had none."""
        at = moment.replace(tzinfo=UTC)
        for day in sorted((one for one in self.lines.lines.get(table, {}) if one <= last), reverse=True):
            for its in self.lines.lines[table][day].values():
                there = [line for line in its if line["published_at"] <= at]
                if there and there[-1]["rows"]:
                    return day
        return None

    def _was_known(self, line: Line, through: date) -> bool:
        """Whether something of what a revision has brought had arrived by the night ``through``.

        What only rows of later nights have brought was not known; what nobody can tell the cause of counts as known.
        """
        if line["ingestion_date"] is not None or through == date.max:
            return True
        its = self.lines.lines[line["table"]][line["partition_day"]][None]
        before = max(
            (one["published_at"] for one in its if one["published_at"] < line["published_at"]), default=LONG_AGO
        )
        causes = [
            one["ingestion_date"]
            for one in self._bronze(line["table"], line["partition_day"])
            if before < one["published_at"] <= line["published_at"]
        ]
        return not causes or min(causes) <= through

    def _bronze(self, table: str, day: date) -> Iterator[Line]:
        """The lines of bronze that a day of ``table`` is made of, by whichever way."""
        for upstream in self.graph.get(table, []):
            first = 0 if upstream.first is None else upstream.first
            for one in dataset.days_between(day + timedelta(first), day + timedelta(upstream.last)):
                for night, its in self.lines.lines.get(upstream.table, {}).get(one, {}).items():
                    if night is not None:
                        yield from its
                yield from self._bronze(upstream.table, one)


def _stamps(case: UseCase, first: date = date.min, last: date = date.max) -> Stamps:
    if not delta.exists("gold", case.predictions_table):
        return {}
    rows = delta.scan("gold", case.predictions_table).filter(pl.col(case.day).is_between(first, last))
    unsaid = [name for name in (FEATURES, SCORED_BY) if name not in rows.collect_schema().names()]
    rows = rows.with_columns(pl.lit(None, pl.String).alias(name) for name in unsaid)  # scored before it was said
    found: Stamps = {}
    stamps = rows.select(case.day, VERSION, FEATURES, SCORED_BY).unique().collect().sort(pl.all())
    for day, version, content, by in stamps.iter_rows():
        found.setdefault(day, []).append((version, content, by))
    return found


def _written(table: str) -> dict[date, datetime]:
    """When the newest file of each day of ``gold.<table>`` was written."""
    if not delta.exists("gold", table):
        return {}
    files = pl.DataFrame(usage.opened(f"gold.{table}").get_add_actions(flatten=True))
    (day,) = (name for name in files.columns if name.startswith("partition."))
    at = pl.col("modification_time").cast(pl.Int64).cast(pl.Datetime("ms", "UTC"))
    return dict(files.group_by(day).agg(at.max()).iter_rows())


def _said(line: Line) -> str:
    return f"{line['table']} {line['partition_day']} has revision {line['revision']} since {_at(line['published_at'])}"


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


# --- what follows ---


def _stale_features(now: _Now) -> dict[date, list[str]]:
    """By night: whether features or labels that it builds are stale."""
    case, found = now.case, dict[date, list[str]]()
    parts: tuple[tuple[What, str, int], ...] = (
        ("features", case.features_table, -case.horizon_days),
        ("labels", case.labels_table, case.label_days),
    )
    for what, name, later in parts:
        table = f"gold.{name}"
        for day, lines in now.lines.lines.get(table, {}).items():
            last, night = now.made.get((what, day)), day + timedelta(later)
            # Built before that was written down: its content is at least as old as its last revision.
            as_of = last.as_of if last else lines[None][-1]["published_at"]
            why = now.drawn_since(table, day, as_of, night if what == "features" else date.max)
            if last and last.of != now.sql.get(table, last.of):
                why.insert(0, f"its {what} were built by other SQL than the newest ones")
            if why:
                found.setdefault(night, []).extend(why)
    return found


def _stale_predictions(now: _Now, features: Mapping[date, list[str]]) -> dict[date, list[str]]:
    """By night: whether the predictions that it makes are others than its champion would make now."""
    case, found = now.case, dict[date, list[str]]()
    for day in sorted(now.built | now.stamps.keys()):
        night, champion = day - timedelta(case.horizon_days), ledger.pick(now.decided, day)
        if champion is None:
            continue
        why = [] if day in now.stamps else [f"{day} was never scored"]
        for stamp in now.stamps.get(day, []):
            why += _other_stamp(now, day, champion, stamp)
        why += _without_canary(now, day, champion)
        if night in features and day in now.built:
            why.append("its features are to be built again")
        if why:
            found[night] = list(dict.fromkeys(why))
    return found


def _without_canary(now: _Now, day: date, champion: Champion) -> Iterator[str]:
    """That no row of a scored ``day`` is by a challenger in whose share some are: it could not score them then."""
    step = rollouts.of_day(now.steps, day, champion)
    stamps = now.stamps.get(day, [])
    if step is None or not step.share or not stamps or any(by == CANARY for _, _, by in stamps):
        return
    name = now.case.predictions_table
    rows = delta.read_days("gold", name, day, day, day=now.case.day, columns=[*now.case.key])
    if rollouts.is_canary(now.case, step, rows).any():
        yield f"{day} has no row by version {step.model_version}, whose share is {step.share:.0%}"


def _other_stamp(now: _Now, day: date, champion: Champion, stamp: Stamp) -> Iterator[str]:
    """How predictions of ``day`` with this ``stamp`` differ from those of ``champion`` on the features of now."""
    version, content, by = stamp
    if by == CANARY:
        step = rollouts.of_day(now.steps, day, champion)
        if step is None or not step.share or step.model_version != version:
            yield f"{day} is in part by version {version}, which is no canary of that day"
    elif (by or CHAMPION) != CHAMPION:
        yield f"{day} was scored by the {by}, since its champion could not"
    elif version != champion.model_version:
        yield f"scored by version {version}, and version {champion.model_version} is champion of {day}"
    line = now.newest(f"gold.{now.case.features_table}", day)
    if line is None:
        return
    written = now.written[now.case.predictions_table].get(day, LONG_AGO)
    if content != line["content"] if content else line["published_at"] > written:
        yield f"its features have revision {line['revision']} since {_at(line['published_at'])}"


def _stale_measurements(
    now: _Now, features: Mapping[date, list[str]], predictions: Mapping[date, list[str]]
) -> dict[date, list[str]]:
    """By night: whether what was measured in it was of other features, predictions or labels."""
    case, found = now.case, dict[date, list[str]]()
    scored = {day - timedelta(case.horizon_days) for day in now.stamps}
    for night in sorted(now.measured | scored):
        champion = ledger.pick(now.decided, night)
        if champion is None:
            continue
        why = _other_inputs(now, night, champion) if night in now.measured else ["was never measured"]
        again = _read_again(case, night, features, predictions)
        if again:
            why.append(f"what it measures is to be made again, from {min(again)} on")
        if why:
            found[night] = why
    return found


def _read_again(
    case: UseCase, night: date, features: Mapping[date, list[str]], predictions: Mapping[date, list[str]]
) -> list[date]:
    """The stale nights whose features, labels or predictions the measurements of ``night`` read."""
    scored, known = _windows(case, night).values()
    ahead = timedelta(case.horizon_days)

    def is_in(day: date, *windows: tuple[date, date]) -> bool:
        return any(first <= day <= last for first, last in windows)

    read = [one for one in features if is_in(one + ahead, scored) or is_in(one - case.matures, known)]
    return [*read, *(one for one in predictions if is_in(one + ahead, scored, known))]


def _other_inputs(now: _Now, night: date, champion: Champion) -> list[str]:
    case, last = now.case, now.made.get(("measurements", night))
    written = now.written[case.monitoring_table].get(night, LONG_AGO)
    as_of = last.as_of if last else written
    why = [
        one
        for table, (first, end) in _windows(case, night).items()
        for one in now.since(table, first, end, as_of, night if table.endswith(case.labels_table) else date.max)
    ]
    if last is None:
        first, end = _span(case, Partitions(night, night))
        times = now.written[case.predictions_table]
        why += [f"{day} was scored since {_at(at)}" for day, at in times.items() if first <= day <= end and at > as_of]
        return why
    version, _, digest = _measured_of(case, night, champion, now.stamps).partition(" ")
    version_then, _, digest_then = last.of.partition(" ")
    if version != version_then:
        why.append(f"measured for version {version_then}, and version {version} is its champion")
    if digest != digest_then:
        why.append("days that it measures were scored again")
    return why


def _windows(case: UseCase, night: date) -> dict[str, tuple[date, date]]:
    """The first and the last event date that the measurements of ``night`` read, by table."""
    scored, known = night + timedelta(case.horizon_days), dataset.newest_label_day(case, night)
    return {
        f"gold.{case.features_table}": (scored, scored),
        f"gold.{case.labels_table}": (known, known),
    }


def _span(case: UseCase, nights: Partitions) -> tuple[date, date]:
    """The first and the last event date whose predictions the measurements of ``nights`` read."""
    both = [*_windows(case, nights.first).values(), *_windows(case, nights.last).values()]
    return min(first for first, _ in both), max(last for _, last in both)


def _measured_of(case: UseCase, night: date, champion: Champion, stamps: Stamps) -> str:
    """The champion of ``night``, and a hash of what the predictions are of that its measurements read."""
    windows = _windows(case, night).values()
    days = sorted(day for day in stamps if any(first <= day <= last for first, last in windows))
    digest = hashlib.sha256(repr([(str(day), stamps[day]) for day in days]).encode()).hexdigest()[:16]
    return f"{champion.model_version} {digest}"
