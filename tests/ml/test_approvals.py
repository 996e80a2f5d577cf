"""A version that persons approve: what they are shown, whose answer counts, and how every crossing ends."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
from deltalake import write_deltalake

from include.contracts.use_case import Promotion, UseCase
from include.core.settings import settings
from include.lake import delta, usage
from include.ml import approvals, by_person, ledger, model_files, promotion, record, registry, rollback
from include.orchestration.airflow_client import Airflow
from tests import commands
from tests.ml.conftest import FIRST, toy_case, write_days

NIGHT = FIRST + timedelta(29)
LATER = NIGHT + timedelta(7)
QUESTION = "toy_promote run 1"
ONE, TWO = Promotion(approvals=1), Promotion(approvals=2, approvers=("ann", "bob"))

type Asking = Callable[[Promotion], UseCase]


@pytest.fixture(scope="module")
def let_through(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world with a version 2, whose files are those of version 1, which the gates have let through."""
    home = tmp_path_factory.mktemp("let_through")
    shutil.copytree(world / "var", home / "var")
    shutil.copy(world / "mlflow.db", home / "mlflow.db")
    before = mlflow.get_tracking_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_VAR", str(home / "var"))
        patch.setattr("include.use_cases.use_cases", lambda: {"toy": toy_case(promotion=ONE)})
        settings.cache_clear()
        mlflow.set_tracking_uri(f"sqlite:///{home / 'mlflow.db'}")
        (one,) = mlflow.MlflowClient().search_model_versions("name = 'toy'")
        mlflow.MlflowClient().create_model_version("toy", one.source, one.run_id, tags=one.tags)
        write_days(toy_case(), NIGHT + timedelta(1), 20)
        answer = promotion.promote("toy", 2, LATER)
        assert (answer["verdict"], answer["promoted"]) == ("promote", False), answer
        assert "waits for a person to approve it" in answer["awaits"]
    mlflow.set_tracking_uri(before)
    settings.cache_clear()
    return home


@pytest.fixture
def asking(let_through: Path, lake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asking]:
    """The toy use case with these approvals, in this test's own copy of the lake and of MLflow."""

    def to(promotion: Promotion) -> UseCase:
        case = toy_case(promotion=promotion)
        monkeypatch.setattr("include.use_cases.use_cases", lambda: {"toy": case})
        return case

    shutil.copytree(let_through / "var", lake.parent, dirs_exist_ok=True)
    shutil.copy(let_through / "mlflow.db", tmp_path / "mlflow.db")
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(f"sqlite:///{tmp_path / 'mlflow.db'}")
    yield to
    mlflow.set_tracking_uri(before)


def alias() -> int:
    return int(mlflow.MlflowClient().get_model_version_by_alias("toy", "champion").version)


def versions(case: UseCase) -> list[int]:
    """The champions, in the order in which they were decided on."""
    return [row.model_version for row in ledger.read(case)]


def judge(case: UseCase, version: int = 2, **change: Any) -> record.Judgement:
    """Have the last judgement of version 2 be another one, of ``version``."""
    last = record.last_judgement(case, 2)
    assert last is not None
    new = replace(last, model_version=version, **change)
    record.append_judgement(case, new)
    return new


def crowned(case: UseCase, version: int) -> None:
    """Another one becomes champion meanwhile."""
    (first, *_) = ledger.read(case)
    values = {name: getattr(first, name) for name in ledger.SCHEMA if name not in ("decided_at", "model_version")}
    ledger.append(case, model_version=version, **values)


def test_what_the_gates_let_through_awaits_persons_and_is_asked_about_once(asking: Asking) -> None:
    case = asking(ONE)
    open_one = approvals.open_judgement(case)
    assert open_one is not None
    assert open_one.model_version == 2
    question = by_person.ask("toy", QUESTION)
    assert question is not None
    training = record.trainings(case)[0]
    assert (question.word, question.who, question.champion) == ("ask", "gates", 1)
    assert (question.model_sha256, question.reference_sha256) == (training.model_sha256, training.reference_sha256)
    assert question.subject == "toy: make version 2 champion in place of version 1?"
    assert "**Verdict: promote**, look 2, by 14 days" in question.body
    assert "- AUC within days: gains +0.0000 on version 1" in question.body
    assert "| metric | version 2 | champion | gains |" in question.body
    assert f"`{training.model_sha256[:12]}`" in question.body
    assert f"/models/toy/versions/2), run `{ledger.read(case)[0].run_id}`" in question.body
    # Asked again, as by a task that is tried again, it is what it was. Another run has nothing to ask.
    assert by_person.ask("toy", QUESTION) == question
    assert by_person.ask("toy", "toy_promote run 2") is None
    assert promotion.promote("toy", 2, LATER)["promoted"] is False
    assert (versions(case), alias()) == ([1], 1)


