"""Labels by persons: a file is taken whole or not at all, and a label counts where there is no other, from when on."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from include.cli import labels as command
from include.contracts.use_case import UseCase
from include.core.errors import BadRequestError
from include.lake import chain, delta
from include.ml import answers, dataset, registry, train
from include.ml.answers import UnfitAnswersError
from tests.ml.conftest import FIRST, toy_rows
from tests.ml.worlds import SALES, WEATHER

NIGHT = FIRST + timedelta(29)
EARLY = FIRST + timedelta(3)


@pytest.fixture
def gaps(toy: UseCase, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """The toy use case, of whose labels every third is null: nobody has looked."""
    case = replace(toy, unlabelled=True)
    monkeypatch.setattr("include.use_cases.use_cases", lambda: {case.name: case})
    rows = toy_rows(FIRST, 30).with_row_index("n")
    label = pl.when(pl.col("n") % 3 > 0).then(pl.col("is_head"))
    kept = rows.select("coin_id", "flight_date", label.alias("is_head"), ingestion_date="flight_date")
    delta.replace_days("gold", case.labels_table, kept, FIRST, NIGHT)
    return case


def given(coins: dict[str, object], day: date = EARLY) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "coin_id": list(coins),
            "flight_date": [str(day)] * len(coins),
            "is_head": [str(one) for one in coins.values()],
        },
        schema=dict.fromkeys(("coin_id", "flight_date", "is_head"), pl.String),
    )


def take(case: UseCase, rows: pl.DataFrame, night: date = NIGHT, *, correct: bool = False) -> dict[str, int]:
    return answers.take("labels.csv", case, rows, night, "ann", correct=correct)


def nothing(case: UseCase) -> bool:
    return not delta.exists("gold", case.labelled_table)


def test_answers_are_kept_and_the_same_file_again_adds_nothing(gaps: UseCase) -> None:
    rows = given({f"{EARLY}-0": 1, f"{EARLY}-3": 0, f"{EARLY}-6": ""})
    assert take(gaps, rows) == {"new": 2, "corrected": 0, "before": 0, "empty": 1, "wins": 0}
    version = delta.version("gold", gaps.labelled_table)
    assert take(gaps, rows) == {"new": 0, "corrected": 0, "before": 2, "empty": 1, "wins": 0}
    assert delta.version("gold", gaps.labelled_table) == version
    lines = delta.read_all("gold", gaps.labelled_table)
    assert chain.broken(lines) == []
    assert lines.sort("line").select("coin_id", "is_head", "ingestion_date", "by").rows() == [
        (f"{EARLY}-0", 1, NIGHT, "ann"),
        (f"{EARLY}-3", 0, NIGHT, "ann"),
    ]
    assert gaps.labelled_table in gaps.ledgers


@pytest.mark.parametrize(
    ("coins", "match"),
    [
        ({f"{EARLY}-3": 2}, "line 3: is_head is 2; it must be 0 or 1"),
        ({f"{EARLY}-3": "head"}, "line 3: is_head is 'head', which is no Int64"),
        ({"nobody": 1}, rf"line 3: {EARLY}, nobody is not in gold.toy__features"),
    ],
)
def test_one_line_that_cannot_be_taken_and_nothing_is(gaps: UseCase, coins: dict[str, object], match: str) -> None:
    with pytest.raises(UnfitAnswersError, match=rf"labels.csv: nothing was taken, since\n  {match}"):
        take(gaps, given({f"{EARLY}-0": 1} | coins))
    assert nothing(gaps)


def test_a_day_that_is_none_a_key_with_two_labels_and_a_file_without_columns_are_named(gaps: UseCase) -> None:
    twice = pl.concat([given({f"{EARLY}-0": 1}), given({f"{EARLY}-0": 0})])
    with pytest.raises(UnfitAnswersError, match=r"line 2: 2020-01-04, 2020-01-04-0 is labelled 1 here, and otherwise"):
        take(gaps, twice)
    with pytest.raises(UnfitAnswersError, match="flight_date is 'x', which is no Date"):
        take(gaps, given({f"{EARLY}-0": 1}).with_columns(flight_date=pl.lit("x")))
    with pytest.raises(UnfitAnswersError, match="no column is_head; it needs flight_date, coin_id, is_head"):
        take(gaps, given({f"{EARLY}-0": 1}).drop("is_head"))
    with pytest.raises(UnfitAnswersError, match="2020-01-04 had not been by 2020-01-03"):
        take(gaps, given({f"{EARLY}-0": 1}), EARLY - timedelta(1))
    assert nothing(gaps)
    equal = pl.concat([given({f"{EARLY}-0": 1}), given({f"{EARLY}-0": 1})])
    assert take(gaps, equal)["new"] == 1


def test_another_answer_than_before_is_refused_unless_it_corrects(gaps: UseCase) -> None:
    take(gaps, given({f"{EARLY}-0": 1}), NIGHT)
    with pytest.raises(UnfitAnswersError, match="is_head is 0, and was read back as 1 before; correct=1"):
        take(gaps, given({f"{EARLY}-0": 0, f"{EARLY}-3": 1}))
    assert answers.read(gaps).height == 1
    found = take(gaps, given({f"{EARLY}-0": 0}), NIGHT + timedelta(1), correct=True)
    assert (found["new"], found["corrected"]) == (0, 1)
    assert answers.read(gaps)["is_head"].to_list() == [0]
    # What was known then stays.
    assert answers.read(gaps, NIGHT)["is_head"].to_list() == [1]


def rows_of(case: UseCase, as_of: date = NIGHT, **more: bool) -> dict[str, int]:
    data = dataset.load(case, FIRST, NIGHT, as_of=as_of, **more)
    return dict(data.frame.select("coin_id", "is_head").iter_rows())


def test_a_label_counts_in_training_where_there_is_no_other_from_when_it_was_read_back(gaps: UseCase) -> None:
    before, truth = rows_of(gaps, with_answers=True), dict(toy_rows(EARLY, 1).select("coin_id", "is_head").iter_rows())
    wrong = {f"{EARLY}-1": 1 - truth[f"{EARLY}-1"]}
    found = take(gaps, given({f"{EARLY}-0": 1} | wrong), NIGHT + timedelta(1))
    assert found["wins"] == 1
    assert rows_of(gaps, NIGHT, with_answers=True) == before
    later = rows_of(gaps, NIGHT + timedelta(1), with_answers=True)
    assert {coin: label for coin, label in later.items() if before.get(coin) != label} == {f"{EARLY}-0": 1}
    # Who judges or watches reads none of them.
    assert rows_of(gaps, NIGHT + timedelta(1)) == before


def test_days_that_a_version_is_judged_by_have_none(gaps: UseCase) -> None:
    """What is asked for is what a model is least sure of: judged by that, each would seem worse than it is."""
    holdout = NIGHT - timedelta(gaps.training.holdout_days - 1)
    before = rows_of(gaps, with_answers=True)
    take(
        gaps,
        given({f"{holdout}-0": 1, f"{NIGHT}-0": 1}, holdout).with_columns(flight_date=pl.col("coin_id").str.head(10)),
    )
    assert rows_of(gaps, with_answers=True) == before
    last = holdout - timedelta(1)
    take(gaps, given({f"{last}-0": 1}, last))
    assert set(rows_of(gaps, with_answers=True)) - set(before) == {f"{last}-0"}


def test_a_training_takes_them_and_can_be_had_again_after_more_came(gaps: UseCase, mlflow_store: None) -> None:
    take(gaps, given({f"{EARLY}-0": 1}))
    made, version = train.train("toy", NIGHT, "cpu"), delta.version("gold", gaps.labelled_table)
    assert made["versions"][gaps.labelled_table] == version
    take(gaps, given({f"{EARLY}-3": 1}))
    again = registry.training_set(gaps, made["version"])
    assert f"{EARLY}-0" in again.frame["coin_id"]
    assert f"{EARLY}-3" not in again.frame["coin_id"]
    assert train.train("toy", NIGHT, "cpu")["version"] != made["version"]


def test_without_answers_a_training_set_is_as_it_ever_was(toy: UseCase) -> None:
    plain, asked = (dataset.load(toy, FIRST, NIGHT, with_answers=one) for one in (False, True))
    assert plain.versions == asked.versions
    assert plain.content_hash == asked.content_hash


@pytest.mark.parametrize(
    ("world", "good", "bad", "match"),
    [
        (WEATHER, "wet", "damp", "kind is 'damp'; it must be one of dry, wet, Icy road"),
        (SALES, "12.5", "inf", "amount is inf; it must be a finite number"),
    ],
)
def test_other_tasks_have_other_labels(
    home: Path, monkeypatch: pytest.MonkeyPatch, world: object, good: str, bad: str, match: str
) -> None:
    assert isinstance(world, type(WEATHER))
    case = world.found(monkeypatch).case
    world.write(FIRST, 2)
    key = delta.read_all("gold", case.features_table).select(case.key).head(1).cast(pl.String)
    with pytest.raises(UnfitAnswersError, match=match):
        take(case, key.with_columns(pl.lit(bad).alias(case.label)))
    assert take(case, key.with_columns(pl.lit(good).alias(case.label)))["new"] == 1


def test_the_command_takes_a_file_and_says_what_became_of_it(
    gaps: UseCase, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import argparse

    file = tmp_path / "labels.csv"
    given({f"{EARLY}-0": 1, f"{EARLY}-1": 1}).write_csv(file)
    parser = argparse.ArgumentParser()
    command.labels_arguments(parser)
    options = ["--use-case=toy", f"--file={file}", f"--partition={NIGHT}"]
    assert command.labels(parser.parse_args(options)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "2 labels are new, 0 corrected, 0 were there before, 0 lines have none. Known from 2020-01-30",
        "1 of the rows have a label of their own by now, which counts instead",
    ]
    with pytest.raises(BadRequestError, match=r"nowhere.csv is not there"):
        answers.of_csv(tmp_path / "nowhere.csv")
