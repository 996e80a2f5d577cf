"""What the pages of model health show, as plain data: read from summaries, never from rows, nor from the model.

``overview`` is of all use cases and ``page`` of one. A table that is missing, of an earlier release, or broken is a
sentence among the findings, and the rest is shown. What is wrong ``include.web.judgement`` says, what is drawn is made
by ``include.web.series``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import polars as pl
from deltalake.exceptions import DeltaError

from include.contracts.use_case import UseCase
from include.core.errors import NocturneError
from include.ml import figures, ledger, record
from include.quality import acceptance
from include.serving import throughput
from include.web import series
from include.web.judgement import CARRIED, Facts, Finding, Row, judge, sensors, worst
from include.web.series import MOST_LINES, WEEK, short
from include.web.tables import Tables

NIGHTS = 90
"""So many are shown where nobody asks for others."""
SPARK_NIGHTS = 30
THEN_NIGHTS = 28
"""Within a slice the newest week stands beside one that is so many nights older."""

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

DRAWN = pl.col("metric").is_in(["evidence", CARRIED, "constant", "against", "rows"])
WITH_PSI = DRAWN | (pl.col("metric") == "day_psi")
MOST_PSI_NIGHTS = 400
"""PSI is drawn in windows of up to so many nights: of longer ones it is half of what would be read."""


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

    def within(self, first: date, last: date, groups: Sequence[str]) -> pl.DataFrame:
        """The figures of some slices."""
        name = self.table(self.case.figures_table)
        only, between = pl.col("figure") == figures.WITHIN, ("partition_day", first, last)
        only &= pl.col("feature").is_in(list(groups))
        nothing = pl.DataFrame(schema=figures.SCHEMA)
        return self.tried(
            name, lambda: self.tables.rows(name, figures.SCHEMA, list(figures.SCHEMA), between, only), nothing
        )

    def decisions(self, first: date, last: date) -> pl.DataFrame:
        name = self.table(self.case.decisions_table)
        nothing, between = pl.DataFrame(schema=DECISIONS), ("partition_day", first, last)
        found = self.tried(name, lambda: self.tables.rows(name, DECISIONS, between=between), nothing)
        return found.sort("partition_day", descending=True)

    def decision(self, night: date | None) -> Row | None:
        """What the policy decided in ``night``."""
        found = self.decisions(night, night) if night else pl.DataFrame(schema=DECISIONS)
        return found.row(0, named=True) if found.height else None

    def champions(self) -> list[ledger.Champion]:
        name, case = self.table(self.case.deployments_table), self.case
        return self.tried(name, lambda: champions(self.tables, case), [])

    def refused(self) -> list[Row]:
        """What the feature gate has refused, the newest night first, with what has become of each."""
        case, nothing = self.case, list[acceptance.Line]()
        last = {
            line.of: line for line in self.tried(self.table(case.faults_table), lambda: acceptance.read(case), nothing)
        }
        name, none = self.table(case.features_table), list[date]()
        there = set(self.tried(name, lambda: self.tables.days(name), none)) if last else set()
        newest = sorted(last.values(), key=lambda line: (line.event_date, line.said_at), reverse=True)
        return [_refused(line, line.event_date in there) for line in newest]

    def scorings(self) -> pl.DataFrame:
        own, nothing = pl.col("use_case") == self.case.name, pl.DataFrame(schema=throughput.SCHEMA)
        found = self.tried(
            throughput.LEDGER, lambda: self.tables.rows(throughput.LEDGER, throughput.SCHEMA, only=own), nothing
        )
        return throughput.with_rates(found.sort("at"))


def champions(tables: Tables, case: UseCase) -> list[ledger.Champion]:
    """The ledger of deployments. Raises what ``ledger.read`` does."""
    return tables.kept(("champions", case.name), [f"gold.{case.deployments_table}"], lambda: ledger.read(case))


def _refused(line: acceptance.Line, is_there: bool) -> Row:
    """A line of the gate's ledger; what was refused waits for somebody until its day has features."""
    state = "accepted" if line.word == "accept" else "mended" if is_there else WAITS
    who = f", by {line.who}: {line.why}" if line.word == "accept" else ""
    return {
        "night": str(line.partition_day),
        "feature": line.feature,
        "state": state,
        "kind": line.kind,
        "what": f"{line.said}{who}",
    }


