"""What the platform itself knows of its versions: how each was trained, judged and approved. Sealed ledgers.

MLflow shows all of it too. What is decided is decided by these: there, whoever may log in can edit a metric or a tag.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import UTC, date, datetime
from typing import Literal

import polars as pl

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError
from include.lake import chain, delta

type Verdict = Literal["promote", "wait", "refuse"]
type Word = Literal["ask", "approve", "reject", "timeout"]


class BrokenLedgerError(NeedsAttentionError):
    """A ledger is not as it was written: nothing is decided by it."""


@dataclass(frozen=True)
class Training:
    """A finished training, written down before its version is registered in MLflow.

    Attributes:
        request_key, recipe_key: see ``include.ml.train``.
        partition: the partition that it was trained in.
        content_hash: of its rows.
        holdout_from: the first day that it is judged on; the holdout ends with ``trained_through``.
        metrics: on the holdout, and what the gates have to know of the training.
        versions: the Delta versions of the tables that were read, by name.
        code, environment: see ``include.ml.environment``.
        seconds: that fitting and judging took.
        evaluation: which measurements of ``include.ml.evaluation`` the metrics have; 0 where a release made none.
        champion: the champion that it is to be compared with; None where there was none.
        chosen: what a search has changed in the parameters of the spec.
        searched: what the search came to, as ``include.ml.search.Found.summary``; empty where the spec has none.
    """

    request_key: str
    recipe_key: str
    partition: date
    model_sha256: str
    reference_sha256: str
    content_hash: str
    trained_from: date
    fitted_through: date
    holdout_from: date
    trained_through: date
    device: str
    champion: int | None
    metrics: dict[str, float]
    versions: dict[str, int] = field(default_factory=dict)
    code: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    evaluation: int = 0
    chosen: dict[str, float | int | str] = field(default_factory=dict)
    searched: dict[str, float | int | str] = field(default_factory=dict)
    trained_at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True)
class Judgement:
    """One look at a version.

    Attributes:
        champion: the version that it was compared with; None where there was none.
        first, last, days: the days that it was judged on, and how many of them have rows.
        look: which of the use case's looks that was, from 1; 0 where there was none yet.
        versions: how many versions have been judged on at least half of these days, this one included. The level of the
            test is divided by it.
        level: what was tested at.
        reasons: why, each in a sentence.
        measured: the metrics of both on these days.
        too_old: whether it was refused for nothing but that the champion learned from later days.
    """

    model_version: int
    model_sha256: str
    champion: int | None
    first: date
    last: date
    days: int
    look: int
    versions: int
    level: float
    verdict: Verdict
    reasons: list[str]
    measured: dict[str, float]
    judged_by: str
    judged_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    too_old: bool = False


@dataclass(frozen=True)
class Approval:
    """A question to persons whether a version may become champion, or what one of them has answered.

    Attributes:
        request: which question, by the run that asks it.
        word: what this line is: the question, or one of three answers to it.
        who: who asked (``gates``, or a person), or who answered, by the id of a login in Airflow; empty of a time-out.
        why: what that person said of it.
        model_sha256, reference_sha256: the files that it is about.
        champion: the version that it would replace; None where there was none.
        judgement: the seal of the judgement that it is about, in ``gold.<case>__judgements``.
        by_hand: whether a person has asked, so that a version that waits, or is older, may be promoted too.
        subject, body: what was shown; the body is Markdown.
    """

    request: str
    word: Word
    who: str
    why: str
    model_version: int
    model_sha256: str
    reference_sha256: str
    champion: int | None
    judgement: str
    by_hand: bool
    subject: str
    body: str
    said_at: datetime = field(default_factory=lambda: datetime.now(UTC))


_TYPES: Mapping[str, pl.DataType] = {
    "str": pl.String(),
    "date": pl.Date(),
    "int": pl.Int64(),
    "int | None": pl.Int64(),
    "float": pl.Float64(),
    "datetime": pl.Datetime("us", "UTC"),
    "bool": pl.Boolean(),
    "Verdict": pl.String(),
    "Word": pl.String(),
    "list[str]": pl.String(),  # JSON
    "dict[str, float]": pl.String(),  # JSON
    "dict[str, float | int | str]": pl.String(),  # JSON
    "dict[str, int]": pl.String(),  # JSON
    "dict[str, str]": pl.String(),  # JSON
}


def _schema(of: type[Training | Judgement | Approval]) -> dict[str, pl.DataType]:
    return {name: _TYPES[kind] for name, kind in of.__annotations__.items()}


def _as_json(of: type[Training | Judgement | Approval]) -> list[str]:
    return [name for name, kind in of.__annotations__.items() if "[" in kind]


def _defaults(of: type[Training | Judgement | Approval]) -> set[str]:
    return {one.name for one in fields(of) if (one.default, one.default_factory) != (MISSING, MISSING)}


def _append(table: str, line: Training | Judgement | Approval, what: str) -> None:
    row = asdict(line)
    row |= {name: json.dumps(row[name], sort_keys=True) for name in _as_json(type(line))}
    chain.append(table, pl.DataFrame([row], schema=_schema(type(line))), what)


def _read[Line: (Training, Judgement, Approval)](table: str, of: type[Line]) -> list[Line]:
    found = []
    for row in lines(table, _schema(of)).iter_rows(named=True):
        # What a line of an earlier release does not say has its default.
        said = {name: value for name, value in row.items() if value is not None or name not in _defaults(of)}
        found.append(of(**said | {name: json.loads(said[name]) for name in _as_json(of) if name in said}))
    return found


def lines(table: str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """A sealed ledger ``gold.<name>`` in the order in which it was written; empty where there is none.

    Raises BrokenLedgerError where a line is not as it was written.
    """
    layer, name = table.split(".")
    if not delta.exists(layer, name):
        return pl.DataFrame(schema=dict(schema))
    found = delta.read_all(layer, name)
    if problems := chain.broken(found):
        raise BrokenLedgerError(
            f"{table} is not as it was written, and nothing is decided by it: {'; '.join(problems[:3])}. Find out who "
            "changed it, and restore the table to a version before that (`make verify` names the ledgers that hold)"
        )
    in_order = found.sort("line") if "line" in found.columns else found
    # A ledger that was begun before a column was thought of has it from its next line on.
    return pl.concat([pl.DataFrame(schema=dict(schema)), in_order], how="diagonal").select(schema.keys())


def append_training(case: UseCase, training: Training) -> None:
    """Write ``training`` down, if it is not there yet. Hold the lease of trainings."""
    if training_of(case, training.request_key, training.model_sha256) is None:
        _append(f"gold.{case.trainings_table}", training, f"a training of {case.name}")


def trainings(case: UseCase) -> list[Training]:
    """All of them, in their order. Raises BrokenLedgerError."""
    return _read(f"gold.{case.trainings_table}", Training)


def training_of(case: UseCase, request_key: str, model_sha256: str) -> Training | None:
    """The training that a version came of, by what MLflow's tags say of it."""
    wanted = (request_key, model_sha256)
    return next((one for one in trainings(case) if (one.request_key, one.model_sha256) == wanted), None)