def test_one_that_is_approved_becomes_champion_and_the_ledger_says_by_whom(asking: Asking) -> None:
    case = asking(ONE)
    by_person.ask("toy", QUESTION)
    given = approvals.answer(case, QUESTION, "approve", "ann", "looks right")
    assert (given.subject, given.body) == (
        approvals.asked(case, QUESTION).subject,
        approvals.asked(case, QUESTION).body,
    )
    done = by_person.carry_out("toy", QUESTION)
    assert (done["promoted"], done["version"], done["replaces"]) == (True, 2, 1)
    row = ledger.read(case)[-1]
    assert (row.model_version, row.decided_by, row.how) == (2, "ann in Airflow", None)
    assert row.reason.startswith("AUC within days: gains")
    assert row.reason.endswith("; ann: looks right")
    assert alias() == 2
    again = by_person.carry_out("toy", QUESTION)
    assert (again["promoted"], again["effective_from"]) == (True, done["effective_from"])
    assert versions(case) == [1, 2]


def test_a_kill_between_the_ledger_and_the_alias_is_made_up_for(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = asking(ONE)
    by_person.ask("toy", QUESTION)
    approvals.answer(case, QUESTION, "approve", "ann")
    with monkeypatch.context() as patch:
        patch.setattr(
            mlflow.MlflowClient, "set_registered_model_alias", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            by_person.carry_out("toy", QUESTION)
    assert (versions(case), alias()) == ([1, 2], 1)
    assert by_person.carry_out("toy", QUESTION)["promoted"]
    assert (versions(case), alias()) == ([1, 2], 2)


@pytest.mark.parametrize(
    ("word", "who", "said"),
    [("reject", "ann", r"ann \(too soon\) said no on"), ("timeout", "", "nobody answered by")],
)
def test_a_no_and_no_answer_end_it(asking: Asking, word: record.Word, who: str, said: str) -> None:
    case = asking(ONE)
    by_person.ask("toy", QUESTION)
    approvals.answer(case, QUESTION, word, who, "too soon" if who else "")
    # Who comes later, as after the task was cleared, changes nothing.
    assert approvals.answer(case, QUESTION, "approve", "bob").word == word
    with pytest.raises(approvals.ApprovalVoidError, match=said):
        by_person.carry_out("toy", QUESTION)
    assert (versions(case), alias()) == ([1], 1)
    # No night asks again.
    assert approvals.open_judgement(case) is None
    assert promotion.look_again("toy", LATER + timedelta(7)) is None
    assert "it was not approved" in promotion.promote("toy", 2, LATER)["awaits"]


def test_a_person_may_ask_again_after_a_no(asking: Asking) -> None:
    case = asking(ONE)
    by_person.ask("toy", QUESTION)
    approvals.answer(case, QUESTION, "timeout", "")
    by_person.ask("toy", "by hand", 2, "carl in Airflow", "they were on holiday")
    approvals.answer(case, "by hand", "approve", "ann")
    assert by_person.carry_out("toy", "by hand")["promoted"]
    row = ledger.read(case)[-1]
    assert (row.decided_by, row.how) == ("ann in Airflow", "by hand")
    assert row.reason == "they were on holiday; asked for by carl in Airflow"


def test_two_approvals_are_two_persons(asking: Asking) -> None:
    case = asking(TWO)
    by_person.ask("toy", QUESTION)
    approvals.answer(case, QUESTION, "approve", "ann")
    with pytest.raises(approvals.SamePersonError, match="ann has approved it already"):
        approvals.answer(case, QUESTION, "approve", "ann")
    with pytest.raises(approvals.ApprovalVoidError, match="1 of the 2 approvals"):
        by_person.carry_out("toy", QUESTION)
    approvals.answer(case, QUESTION, "approve", "bob", "yes")
    assert by_person.carry_out("toy", QUESTION)["promoted"]
    assert ledger.read(case)[-1].decided_by == "ann and bob in Airflow"


def test_only_those_count_whom_the_spec_names(asking: Asking) -> None:
    case = asking(TWO)
    by_person.ask("toy", QUESTION)
    for who in ("ann", "eve"):
        approvals.answer(case, QUESTION, "approve", who)
    with pytest.raises(approvals.ApprovalVoidError, match=r"1 of the 2 approvals .* eve may not"):
        by_person.carry_out("toy", QUESTION)


def test_a_task_that_is_marked_as_successful_approves_nothing(asking: Asking) -> None:
    case = asking(ONE)
    with pytest.raises(approvals.NotAskedError):
        by_person.carry_out("toy", QUESTION)
    by_person.ask("toy", QUESTION)
    with pytest.raises(approvals.ApprovalVoidError, match="0 of the 1 approvals"):
        by_person.carry_out("toy", QUESTION)
    assert versions(case) == [1]


def test_an_approval_is_of_the_champion_that_was_shown(asking: Asking) -> None:
    """Another one has become champion meanwhile; the next night judges the version beside that one, and asks again."""
    case = asking(ONE)
    by_person.ask("toy", QUESTION)
    crowned(case, 7)
    approvals.answer(case, QUESTION, "approve", "ann")
    with pytest.raises(approvals.ApprovalVoidError, match="in place of version 1, and now version 7 is champion"):
        by_person.carry_out("toy", QUESTION)
    assert versions(case) == [1, 7]
    crowned(case, 1)  # put back: what was shown is so again
    assert by_person.carry_out("toy", QUESTION)["promoted"]


def test_what_was_let_through_beside_another_champion_is_judged_again(asking: Asking) -> None:
    case = asking(ONE)
    judge(case, champion=7)
    answer = promotion.look_again("toy", LATER)
    assert answer is not None
    assert (answer["version"], answer["verdict"], answer["promoted"]) == (2, "promote", False)
    last = record.last_judgement(case, 2)
    assert last is not None
    assert last.champion == 1
    # Not so what was champion and was taken back.
    crowned(case, 2)
    rollback.carry_out(case, 1, "ann", "wrong")
    judge(case, champion=7)
    assert promotion.look_again("toy", LATER) is None


def test_an_approval_is_of_the_judgement_that_was_shown(asking: Asking) -> None:
    case = asking(ONE)
    by_person.ask("toy", QUESTION)
    approvals.answer(case, QUESTION, "approve", "ann")
    judge(case, days=8)
    with pytest.raises(approvals.ApprovalVoidError, match="judged again after it was shown"):
        by_person.carry_out("toy", QUESTION)
    assert versions(case) == [1]


def test_an_approval_is_of_the_files_that_were_shown(asking: Asking, monkeypatch: pytest.MonkeyPatch) -> None:
    case = asking(ONE)
    by_person.ask("toy", QUESTION)
    approvals.answer(case, QUESTION, "approve", "ann")
    with monkeypatch.context() as patch:
        other = replace(record.trainings(case)[0], model_sha256="0" * 64)
        patch.setattr(registry, "training_of", lambda *_: other)
        with pytest.raises(approvals.ApprovalVoidError, match=r"was shown with the files [0-9a-f]{12}, .* made 0{12}"):
            by_person.carry_out("toy", QUESTION)
    with monkeypatch.context() as patch:
        patch.setattr(model_files, "sha256", lambda _: "another one")
        with pytest.raises(model_files.DamagedModelError):
            by_person.carry_out("toy", QUESTION)
    assert versions(case) == [1]


def test_answers_at_once_make_one_champion(asking: Asking) -> None:
    """Two questions about the version are open, and each is approved and carried out at the same time, twice."""
    case = asking(ONE)
    by_person.ask("toy", "first")
    by_person.ask("toy", "second", 2, "carl in Airflow", "in a hurry")

    def approve(question: str, who: str) -> bool:
        approvals.answer(case, question, "approve", who)
        return bool(by_person.carry_out("toy", question)["promoted"])

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(approve, ("first", "second"), ("ann", "bob")))
    assert (versions(case), alias()) == ([1, 2], 2)
    assert [one.who for one in record.approvals(case) if one.word == "approve"].count("ann") == 1
    assert ledger.read(case)[-1].decided_by in ("ann in Airflow", "bob in Airflow")


def test_answers_to_one_question_at_once_are_both_kept(asking: Asking) -> None:
    case = asking(TWO)
    by_person.ask("toy", QUESTION)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda who: approvals.answer(case, QUESTION, "approve", who), ("ann", "bob")))
    assert sorted(one.who for one in approvals.answers_to(case, QUESTION)) == ["ann", "bob"]
    assert by_person.carry_out("toy", QUESTION)["promoted"]