WAITS = "waits"


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
        case.faults_table,
        case.features_table,
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
    """A use case in a line. What the policy decided is looked up where a sensor has fired."""
    own = (case.monitoring_table, case.figures_table, case.deployments_table, case.faults_table, case.features_table)
    line_tables = [f"gold.{name}" for name in own]
    of = _Case(tables, case)
    facts, line = tables.kept(("line", case.name), line_tables, lambda: _made_line(of))
    if any(one["fired"] for one in facts.sensors):
        name, night = f"gold.{case.decisions_table}", facts.night
        decision = tables.kept(("decision", case.name, night), [name], lambda: of.decision(night))
        facts = replace(facts, decision=decision, problems=[*facts.problems, *of.problems])
    found = judge(replace(facts, problems=list(dict.fromkeys(facts.problems))))
    return line | {"level": worst(found), "findings": found}


def _made_line(of: _Case) -> tuple[Facts, Row]:
    nights = of.nights()
    champions = of.champions()
    last = nights[-1] if nights else None
    first = last - timedelta(SPARK_NIGHTS - 1) if last else None
    rows = of.measured(first, last) if first and last else pl.DataFrame(schema=MONITORING)
    newest = of.figures(last - timedelta(WEEK - 1), last, LIGHT) if last else pl.DataFrame(schema=figures.SCHEMA)
    facts = _facts(of, champions, rows, newest, last, of.refused())
    evidence = series.evidence_series(rows, first, 1) if first else None
    return facts, {
        "name": of.case.name,
        "description": of.case.description,
        "owner": of.case.owner,
        "champion": facts.champion,
        "night": str(last) if last else None,
        "nights": len(nights),
        "sensors": list(facts.sensors),
        "share": max((one["share"] or 0.0 for one in facts.sensors), default=0.0),
        "picture": series.picture(series.highest(evidence), 1.0) if evidence else None,
        "quality": _quality_now(list(newest.iter_rows(named=True))),
    }


def drawn(page: Row) -> Row:
    """What of a page's data the browser draws."""
    names = ("versions", "evidence", "feature_nights", "quality", "calibration", "data", "cost")
    of_feature = ("name", "importance", "weight", "value", "part", "evidence", "psi", "distribution")
    of_cost = ("times", "rate", "seconds")
    cost = page["cost"] and {name: page["cost"][name] for name in of_cost}
    features = [{name: one[name] for name in of_feature} for one in page["features"]]
    return {name: page[name] for name in names} | {"features": features, "cost": cost}


WHOLE = (pl.col("feature") == "") & (pl.col("slice").fill_null("") == "")


def newest(tables: Tables, case: UseCase) -> Facts:
    """What the newest night of ``case`` measured as a whole: no history, and nothing of single features."""
    own = (case.monitoring_table, case.figures_table, case.decisions_table, case.deployments_table)
    names = [f"gold.{name}" for name in own]
    found = tables.kept(("newest", case.name), names, lambda: _made_newest(_Case(tables, case)))
    # what could not be read may be mended without a commit
    return _made_newest(_Case(tables, case)) if found.problems else found


def _made_newest(of: _Case) -> Facts:
    nights = of.nights()
    last = nights[-1] if nights else None
    rows = of.measured(last, last, DRAWN & WHOLE) if last else pl.DataFrame(schema=MONITORING)
    told = of.figures(last, last, LIGHT) if last else pl.DataFrame(schema=figures.SCHEMA)
    facts = _facts(of, of.champions(), rows, told, last, ())
    return replace(facts, decision=of.decision(last), problems=list(dict.fromkeys(of.problems)))


def _quality_now(newest: Sequence[Row]) -> Row | None:
    """The first watched metric: the mean of the week, and what was promised. ``newest`` are a week's figures."""
    promises = [row for row in newest if row["figure"] == figures.PROMISE]
    if not promises:
        return None
    name = promises[0]["feature"]
    promised = max((row for row in promises if row["feature"] == name), key=lambda row: row["partition_day"])
    own = [row["value"] for row in newest if (row["figure"], row["feature"]) == (figures.QUALITY, name)]
    there = [value for value in own if value is not None]
    return {
        "name": name,
        "now": short(sum(there) / len(there)) if there else None,
        "days": len(there),
        "promise": short(promised["value"]),
    }


