"""A day whose champion cannot be loaded, or fails: who scores it then. Never silently, and never as the champion.

First the champion before it, whose files have to match the ledger as any champion's have to: a model that somebody has
changed is refused, and what scores in its place is one that nobody has. Then what is usual: the rate of a class, or the
usual number, among the labels that were known by then. Each row says by whom it is (``scored_by``), whoever runs the
night is told, and ``make stale`` lists the day until its champion has scored it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

import polars as pl

from include.contracts.use_case import UseCase
from include.core.errors import may_pass
from include.lake import delta
from include.ml import dataset, ledger, scoring, tasks
from include.ml.dataset import DataMissingError
from include.ml.errors import ModelRefusedError, RegistryRefusedError
from include.ml.ledger import Champion
from include.ml.model_files import DamagedModelError
from include.ml.tasks import UnfitOutputError

OF_MODEL = (DamagedModelError, ModelRefusedError, RegistryRefusedError, UnfitOutputError)
"""What is wrong with a version itself, at every further try. What is wrong with the rows stops the night."""

PRIOR_DAYS = 28
"""What is usual is told by the labels of so many days: whole weeks, and short enough to be of this season."""


@dataclass(frozen=True)
class Fallback:
    """Days that somebody else than their champion has scored.

    Attributes:
        champion: the version that should have.
        by: ``previous champion`` or ``prior``.
        version: of the previous champion; None for what is usual.
        why: what was wrong with the champion, and with the one before it where that failed too.
    """

    champion: int
    by: str
    version: int | None
    first: date
    last: date
    rows: int
    why: str

    def __str__(self) -> str:
        days = str(self.first) if self.first == self.last else f"{self.first} to {self.last}"
        who = f"version {self.version}, the champion before it" if self.version else "what is usual, without a model"
        return f"version {self.champion} could not score {days}: {self.rows} rows are by {who}. {self.why}"


def score(
    case: UseCase, decided: Sequence[Champion], champion: Champion, rows: pl.DataFrame, is_last_try: bool
) -> tuple[pl.DataFrame, Fallback | None]:
    """``rows``, of days of ``champion``, scored by it; or by whoever takes its place, and then what has happened.

    An error that may pass is raised unless this ``is_last_try``: another one may find MLflow well. Raises what
    ``scoring.score_rows`` does where the spec wants no fallback, where the rows are wrong and not the model, and where
    there is nobody to take its place.
    """
    try:
        return _marked(scoring.score_rows(case, champion, rows), scoring.CHAMPION), None
    except Exception as error:
        if not case.scoring.fallback or not _is_of_model(error, is_last_try):
            raise
        failed, why = error, _said(error)

    def told(found: pl.DataFrame, by: str, version: int | None) -> tuple[pl.DataFrame, Fallback]:
        days = sorted(rows[case.day].unique())
        return _marked(found, by), Fallback(champion.model_version, by, version, days[0], days[-1], rows.height, why)

    if (previous := before(decided, champion)) is not None:
        try:
            return told(scoring.score_rows(case, previous, rows), scoring.PREVIOUS, previous.model_version)
        except Exception as error:
            if not (_is_of_model(error, is_last_try) or isinstance(error, DataMissingError)):
                raise
            why += f" Version {previous.model_version}, the champion before it, failed too: {_said(error)}"
    found = usual(case, rows)
    if found is None:
        raise failed
    return told(found, scoring.PRIOR, None)


def joined(found: Sequence[Fallback]) -> list[Fallback]:
    """``found``, in the order of days: what is of one champion, by the same and for the same reason, as one."""
    out: list[Fallback] = []
    for one in found:
        last = out[-1] if out else None
        if last and (last.champion, last.by, last.version, last.why) == (one.champion, one.by, one.version, one.why):
            out[-1] = replace(last, last=one.last, rows=last.rows + one.rows)
        else:
            out.append(one)
    return out


def before(decided: Sequence[Champion], champion: Champion) -> Champion | None:
    """The champion that served before ``champion``, of another version; None where none has.

    A version that a person has taken back by a rollback is passed over: it is there to score nothing more.
    """
    served = sorted(decided, key=lambda row: (row.effective_from, row.decided_at))
    served = served[: served.index(champion) + 1]
    taken_back = set[int]()
    for earlier, later in pairwise(served):
        if later.how == ledger.ROLLBACK:
            taken_back.add(earlier.model_version)
        taken_back.discard(later.model_version)
    others = [row for row in served if row.model_version not in {champion.model_version, *taken_back}]
    return others[-1] if others else None


def usual(case: UseCase, rows: pl.DataFrame) -> pl.DataFrame | None:
    """What is usual, for each of ``rows``; by the first of the spec's slices, where that has rows enough of a value.

    Of each day by itself, so that a range gives what its nights do. None where a day has no labels to go by.
    """
    found = []
    for (day,), of_day in rows.partition_by(case.day, as_dict=True, maintain_order=True).items():
        labels = _known(case, day)
        if labels.is_empty():
            return None
        found.append(_usual_of_day(case, labels, of_day))
    return pl.concat(found)


def _known(case: UseCase, day: date) -> pl.DataFrame:
    """The labels that were known when ``day`` was to be scored, of the last ``PRIOR_DAYS``, with the spec's slice."""
    night = day - timedelta(case.horizon_days)
    last = dataset.newest_label_day(case, night)
    days = (last - timedelta(PRIOR_DAYS - 1), last)
    if not delta.exists("gold", case.labels_table):
        return pl.DataFrame()
    labels = delta.read_days("gold", case.labels_table, *days, day=case.day)
    labels = dataset.labelled(case, labels.filter(pl.col(dataset.KNOWN) <= night))
    by = case.evaluation.slices[:1]
    if not by or by[0] in case.entity:
        return labels
    groups = delta.read_days("gold", case.features_table, *days, columns=[*case.key, *by], day=case.day)
    return labels.join(groups, on=case.key, how="left")


