"""Persons who approve a version: what they are asked, what they have answered, and when that counts.

A question is bound to the files of the version, to the judgement that was shown, and to the champion that it would
replace. Its answers count for it alone. A no ends it, and so does no answer in time. All of it are lines of a sealed
ledger, ``gold.<case>__approvals``: neither Airflow's tasks nor its XComs decide.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from include.contracts.use_case import UseCase
from include.core.errors import NeedsAttentionError, NocturneError
from include.core.lease import lease
from include.core.settings import settings
from include.ml import ledger, record, rollouts
from include.ml.ledger import Champion
from include.ml.record import Approval, Judgement, Training, Word

GATES = "gates"
"""Who asks where no person does."""

SHORT = 12
"""Letters of a digest that tell two files apart."""


class NotAskedError(NeedsAttentionError):
    """Nobody was asked what is to be answered or carried out."""


class ApprovalVoidError(NeedsAttentionError):
    """What was approved is not what is there now, or too few have approved it. The message says which."""


class SamePersonError(NocturneError):
    """Somebody has approved already, and is asked no second time. Another try asks another person."""


def deciding(case: UseCase) -> AbstractContextManager[None]:
    """Who asks and who answers take turns."""
    return lease(f"approve {case.name}")


def open_judgement(case: UseCase) -> Judgement | None:
    """What the gates let through and no person was asked about: of the newest version, beside the champion of now.

    While another version is rolled out, nobody is asked: what is approved then could not begin.
    """
    steps = rollouts.read(case)
    found, champion = record.newest_judgement(case), ledger.latest_champion(case)
    if found is None or found.verdict != "promote" or found.champion != (champion and champion.model_version):
        return None
    if found.model_version in {row.model_version for row in ledger.read(case)}:
        return None
    if rollouts.blocks(steps, found.model_version, found.model_sha256):
        return None
    seal = record.seal_of(case, found.model_version)
    return None if any(one.judgement == seal for one in record.approvals(case)) else found


def ask(
    case: UseCase,
    request: str,
    judgement: Judgement,
    training: Training,
    run_id: str,
    champion: Champion | None,
    who: str,
    why: str,
) -> Approval:
    """Write the question ``request`` down, as it will be shown; the one that is there already if it is."""
    with deciding(case):
        found = _question(record.approvals(case), request)
        if found is not None:
            return found
        version, by_hand = judgement.model_version, who != GATES
        new = Approval(
            request=request,
            word="ask",
            who=who,
            why=why,
            model_version=version,
            model_sha256=training.model_sha256,
            reference_sha256=training.reference_sha256,
            champion=champion.model_version if champion else None,
            judgement=record.seal_of(case, version),
            by_hand=by_hand,
            subject=f"{case.name}: make version {version} champion{_in_place_of(champion)}?",
            body=body(case, judgement, training, run_id, champion, f"{who}: {why}" if by_hand else ""),
        )
        record.append_approval(case, new)
        return new


def answer(case: UseCase, request: str, word: Word, who: str, why: str = "") -> Approval:
    """Write down what ``who`` has answered. What is there already is not written again.

    Raises NotAskedError, and SamePersonError where somebody approves twice.
    """
    with deciding(case):
        question, answers = _asked(case, request)
        ended = next((one for one in answers if one.word != "approve"), None)
        if ended is not None:
            return ended
        mine = next((one for one in answers if one.who == who), None)
        if mine is not None and word == "approve":
            raise SamePersonError(f"{who} has approved it already: another person has to, who is asked next")
        new = replace(question, word=word, who=who, why=why, said_at=datetime.now(UTC))
        record.append_approval(case, new)
        return new


def waiting(case: UseCase) -> Approval | None:
    """The newest question, if it waits for an answer still; None where it has all it needs, or its time is over."""
    lines = record.approvals(case)
    question = next((one for one in reversed(lines) if one.word == "ask"), None)
    if question is None or datetime.now(UTC) >= question.said_at + timedelta(hours=case.promotion.approval_hours):
        return None
    answers = [one for one in lines if one.request == question.request and one.word != "ask"]
    ended = turned_down(answers) or len(answers) >= case.promotion.approvals
    return None if ended else question


def asked(case: UseCase, request: str) -> Approval:
    """The question ``request``. Raises NotAskedError."""
    return _asked(case, request)[0]


def answers_to(case: UseCase, request: str) -> list[Approval]:
    """What was answered, in its order. Raises NotAskedError."""
    return _asked(case, request)[1]


def _asked(case: UseCase, request: str) -> tuple[Approval, list[Approval]]:
    found = record.approvals(case)
    question = _question(found, request)
    if question is None:
        raise NotAskedError(f"gold.{case.approvals_table} knows no question {request}: ask it first")
    return question, [one for one in found if one.request == request and one.word != "ask"]


def _question(lines: Iterable[Approval], request: str) -> Approval | None:
    return next((one for one in lines if one.request == request and one.word == "ask"), None)


def left(case: UseCase, question: Approval) -> timedelta:
    """How long an answer is waited for still; a second at least."""
    until = question.said_at + timedelta(hours=case.promotion.approval_hours)
    return max(until - datetime.now(UTC), timedelta(seconds=1))


def may(case: UseCase, who: str) -> bool:
    """Whether the approval of ``who`` counts."""
    return bool(who) and (not case.promotion.approvers or who in case.promotion.approvers)


def turned_down(answers: Iterable[Approval]) -> str:
    """The no that ends a question, in words; empty where there is none."""
    found = next((one for one in answers if one.word in ("reject", "timeout")), None)
    if found is None:
        return ""
    when = f"{found.said_at:%Y-%m-%d %H:%M} UTC"
    return f"nobody answered by {when}" if found.word == "timeout" else f"{_said(found)} said no on {when}"


def _said(one: Approval) -> str:
    return f"{one.who} ({one.why})" if one.why else one.who


def require(
    case: UseCase,
    question: Approval,
    answers: list[Approval],
    training: Training,
    judgement: str,
    champion: Champion | None,
) -> list[Approval]:
    """The approvals by which the version may become champion, each by another person; as many as the spec asks for.

    ``training``, ``judgement`` (its seal) and ``champion`` are those of now. Raises ApprovalVoidError.
    """
    again = f"Ask again: make promote use_case={case.name} version={question.model_version} why=… yes=1"
    this = f"version {question.model_version} of {case.name}"
    now = champion.model_version if champion else None
    if now != question.champion:
        raise ApprovalVoidError(
            f"{this} was shown {_place_of(question.champion)}, and now {_named(now)} is champion. {again}"
        )
    files = (training.model_sha256, training.reference_sha256)
    if files != (question.model_sha256, question.reference_sha256):
        raise ApprovalVoidError(
            f"{this} was shown with the files {question.model_sha256[:SHORT]}, and its training has made "
            f"{training.model_sha256[:SHORT]}. {again}"
        )
    if judgement != question.judgement:
        raise ApprovalVoidError(f"{this} was judged again after it was shown to those who approve it. {again}")
    if no := turned_down(answers):
        raise ApprovalVoidError(f"{this} was not approved: {no}. {again}")
    by_person = {one.who: one for one in answers if one.word == "approve" and may(case, one.who)}
    wanted = case.promotion.approvals
    if len(by_person) < wanted:
        others = sorted({one.who for one in answers} - by_person.keys())
        theirs = f" {', '.join(others)} may not." if others else ""
        raise ApprovalVoidError(
            f"{this} has {len(by_person)} of the {wanted} approvals that its spec asks for.{theirs} {again}"
        )
    return list(by_person.values())


def how_it_stands(case: UseCase, version: int) -> str:
    """How it stands with the approvals of a version that the gates let through, in a sentence."""
    wanted, seal = case.promotion.approvals, record.seal_of(case, version)
    page = f"{settings().airflow_link}/dags/{case.name}_promote"
    lines = [one for one in record.approvals(case) if one.judgement == seal]
    request = next((one.request for one in reversed(lines) if one.word == "ask"), None)
    given = [one for one in lines if one.request == request and one.word != "ask"]
    if no := turned_down(given):
        return f"it was not approved: {no}"
    people = "a person" if wanted == 1 else "two persons"
    so_far = f" ({', '.join(one.who for one in given)} did)" if given else ""
    return f"it passed its gates, and waits for {people} to approve it{so_far}: {page}"


# --- what is shown ---


def _named(version: int | None) -> str:
    return f"version {version}" if version else "none"


def _place_of(version: int | None) -> str:
    return f"in place of version {version}" if version else "as the first champion"


def _in_place_of(champion: Champion | None) -> str:
    return f" in place of version {champion.model_version}" if champion else ""


def body(
    case: UseCase, judgement: Judgement, training: Training, run_id: str, champion: Champion | None, asked_by: str
) -> str:
    """What a person is shown of a version, in Markdown. ``asked_by`` is who has asked for it by hand, and why."""
    version = judgement.model_version
    files = f"`{training.model_sha256[:SHORT]}` and `{training.reference_sha256[:SHORT]}`"
    pages = f"{settings().mlflow_link}/#"
    lines = [
        f"**Version {version}** of `{case.name}` learned from {training.trained_from} to {training.trained_through}.",
        f"The SHA-256 of its files begin with {files}. [Its page in MLflow]"
        f"({pages}/models/{case.name}/versions/{version}), run `{run_id}`.",
    ]
    if champion is not None:
        lines.append(
            f"It would take the place of version {champion.model_version}, which learned through "
            f"{champion.trained_through} and is champion since {champion.effective_from}."
        )
    if asked_by:
        lines.append(f"**Asked for by {asked_by}**")
    lines += [
        f"**Verdict: {judgement.verdict}**, look {judgement.look}, by {judgement.days} days, {judgement.first} to "
        f"{judgement.last}; {judgement.versions} version{'s' if judgement.versions > 1 else ''} judged on them.",
        "\n".join(f"- {reason}" for reason in judgement.reasons),
        _table(version, judgement.measured or {f"challenger_{name}": one for name, one in training.metrics.items()}),
        f"Seal of the judgement: `{record.seal_of(case, version)[:SHORT]}`.",
    ]
    return "\n\n".join(lines)


def _table(version: int, measured: Mapping[str, float]) -> str:
    """The metrics of both, a line each; of one alone where it was judged alone.

    What is of the days, and so the same of both, is left out, but for the number of rows.
    """
    ours, theirs, gains = (
        {name.removeprefix(of): value for name, value in measured.items() if name.startswith(of)}
        for of in ("challenger_", "champion_", "gain_")
    )
    ours = ours or dict(measured)

    def shown(of: Mapping[str, float], name: str) -> str:
        return f"{of[name]:.4g}" if name in of else ""

    rows = [
        f"| {name} | {shown(ours, name)} | {shown(theirs, name)} | {shown(gains, name)} |"
        for name in sorted(ours.keys() | theirs.keys())
        if name in gains or name == "n" or ours.get(name) != theirs.get(name)
    ]
    return "\n".join([f"| metric | version {version} | champion | gains |", "|---|--:|--:|--:|", *rows])