def _facts(
    of: _Case,
    champions: Sequence[ledger.Champion],
    rows: pl.DataFrame,
    newest: pl.DataFrame,
    last: date | None,
    refused: Sequence[Row],
) -> Facts:
    """All but the decision, which whoever needs it looks up."""
    night = rows.filter(pl.col("partition_day") == last) if last else rows
    champion = ledger.pick(list(champions), date.max)
    of_last = (row for row in newest.iter_rows(named=True) if row["partition_day"] == last)
    fallback = sum(row["value"] or 0 for row in night.iter_rows(named=True) if row["sensor"] == "fallback")
    return Facts(
        name=of.case.name,
        champion=_champion(champion) if champion else None,
        night=last,
        sensors=sensors(night) if last else [],
        figures={(row["figure"], row["feature"]): row for row in of_last},
        label_days=of.case.label_days,
        fallback_rows=int(fallback),
        waiting=[(row["night"], row["feature"], row["kind"]) for row in refused if row["state"] == WAITS],
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
        shown = of.measured(first, last, WITH_PSI if (last - first).days < MOST_PSI_NIGHTS else DRAWN)
        light = of.figures(first, last, LIGHT)
        newest = max(light["partition_day"], default=last)
        heavy = of.figures(newest - timedelta(WEEK - 1), newest, [figures.DISTRIBUTION, figures.PROMISE], bins=True)
        since = max(first, last - timedelta(NIGHTS - 1))
        reliable = of.figures(since, last, [figures.CALIBRATION], bins=True)
    step = series.step_of(first, last) if ends else 1
    at = max(shown["partition_day"], default=None)
    refused = of.refused()
    facts = _facts(of, champions, shown, light, at, refused)
    of_last = heavy.filter(pl.col("partition_day") == max(heavy["partition_day"], default=last))
    kind = pl.col("figure") == figures.DISTRIBUTION
    evidence = series.evidence_series(shown, first, step) if ends else None
    along, of_features = series.features(shown, heavy.filter(kind), first, step)
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
        "evidence": evidence,
        "features": series.pictured(of_features, evidence["threshold"] if evidence else None),
        "feature_nights": list(map(str, along)),
        "others": series.others(shown, at),
        "slices": _slices(of, shown, first, step, at),
        "quality": series.quality(light, of_last, first, step),
        "calibration": series.calibrations(reliable),
        "data": series.data_series(light, first, step),
        "versions": series.versions(shown),
        "decisions": _decisions(of, ends),
        "ledgers": ledgers(of),
        "cost": series.cost(of.scorings()),
        "trainings": trainings(of),
        "faults": refused[:MOST_LINES],
    }
    # Last, since what could not be read on the way is to be known as well.
    facts = replace(facts, decision=of.decision(at), problems=list(dict.fromkeys(of.problems)))
    findings = judge(facts)
    if facts.night and not light.height:
        findings.append(
            Finding(
                "warn",
                "Figures of these nights are not there: an earlier release measured them.",
                todo="The next night has them. To have them of earlier ones, run the monitor's DAG for those nights.",
            )
        )
    return found | {"findings": findings, "level": worst(findings)}


def _slices(of: _Case, shown: pl.DataFrame, first: date, step: int, night: date | None) -> list[Row]:
    """What is watched within slices, and of what carries most of it the values of then and now."""
    found = series.within(shown, first, step, night)
    named = sorted({one["slice"] for one in found for _ in one["carried"]})
    if night is None or not named:
        return found
    then = (night - timedelta(THEN_NIGHTS + WEEK - 1), night - timedelta(THEN_NIGHTS))
    told = [of.within(*days, named) for days in ((night - timedelta(WEEK - 1), night), then)]
    newest = told[0].sort("partition_day")["model_version"].tail(1)
    now, before = (series.summed(rows.filter(pl.col("model_version").is_in(newest))) for rows in told)
    return [one | {"values": series.values_of(one, now, before)} for one in found]


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
    scan = tables.scan(table)
    if scan is None:
        return []
    rows = scan.collect()
    if "line" in rows.columns:
        rows = rows.sort("line")
    rows = rows.drop("line", "seal", strict=False).tail(MOST_LINES).reverse()
    return [{name: "" if value is None else _text(value) for name, value in row.items()} for row in rows.to_dicts()]


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:200]


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


def ranges(measured: Sequence[str] | None) -> list[tuple[str, str]]:
    """Windows to choose from, by what they are called and their first night; each ends with the newest night."""
    if not measured:
        return []
    first, last = map(date.fromisoformat, measured)
    found = [("30 d", last - timedelta(29)), ("90 d", last - timedelta(89)), ("1 y", last - timedelta(364))]
    return [*((words, str(day)) for words, day in found), ("all", str(first))]