def _usual_of_day(case: UseCase, labels: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    task, keys = tasks.of(case), rows.select(*case.entity, case.day)

    def of(some: pl.DataFrame) -> pl.DataFrame:
        return scoring.framed(task, task.always(task.labels(some[case.label])))

    version = pl.lit(None, pl.Int64).alias(scoring.VERSION)
    everywhere = of(labels)
    if not (by := next(iter(case.evaluation.slices), None)):
        return keys.join(everywhere, how="cross").with_columns(version)
    parts = [
        of(some).with_columns(pl.lit(value, labels.schema[by]).alias(by))
        for (value,), some in labels.partition_by(by, as_dict=True).items()
        if value is not None and some.height >= case.evaluation.min_slice_rows
    ]
    names = everywhere.columns
    of_rows = rows.select(*case.entity, case.day, *([by] if by not in case.entity else []))
    if parts:
        of_rows = of_rows.join(pl.concat(parts), on=by, how="left", maintain_order="left")
    else:
        of_rows = of_rows.with_columns(pl.lit(None, everywhere.schema[name]).alias(name) for name in names)
    filled = of_rows.with_columns(pl.col(name).fill_null(everywhere[name][0]) for name in names)
    return filled.select(*case.entity, case.day, *names).with_columns(version)


def _marked(found: pl.DataFrame, by: str) -> pl.DataFrame:
    return found.with_columns(pl.lit(by).alias(scoring.SCORED_BY))


def _is_of_model(error: Exception, is_last_try: bool) -> bool:
    """Whether it is the model that fails, for good; what may pass counts as that at the last try."""
    return isinstance(error, OF_MODEL) or (is_last_try and may_pass(error))


def _said(error: Exception) -> str:
    said: Any = str(error) or type(error).__name__
    return f"{said.rstrip('.')}."
