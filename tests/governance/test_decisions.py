"""What ledgers say of who decided is in the audit log once, whoever dies, and what is cut off them is told."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from include.governance import decisions
from include.lake import audit, chain, delta, removals
from include.ml import ledger
from include.quality import acceptance
from tests.ml.conftest import toy_case

CASE = toy_case()
DEPLOYMENTS = f"gold.{CASE.deployments_table}"
NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def lake(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(decisions, "use_cases", lambda: {CASE.name: CASE})
    return home / "lake"


def promoted(version: int, by: str = "gates", how: str | None = None) -> None:
    days = {name: date(2020, 1, 1) for name in ("trained_from", "fitted_through", "trained_through")}
    texts = {"reason": "it gains", "run_id": "run", "model_sha256": "0", "reference_sha256": "0"}
    ledger.append(CASE, model_version=version, effective_from=date(2020, 3, 1), decided_by=by, how=how, **days, **texts)


def told() -> list[tuple[str, str, str, str]]:
    return list(audit.read().select("action", "subject", "who", "detail").iter_rows())


def test_a_decision_is_there_once_and_points_to_its_ledger() -> None:
    promoted(1)
    assert decisions.collect() == 1
    promoted(2, "ann and bob in Airflow", ledger.BY_HAND)
    promoted(1, "cid on the command line", ledger.ROLLBACK)
    assert decisions.collect() == 2
    assert decisions.collect() == 0
    assert told() == [
        ("promotion", f"{CASE.name} version 1", "gates", "from 2020-03-01"),
        ("promotion", f"{CASE.name} version 2", "ann and bob in Airflow", "from 2020-03-01, by hand"),
        ("rollback", f"{CASE.name} version 1", "cid on the command line", "from 2020-03-01"),
    ]
    of = delta.read_all("gold", CASE.deployments_table).sort("line")
    assert audit.seen()["ledger_seal"].to_list() == of["seal"].to_list()
    assert list(decisions.cut_off()) == []


def test_what_a_person_wrote_freely_is_not_in_it() -> None:
    promoted(1)
    decisions.collect()
    assert "it gains" not in str(audit.read().rows())


def test_what_the_gate_says_is_no_decision_and_what_a_person_accepts_is() -> None:
    line = {"partition_day": date(2020, 1, 2), "event_date": date(2020, 1, 3), "feature": "fare", "said": "unlike"}
    line |= {"kind": "value", "changes": "{}", "why": "a new tariff", "said_at": NOON}
    for word, who in (("refuse", acceptance.GATE), ("accept", "ann on the command line")):
        frame = pl.DataFrame([line | {"word": word, "who": who}], schema=acceptance.SCHEMA)
        chain.append(f"gold.{CASE.faults_table}", frame, "a line")
    decisions.collect()
    assert told() == [("acceptance", f"{CASE.name} 2020-01-02", "ann on the command line", "fare of 2020-01-03")]


def test_a_file_of_labels_is_one_line() -> None:
    for moment in (NOON, NOON.replace(hour=13)):
        rows = pl.DataFrame({"id": ["a", "b", "c"], "by": ["ann"] * 3, "read_back_at": [moment] * 3})
        chain.append(f"gold.{CASE.labelled_table}", rows, "labels")
    decisions.collect()
    assert told() == [("labels", CASE.name, "ann", "")] * 2
    assert audit.seen()["ledger_line"].to_list() == [3, 6]


def test_a_removal_is_there_with_what_it_took() -> None:
    gone = removals.Removal("retention", "bronze.toys", 3, 10, 7, date(2020, 1, 1), date(2020, 1, 2))
    with removals.recorded(gone, "lakehouse_maintain scheduled"):
        pass
    decisions.collect()
    assert told()[0] == (
        "removal",
        "bronze.toys",
        "lakehouse_maintain scheduled",
        "retention, begun of 2020-01-01 to 2020-01-02, 7 rows",
    )
    assert told()[1][3].startswith("retention, done")


def cut(lines: int) -> None:
    rows = delta.read_all("gold", CASE.deployments_table).sort("line").head(lines)
    rows.write_delta(str(delta.table_path("gold", CASE.deployments_table)), mode="overwrite")


def test_lines_off_the_end_of_a_ledger_are_told_though_others_follow() -> None:
    for version in (1, 2, 3):
        promoted(version)
    decisions.collect()
    cut(1)
    assert chain.broken(delta.read_all("gold", CASE.deployments_table)) == []
    promoted(4)
    decisions.collect()
    promoted(5)
    promoted(6)
    decisions.collect()
    [said] = decisions.cut_off()
    assert said == f"{DEPLOYMENTS}: 2 lines are gone that the audit log has seen, the first is line 2"
    assert [subject for _, subject, _, _ in told()] == [f"{CASE.name} version {one}" for one in range(1, 7)]


def test_a_ledger_that_was_dropped_begins_anew() -> None:
    promoted(1)
    promoted(2)
    decisions.collect()
    audit.dropped(DEPLOYMENTS, "ann")
    cut(0)
    promoted(7)
    decisions.collect()
    assert list(decisions.cut_off()) == []
    assert told()[-1][1] == f"{CASE.name} version 7"