def test_an_edited_answer_is_seen(asking: Asking) -> None:
    case = asking(ONE)
    by_person.ask("toy", QUESTION)
    approvals.answer(case, QUESTION, "reject", "ann")
    assert case.approvals_table in case.ledgers
    name = f"gold.{case.approvals_table}"
    rows = delta.read_all("gold", case.approvals_table).with_columns(pl.col("word").replace("reject", "approve"))
    write_deltalake(usage.opened(name), rows.to_arrow(), mode="overwrite")
    with pytest.raises(record.BrokenLedgerError, match="line 2 is not as it was written"):
        by_person.carry_out("toy", QUESTION)


# --- by hand ---


def test_one_that_waits_is_promoted_by_hand(asking: Asking, capsys: pytest.CaptureFixture[str]) -> None:
    case = asking(Promotion())
    judge(case, verdict="wait", reasons=["too little to tell"])
    command = ("promote", "--use-case", "toy", "--version", "2")
    assert commands.run(*command) == 0
    shown = capsys.readouterr().out
    assert "in place of version 1, from event date" in shown
    assert "Its verdict: wait; too little to tell" in shown
    assert record.approvals(case) == []
    assert commands.run(*command, "--yes") == 2
    assert "written down with its reason" in capsys.readouterr().err
    assert commands.run(*command, "--why", "spring is here", "--yes") == 0
    row = ledger.read(case)[-1]
    assert (row.model_version, row.reason, row.how) == (2, "spring is here", "by hand")
    assert row.decided_by.endswith("on the command line")
    assert alias() == 2
    assert commands.run(*command, "--why", "spring is here", "--yes") == 2
    assert "version 2 of toy is champion already" in capsys.readouterr().err
    # As any champion that did not come by a rollback, it leaves the policy free.
    assert row.how != ledger.ROLLBACK


