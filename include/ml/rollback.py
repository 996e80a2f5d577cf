"""Back to the version that served before, or to any that ever was champion: a person's decision, in the ledger at once.

The days that are scored keep their champion, unless a day to go back from is given: those since are stale then, and
are scored again by ``make refresh``. The policy asks for no retraining until a version becomes champion in
another way: it would train again what was taken back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from include.contracts.use_case import UseCase
from include.core.errors import BadRequestError
from include.lake import delta
from include.ml import ledger, model_files, registry, scoring
from include.ml.ledger import Champion
from include.ml.scoring import VERSION


class NothingToRollBackError(BadRequestError):
    """There is no version to go back to; the message says which there are."""


@dataclass(frozen=True)
class Plan:
    """What a rollback would do.

    Attributes:
        serving: the champion of now.
        back: the decision of the ledger by which the version to go back to served.
        effective_from: the first event date that it scores: the first that nobody has scored yet, or an earlier one
            that was asked for.
    """

    serving: Champion
    back: Champion
    effective_from: date

    def __str__(self) -> str:
        return (
            f"version {self.back.model_version} (trained on days through {self.back.trained_through}, champion from "
            f"{self.back.effective_from} on) in place of version {self.serving.model_version}, from event date "
            f"{self.effective_from} on"
        )


def plan(case: UseCase, version: int | None = None, since: date | None = None) -> Plan:
    """What going back to ``version`` would do; None is the one that served before the champion of now.

    It takes effect on the event date ``since``, but not before the version that it replaces did, nor on days that were
    over when its labels were known. Raises NothingToRollBackError.
    """
    decided = ledger.read(case)
    serving = ledger.pick(decided, date.max)
    if serving is None:
        raise NothingToRollBackError(f"{case.name} has no champion")
    known = sorted({row.model_version for row in decided})
    wanted = version or _served_before(case, serving)
    if wanted is None:
        raise NothingToRollBackError(
            f"no version of {case.name} has served before version {serving.model_version}; champions were "
            f"{', '.join(map(str, known))}: say which, version={known[0]}"
        )
    back = next((row for row in reversed(decided) if row.model_version == wanted), None)
    if back is None:
        raise NothingToRollBackError(
            f"version {wanted} of {case.name} was never champion, and goes through the gates; champions were "
            f"{', '.join(map(str, known))}"
        )
    if since is None:
        return Plan(serving, back, ledger.first_free_day(case, back.trained_through))
    others = [row.effective_from for row in decided if row.model_version != wanted]
    return Plan(serving, back, max(since, back.trained_through + timedelta(case.overlap_days), *others))


def _served_before(case: UseCase, serving: Champion) -> int | None:
    """The version that scored the newest day of those that the champion of now did not score."""
    if not delta.exists("gold", case.predictions_table):
        return None
    rows = scoring.of_champions(delta.scan("gold", case.predictions_table))
    scored = rows.filter(pl.col(VERSION) != serving.model_version)
    last = scored.sort(case.day).select(VERSION).tail(1).collect()
    return int(last[VERSION][0]) if last.height else None


def carry_out(case: UseCase, version: int | None, who: str, why: str, since: date | None = None) -> tuple[Plan, bool]:
    """Put a version back. Returns the plan, and whether anything was written: asked again, nothing is.

    Its files are looked at before, so that what is put back can score. MLflow's alias follows the ledger; where MLflow
    is away the rollback holds all the same, and RegistryAwayError or RegistryRefusedError is raised after it.
    Raises NothingToRollBackError, DamagedModelError.
    """
    with ledger.deploying(case):
        found = plan(case, version, since)
        first = found.serving if since is None else ledger.pick(ledger.read(case), found.effective_from)
        # All decisions of a later day are for this version, or the plan would begin after them.
        new = first is None or found.back.model_version != first.model_version
        if new:
            model_files.load_booster(case, found.back)
            model_files.load_reference(case, found.back)
            ledger.append(
                case,
                model_version=found.back.model_version,
                effective_from=found.effective_from,
                decided_by=who,
                reason=why,
                run_id=found.back.run_id,
                model_sha256=found.back.model_sha256,
                reference_sha256=found.back.reference_sha256,
                trained_from=found.back.trained_from,
                fitted_through=found.back.fitted_through,
                trained_through=found.back.trained_through,
                how=ledger.ROLLBACK,
            )
    # By a lease of its own: the line counts, whatever becomes of the alias, and a promotion may have come since.
    with ledger.deploying(case):
        registry.show_champion(case)
    return found, new
