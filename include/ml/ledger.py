"""The deployment ledger: which version was champion for which event dates, who decided and why. Sealed."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta

import polars as pl

from include.contracts.use_case import UseCase
from include.core.lease import lease
from include.lake import chain, commit, usage
from include.ml import record

SCHEMA: dict[str, pl.DataType] = {
    "model_version": pl.Int64(),
    "effective_from": pl.Date(),
    "decided_at": pl.Datetime("us", "UTC"),
    "decided_by": pl.String(),
    "reason": pl.String(),
    "run_id": pl.String(),
    "model_sha256": pl.String(),
    "reference_sha256": pl.String(),
    "trained_from": pl.Date(),
    "fitted_through": pl.Date(),
    "trained_through": pl.Date(),
    "how": pl.String(),  # null of lines of before there were rollbacks, which came through the gates
}


ROLLBACK, BY_HAND = "rollback", "by hand"
"""How a version became champion where not by the gates' verdict."""


class NoChampionError(LookupError):
    """No version is champion for a day; the message says what to do."""


@dataclass(frozen=True)
class Champion:
    """One row of the ledger.

    Attributes:
        effective_from: the first event date (not night) that this version scores.
        model_sha256, reference_sha256: of the booster's UBJSON and of ``reference.json``; what is loaded must match.
        trained_from, trained_through: the days of its training set, holdout included.
        fitted_through: the last day that its trees were grown on.
        how: ``rollback`` where a person has put it back, ``by hand`` where one has asked for it; None of what came
            through the gates.
    """

    model_version: int
    effective_from: date
    decided_at: datetime
    decided_by: str
    reason: str
    run_id: str
    model_sha256: str
    reference_sha256: str
    trained_from: date
    fitted_through: date
    trained_through: date
    how: str | None = None


@contextmanager
def deploying(case: UseCase) -> Iterator[None]:
    """What promotes a version and what scores with one take turns: a day has the champion that the ledger names."""
    with lease(f"deploy {case.name}"):
        commit.settle()
        yield


def read(case: UseCase) -> list[Champion]:
    """The whole ledger, in the order of decisions; empty where there is none yet. Raises BrokenLedgerError."""
    rows = record.lines(f"gold.{case.deployments_table}", SCHEMA).sort("decided_at", "model_version")
    return [Champion(**row) for row in rows.iter_rows(named=True)]


def pick(ledger: list[Champion], day: date) -> Champion | None:
    """The champion of ``day``: of the rows in effect by then the one that took effect (then: was decided) last."""
    effective = [row for row in ledger if row.effective_from <= day]
    return max(effective, key=lambda row: (row.effective_from, row.decided_at)) if effective else None


def champion_for(case: UseCase, day: date) -> Champion | None:
    """The champion that scores the event date ``day``, or None when no version was promoted for it."""
    return pick(read(case), day)


def require_champion(case: UseCase, ledger: list[Champion], day: date) -> Champion:
    """Like ``pick``, but raises NoChampionError saying what to do."""
    champion = pick(ledger, day)
    if champion is None:
        known = f"the first one takes effect on {min(row.effective_from for row in ledger)}" if ledger else "none ever"
        raise NoChampionError(
            f"{case.name} has no champion for {day}: {known}. Train one on earlier days and promote it first."
        )
    return champion


def latest_champion(case: UseCase) -> Champion | None:
    """The champion of the newest days, whatever was decided about earlier ones."""
    return pick(read(case), date.max)


def first_free_day(case: UseCase, trained_through: date) -> date:
    """The first day after the night of the training that has not been scored yet.

    A deployment never rewrites the past, nor does a version score days that were over when its labels were known:
    ``trained_through`` is the last day with labels, and these were known ``label_days`` later.
    """
    free = trained_through + timedelta(case.overlap_days)
    scored = usage.days_of(f"gold.{case.predictions_table}")
    return max(free, max(scored) + timedelta(1)) if scored else free


def append(
    case: UseCase,
    *,
    model_version: int,
    effective_from: date,
    decided_by: str,
    reason: str,
    run_id: str,
    model_sha256: str,
    reference_sha256: str,
    trained_from: date,
    fitted_through: date,
    trained_through: date,
    how: str | None = None,
) -> Champion:
    """Write one decision. Hold ``deploying`` around reading, deciding and this."""
    row = Champion(
        model_version=model_version,
        effective_from=effective_from,
        decided_at=datetime.now(UTC),
        decided_by=decided_by,
        reason=reason,
        run_id=run_id,
        model_sha256=model_sha256,
        reference_sha256=reference_sha256,
        trained_from=trained_from,
        fitted_through=fitted_through,
        trained_through=trained_through,
        how=how,
    )
    chain.append(f"gold.{case.deployments_table}", as_lines(row), f"champion {model_version} of {case.name}")
    return row


def as_lines(row: Champion) -> pl.DataFrame:
    """A decision as a line of the ledger, for whoever commits it together with something else."""
    return pl.DataFrame([asdict(row)], schema=SCHEMA)
