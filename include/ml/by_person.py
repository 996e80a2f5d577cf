"""A version that persons promote: what it would do, the question that they are asked, and carrying out what they said.

What the gates let through and the spec wants approved comes here by itself. A version that waits, or one that was
refused for nothing but its age, comes here when a person asks for it. One that the gates have refused never does.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from include.contracts.use_case import UseCase
from include.core.errors import BadRequestError
from include.ml import approvals, errors, ledger, model_files, promotion, record, registry, rollouts, tasks
from include.ml.approvals import GATES
from include.ml.ledger import Champion
from include.ml.record import Approval, Judgement, Training
from include.use_cases import use_case

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


class NotToPromoteError(BadRequestError):
    """A version that no person can promote; the message says why."""


@dataclass(frozen=True)
class Plan:
    """What promoting a version by hand would do.

    Attributes:
        serving: the champion of now; None where there is none.
        effective_from: the first event date that the version scores: the first that nobody has scored yet.
        approvals: how many persons have to approve it first.
        has_rollout: whether it begins in the shadow of ``serving``.
    """

    training: Training
    judgement: Judgement
    serving: Champion | None
    effective_from: date
    approvals: int
    has_rollout: bool = False

    def __str__(self) -> str:
        how = "in the shadow of" if self.has_rollout else "in place of"
        place = f" {how} version {self.serving.model_version}" if self.serving else ""
        people = {0: "", 1: ", once a person has approved it", 2: ", once two persons have approved it"}[self.approvals]
        return (
            f"version {self.judgement.model_version} (trained on days through {self.training.trained_through}){place}, "
            f"from event date {self.effective_from} on{people}. Its verdict: {self.judgement.verdict}; "
            f"{'; '.join(self.judgement.reasons)}"
        )


def plan(case: UseCase, version: int) -> Plan:
    """What promoting ``version`` by hand would do; nothing is written.

    Raises NotToPromoteError, RegistryRefusedError for an unknown version, UnknownRecipeError, DamagedModelError.
    """
    from mlflow import MlflowClient

    with ledger.deploying(case), errors.of_mlflow(f"to tell about version {version} of {case.name}"):
        return _planned(case, MlflowClient(), version)[0]


def _planned(case: UseCase, client: MlflowClient, version: int) -> tuple[Plan, ModelVersion]:
    champion = ledger.latest_champion(case)
    if any(row.model_version == version for row in ledger.read(case)):
        serves = champion is not None and champion.model_version == version
        how = "is champion already" if serves else f"was champion: make rollback use_case={case.name} version={version}"
        raise NotToPromoteError(f"version {version} of {case.name} {how}")
    found = client.get_model_version(case.name, str(version))
    training = registry.training_of(case, found)
    _require_free(case, version, training)
    judgement = promotion.considered(case, version, str(found.run_id), training, champion)
    if judgement.verdict == "refuse" and not judgement.too_old:
        _refuse(case, version, judgement.reasons)
    if judgement.too_old and (failed := tasks.of(case).reasons(training.metrics)):
        _refuse(case, version, failed)
    _check_files(case, version, str(found.run_id), training)
    effective_from = ledger.first_free_day(case, training.trained_through)
    has_rollout = case.rollout is not None and champion is not None
    return Plan(training, judgement, champion, effective_from, case.promotion.approvals, has_rollout), found


def _refuse(case: UseCase, version: int, reasons: list[str]) -> None:
    raise NotToPromoteError(
        f"version {version} of {case.name} is refused by its gates, and nobody can promote it: {'; '.join(reasons)}. "
        "Train another one"
    )


def _require_free(case: UseCase, version: int, training: Training) -> None:
    """Raise NotToPromoteError where a version is rolled out, was rolled back, or has to wait for one that is."""
    steps = rollouts.read(case)
    going = rollouts.current(steps)
    if going is not None and going.model_version == version:
        raise NotToPromoteError(f"{rollouts.words(going)}, and goes on by what comes of it: make rollout shows what")
    if case.rollout is not None and (why := rollouts.blocks(steps, version, training.model_sha256)):
        raise NotToPromoteError(
            f"version {version} of {case.name} cannot begin its rollout: {why}. make rollout use_case={case.name} "
            "stop=1 ends one that goes on"
        )


def _check_files(case: UseCase, version: int, run_id: str, training: Training) -> None:
    """Raise DamagedModelError where the files of a version are not those that its training has made."""
    model_files.booster_of(case, version, run_id, training.model_sha256)
    model_files.reference_of(case, version, run_id, training.reference_sha256)


def ask(name: str, request: str, version: int | None = None, who: str = GATES, why: str = "") -> Approval | None:
    """Task: write down what persons are asked in the run ``request``; asked again, it is what it was.

    ``version`` is one that a person wants promoted; None is that which the gates let through and nobody was asked
    about, and the answer is None where there is none. Raises what ``plan`` does.
    """
    from mlflow import MlflowClient

    case, client = use_case(name), MlflowClient()
    with ledger.deploying(case), errors.of_mlflow(f"to ask about a version of {case.name}"):
        if there := [one for one in record.approvals(case) if (one.request, one.word) == (request, "ask")]:
            return there[0]
        wanted = approvals.open_judgement(case) if version is None else None
        if version is None and wanted is None:
            return None
        planned, found = _planned(case, client, wanted.model_version if wanted else version or 0)
        judgement, training, champion = planned.judgement, planned.training, planned.serving
        if record.last_judgement(case, judgement.model_version) != judgement:
            record.append_judgement(case, judgement)
        if not promotion.is_shown(found, judgement):
            promotion.show(case, client, str(found.run_id), judgement)
        return approvals.ask(case, request, judgement, training, str(found.run_id), champion, who, why)


def carry_out(name: str, request: str) -> dict[str, Any]:
    """Task: make the version champion that the question ``request`` is about, if it was approved.

    Everything that the approvals are bound to is looked at again. Asked again, it is what it was. Returns what
    ``promotion.promote`` does, and the ``partition`` of the training.

    Raises ApprovalVoidError, NotAskedError, DamagedModelError, UnknownRecipeError.
    """
    from mlflow import MlflowClient

    case, client = use_case(name), MlflowClient()
    question = approvals.asked(case, request)
    version, this = question.model_version, f"version {question.model_version} of {case.name}"
    with ledger.deploying(case), errors.of_mlflow(f"to promote {this}"):
        found, champion = client.get_model_version(case.name, str(version)), ledger.latest_champion(case)
        training = registry.training_of(case, found)
        if (done := promotion.as_decided(case, version)) is not None:
            if champion is None or champion.model_version != version:
                raise approvals.ApprovalVoidError(
                    f"{this} has been champion since it was asked about, and is no more: make rollback "
                    f"use_case={case.name} version={version} puts it back"
                )
            return done | {"partition": str(training.partition)}
        answers, seal = approvals.answers_to(case, request), record.seal_of(case, version)
        approved = approvals.require(case, question, answers, training, seal, champion)
        going = promotion.rolled_out(case, version, training, champion)
        if going is not None and going["awaits"]:  # an earlier try has begun its rollout
            return going | {"partition": str(training.partition)}
        _require_free(case, version, training)
        _check_files(case, version, str(found.run_id), training)
        decided_by, reason = _said(question, approved, record.last_judgement(case, version))
        how = ledger.BY_HAND if question.by_hand else None
        night = training.partition
        done = promotion.let_through(case, found, training, champion, decided_by, reason, [reason], night, how)
        return done | {"partition": str(training.partition)}


def _said(question: Approval, approved: list[Approval], judgement: Judgement | None) -> tuple[str, str]:
    """Who decided, and why, for the deployment ledger."""
    reasons = [question.why] if question.by_hand else list(judgement.reasons if judgement else [])
    if question.by_hand and approved:
        reasons.append(f"asked for by {question.who}")
    reasons += [f"{one.who}: {one.why}" for one in approved if one.why]
    by = f"{' and '.join(one.who for one in approved)} in Airflow" if approved else question.who
    return by, "; ".join(reasons)