def test_what_the_gates_have_refused_nobody_can_promote(asking: Asking) -> None:
    case = asking(ONE)
    judge(case, verdict="refuse", reasons=["AUC within days: loses"])
    with pytest.raises(
        by_person.NotToPromoteError, match="refused by its gates, and nobody can promote it: AUC within"
    ):
        by_person.plan(case, 2)
    with pytest.raises(by_person.NotToPromoteError):
        by_person.ask("toy", QUESTION, 2, "carl in Airflow", "please")
    assert record.approvals(case) == []


def test_an_older_one_is_promoted_by_hand_where_its_own_holdout_allows_it(
    asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = asking(Promotion())
    judge(case, verdict="refuse", reasons=["an older one replaces no newer one"], too_old=True, measured={})
    assert "its verdict: refuse" in str(by_person.plan(case, 2)).lower()
    strict = replace(case, task=replace(case.task, min_auc=0.94))
    with pytest.raises(by_person.NotToPromoteError, match="something is missing"):
        by_person.plan(strict, 2)
    assert commands.run("promote", "--use-case", "toy", "--version", "2", "--why", "summer", "--yes") == 0
    assert ledger.read(case)[-1].how == "by hand"


def test_one_that_was_champion_is_put_back_by_a_rollback(asking: Asking) -> None:
    case = asking(Promotion())
    crowned(case, 2)
    with pytest.raises(by_person.NotToPromoteError, match="was champion: make rollback use_case=toy version=1"):
        by_person.plan(case, 1)


def test_by_hand_too_it_needs_the_approvals_of_the_spec(
    asking: Asking, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    case = asking(ONE)
    judge(case, verdict="wait", reasons=["too little to tell"])
    asked: list[Any] = []
    monkeypatch.setattr(Airflow, "__init__", lambda self, _: setattr(self, "url", "http://airflow"))
    monkeypatch.setattr(Airflow, "start", lambda self, dag_id, conf: asked.append((dag_id, conf)))
    command = ("promote", "--use-case", "toy", "--version", "2", "--why", "spring", "--yes")
    assert commands.run(*command) == 0
    assert "http://airflow/dags/toy_promote" in capsys.readouterr().out
    ((dag_id, conf),) = asked
    assert (dag_id, conf["version"]) == ("toy_promote", 2)
    assert conf["why"].startswith("spring (")
    assert versions(case) == [1]
    by_person.ask("toy", QUESTION, 2, "admin in Airflow", conf["why"])
    with pytest.raises(approvals.ApprovalVoidError, match="0 of the 1 approvals"):
        by_person.carry_out("toy", QUESTION)