def append_judgement(case: UseCase, judgement: Judgement) -> None:
    """Write ``judgement`` down. Hold the lease of deployments."""
    what = f"{judgement.verdict} version {judgement.model_version} of {case.name}"
    _append(f"gold.{case.judgements_table}", judgement, what)


def judgements(case: UseCase) -> list[Judgement]:
    """All of them, in their order. Raises BrokenLedgerError."""
    return _read(f"gold.{case.judgements_table}", Judgement)


def last_judgement(case: UseCase, version: int) -> Judgement | None:
    """How it stands with ``version``; None where nobody has judged it."""
    return next((one for one in reversed(judgements(case)) if one.model_version == version), None)


def seal_of(case: UseCase, version: int) -> str:
    """The seal of the last judgement of ``version``: what an approval of it is bound to. Empty where there is none."""
    rows = lines(f"gold.{case.judgements_table}", _schema(Judgement) | chain.SEALS)
    return next(iter(rows.filter(pl.col("model_version") == version).tail(1)["seal"]), None) or ""


def newest_judgement(case: UseCase) -> Judgement | None:
    """The last judgement of the newest version that was ever judged."""
    return last_judgement(case, max((one.model_version for one in judgements(case)), default=0))


def waiting(case: UseCase, champion: int | None) -> Judgement | None:
    """The newest version's last judgement where it has to be judged again; that version is newer than ``champion``.

    It waits for more days, or was let through beside another champion than that of now.
    """
    found = newest_judgement(case)
    if found is None or found.model_version <= (champion or 0):
        return None
    overtaken = found.verdict == "promote" and found.champion != champion
    return found if found.verdict == "wait" or overtaken else None


def append_approval(case: UseCase, approval: Approval) -> None:
    """Write ``approval`` down. Hold the lease of approvals."""
    what = f"{approval.word} version {approval.model_version} of {case.name}"
    _append(f"gold.{case.approvals_table}", approval, what)


def approvals(case: UseCase) -> list[Approval]:
    """All questions and answers, in their order. Raises BrokenLedgerError."""
    return _read(f"gold.{case.approvals_table}", Approval)


def judged_on(case: UseCase, version: int, first: date, last: date) -> int:
    """How many versions have been judged on at least half of the days ``first`` to ``last``, ``version`` included."""
    half = ((last - first).days + 1) / 2

    def shared(one: Judgement) -> int:
        return (min(last, one.last) - max(first, one.first)).days + 1

    return len({version, *(one.model_version for one in judgements(case) if one.look and shared(one) >= half)})
