"""What a use case publishes and when: its spec, its DAG, what is said before, and one target that keeps no other."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from airflow.sdk.exceptions import AirflowSkipException

from include.cli import publish as command
from include.contracts.publishing import Target, ToFiles, ToHttp, ToKafka, ToPostgres
from include.contracts.use_case import UseCase
from include.core.errors import BadRequestError
from include.core.settings import HOME
from include.lake import chain, delta, usage
from include.orchestration import catalogue
from include.serving import publishing
from include.serving.publishing import content
from include.serving.publishing.errors import TargetRefusedError
from tests.ml.conftest import toy_case
from tests.policy.dag_facts import facts_of
from tests.serving.publishing.conftest import DAY, FIRST, NEXT, SECOND, publish, score

FILES, OTHER = ToFiles("out/one"), ToFiles("out/two", name="other")
type Use = Callable[..., UseCase]


@pytest.mark.parametrize(
    ("targets", "match"),
    [
        (lambda: (FILES, ToFiles("x")), "two targets are called files"),
        (lambda: (ToFiles("x", name="Our files"),), "is no name of a target"),
        (lambda: FILES, "publish is ToFiles and no tuple"),
        (lambda: (ToPostgres("a", table="scores"),), "named schema.table"),
        (lambda: (ToFiles("s3://bucket"),), "names no prefix"),
        (lambda: (ToFiles("out", connection="a"),), "a connection is for a bucket"),
        (lambda: (ToFiles("out", format="xml"),), "parquet or csv"),
        (lambda: (ToHttp("a", "b", batch=0),), "batch is 0"),
        (lambda: (ToKafka("a", "b", batch=0),), "batch is 0"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(targets: Callable[[], Any], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        toy_case(publish=targets())


def test_a_column_that_targets_call_theirs_is_refused(use: Use) -> None:
    with pytest.raises(ValueError, match="revision is a column of its entity"):
        toy_case(publish=(FILES,), entity=("coin_id", "revision"))
    case = use(FILES)
    score(case, DAY, FIRST, revision=1)
    with pytest.raises(TargetRefusedError, match="predicts a column revision"):
        publish(case)


def test_what_a_fallback_has_scored_says_so(use: Use, home: Path) -> None:
    case = use(ToFiles("out", format="csv"))
    score(case, DAY, {"coin 0": 0.5}, scored_by="prior")
    publish(case)
    assert (home / "out" / f"{DAY}.csv").read_text().splitlines()[1] == "2020-02-01,coin 0,0.5,1,prior,1"


def test_a_column_that_is_empty_on_a_day_is_no_change_of_it(use: Use) -> None:
    """A version with another class gives the whole table a column; earlier days have nothing in it."""
    case = use(FILES)
    before = next(content.days(case, [DAY])).content
    score(case, NEXT, {"coin 7": 0.7}, score_of_rain=0.1)
    assert next(content.days(case, [DAY])).content == before
    score(case, DAY, SECOND, score_of_rain=pl.lit(None, pl.Float64))
    assert next(content.days(case, [DAY])).content != before


def test_a_target_that_fails_keeps_no_other_and_days_before_it_are_there(use: Use, home: Path) -> None:
    use(FILES, OTHER)
    (home / "out" / "one").mkdir(parents=True)
    (home / "out" / "one" / f"{NEXT}.parquet").write_text("mine")
    with pytest.raises(TargetRefusedError):
        publishing.publish("toy", "files", DAY, NEXT, "run")
    assert [one["verb"] for one in publishing.publish("toy", "other", DAY, NEXT, "run")] == ["sent", "sent"]
    assert (home / "out" / "one" / f"{DAY}.parquet").exists()
    with pytest.raises(BadRequestError, match="toy has no target 'nowhere'; it has files, other"):
        publishing.publish("toy", "nowhere", DAY, NEXT, "run")


def test_the_ledger_has_a_line_a_revision_and_is_sealed(use: Use) -> None:
    case = use(FILES, OTHER)
    publish(case)
    publish(case)
    score(case, DAY, SECOND)
    publish(case)
    lines = delta.read_all("gold", case.published_table).sort("line")
    told = lines.select("target", "prediction_day", "revision", "rows", "run").rows()
    assert told == [("files", DAY, 1, 6, "a test"), ("files", NEXT, 1, 1, "a test"), ("files", DAY, 2, 6, "a test")]
    assert chain.broken(lines) == []
    assert case.published_table in case.ledgers


def test_a_use_case_without_targets_has_nothing_of_it(use: Use, capsys: pytest.CaptureFixture[str]) -> None:
    case = use()
    publishing.foresee(case, FILES, DAY, NEXT)
    assert {table for table in usage.tables() if "publish" in table or "outbox" in table} == set()
    with pytest.raises(BadRequestError, match="toy has no targets: name some as `publish` in include/use_cases/toy"):
        command.publish(given(case))


def given(case: UseCase, **more: Any) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.publish_arguments(parser)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in ({"use_case": case.name} | more).items()]
    return parser.parse_args(options)


def test_a_dry_run_says_what_is_to_be_sent_and_sends_nothing(
    use: Use, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = use(FILES, OTHER)
    publish(case)
    score(case, DAY, SECOND)
    capsys.readouterr()
    assert command.publish(given(case)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "files:",
        "  2020-02-01  revision 2: 6 rows, 6 new or changed, 0 gone",
        "  1 of 2 days are there as they are",
        "other:",
        "  2020-02-01  revision 1: 6 rows, 6 new or changed, 0 gone",
        "  2020-02-02  revision 1: 1 rows, 1 new or changed, 0 gone",
        "  0 of 2 days are there as they are",
        "nothing was sent; yes=1 sends it",
    ]
    assert not (home / "out" / "two").exists()
    # A night scores the day after it.
    assert command.publish(given(case, target="files", **{"from": DAY, "to": DAY})) == 0
    assert "1 of 1 days are there" in capsys.readouterr().out


def test_yes_has_the_dag_send_it_which_knows_the_connections(use: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    case, started = use(FILES, OTHER), list[Any]()

    class Airflow:
        url = "http://airflow"

        def __init__(self, *_: Any) -> None:
            """Nobody."""

        def start(self, *given: Any) -> Any:
            started.append(given)

        def follow(self, runs: list[Any]) -> list[Any]:
            return runs

    monkeypatch.setattr("include.orchestration.airflow_client.Airflow", Airflow)
    assert command.publish(given(case, yes=1, target="other")) == 0
    nights = {"from": str(DAY - timedelta(1)), "to": str(NEXT - timedelta(1))}
    assert started == [("toy_publish", nights | {"target": "other"})]


def dag_of(case: UseCase) -> Any:
    """The DAG of ``case`` as its file makes it."""
    spec = importlib.util.spec_from_file_location("dags_publish", HOME / "dags" / "publish.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.publish(case)


def test_each_target_is_a_task_that_follows_the_predictions(use: Use, home: Path) -> None:
    dag = dag_of(use(FILES, OTHER))
    (task,) = dag.tasks
    assert (dag.dag_id, task.task_id) == ("toy_publish", "publish")
    assert task.op_kwargs_expand_input.value == {"target": ["files", "other"]}
    assert dag.timetable.asset_condition.name == "gold.toy.predictions"
    assert (task.owner, task.retries) == ("tests", 3)
    run = type("Run", (), {"partition_key": str(DAY - timedelta(1)), "dag_id": "toy_publish", "run_id": "one"})()
    context = {"dag_run": run, "params": {"target": None}}
    send = task.partial_kwargs.get("python_callable", None) or task.python_callable
    assert [one["day"] for one in send("files", **context)] == [str(DAY)]
    assert (home / "out" / "one" / f"{DAY}.parquet").exists()
    with pytest.raises(AirflowSkipException, match="this run is for the target other"):
        send("files", **context | {"params": {"target": "other"}})


def test_its_dag_keeps_the_rules_and_has_its_place_on_the_page(use: Use) -> None:
    """What tests/policy/test_dags.py asks of the DAGs that there are; of those in the repository none publishes."""
    dag = dag_of(use(FILES, OTHER))
    facts = facts_of(dag)
    task = facts["tasks"]["publish"]
    assert (facts["params"], facts["max_active_runs"], facts["tells"]) == (["from", "target", "to"], 1, True)
    kept = ("gives_up_at_once", "is_ended", "tells", "ends_spark", "most_seconds")
    assert all(task[name] for name in kept), task
    assert not task["holds_a_slot"]
    page = catalogue.page("toy", [catalogue.facts_of(dag)])
    assert "[toy_publish](#toy_publish) | " in page
    assert "one target, where it has not got them yet" in page


def test_each_kind_of_target_is_reached_by_its_own(use: Use) -> None:
    targets: tuple[Target, ...] = (ToHttp("a", "b"), ToKafka("a", "b"), FILES, ToFiles("s3://a/b", name="there"))
    case = use(*targets)
    names = [type(publishing.opened(case, one, "run")).__name__ for one in case.publish]
    assert names == ["Events", "Events", "Folder", "Bucket"]
