"""Commits: all of a publication or none, whoever else publishes meanwhile and wherever it is killed. On real tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from itertools import combinations
from pathlib import Path

import polars as pl
import pytest
from deltalake.exceptions import CommitFailedError

from include.lake import chain, commit, delta, usage
from include.lake.commit import ConflictError, JournalError
from tests.killed import Killed, killed_at

MONDAY, TUESDAY = date(2020, 6, 1), date(2020, 6, 2)
FEEDS = ("bronze.a", "bronze.b")
LEDGER = "ledger.runs"


@pytest.fixture(autouse=True)
def lake(home: Path) -> Path:
    return home


def rows(day: date, value: int) -> pl.DataFrame:
    return pl.DataFrame({"day": [day], "value": [value]})


def total(table: str) -> int:
    """The sum of a table; 0 where it is not there."""
    layer, name = table.split(".")
    return int(delta.read_all(layer, name)["value"].sum()) if delta.exists(layer, name) else 0


class Run:
    """A run that adds its number to what it has read of both feeds: a lost update shows in the sum.

    Its steps are those of an ingestion: to judge, which reads, and to publish, which commits both feeds and a line of
    the ledger. Where somebody has published in between, publishing judges again.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.versions: dict[str, int] = {}
        self.read: dict[str, int] = {}

    def judge(self) -> None:
        self.versions = commit.versions_of(FEEDS)
        self.read = {table: total(table) for table in FEEDS}

    def publish(self) -> None:
        if not (self.versions and self.done()):
            while True:
                try:
                    with commit.committing():
                        commit.require_unchanged(self.versions, f"run {self.number}")
                        changes = [self._change(table) for table in FEEDS]
                        line = pl.DataFrame({"run": [self.number]})
                        commit.commit_all([*changes, chain.change(LEDGER, line)], f"run {self.number}")
                    return
                except ConflictError:
                    self.judge()

    def _change(self, table: str) -> commit.Change:
        return commit.frame_change(table, rows(MONDAY, self.read[table] + self.number), ["day"], lambda partition: True)

    def done(self) -> bool:
        """As a task that is tried again: what it has published already, it does not publish again."""
        with commit.committing():
            pass
        return self.number in ledger()


def ledger() -> list[int]:
    layer, name = LEDGER.split(".")
    return delta.read_all(layer, name).sort("line")["run"].to_list() if delta.exists(layer, name) else []


def orders(runs: int) -> Iterator[list[int]]:
    """Every order of ``runs`` runs of two steps each: which run makes the next step."""

    def more(left: list[int], so_far: list[int]) -> Iterator[list[int]]:
        if not any(left):
            yield so_far
        for run, steps in enumerate(left):
            if steps:
                yield from more([*left[:run], steps - 1, *left[run + 1 :]], [*so_far, run])

    return more([2] * runs, [])


def in_order(order: Sequence[int], runs: Sequence[Run]) -> None:
    steps = [iter((run.judge, run.publish)) for run in runs]
    for run in order:
        next(steps[run])()


@pytest.mark.parametrize("runs", [2, pytest.param(3, marks=pytest.mark.full)])
def test_whatever_the_order_of_steps_no_run_is_lost(runs: int, home: Path) -> None:
    """6 orders of two runs, 90 of three; each ends as one after the other would."""
    from shutil import rmtree

    found = list(orders(runs))
    assert len(found) == {2: 6, 3: 90}[runs]
    for order in found:
        rmtree(home / "lake", ignore_errors=True)
        in_order(order, [Run(10**n) for n in range(runs)])
        wanted = sum(10**n for n in range(runs))
        assert [total(table) for table in FEEDS] == [wanted, wanted], order
        assert sorted(ledger()) == [10**n for n in range(runs)], order
        assert chain.broken(delta.read_all("ledger", "runs")) == []


STEPS = ("write_whole", "_move", "commit", "_forget")


# The journal once; each of two feeds and the ledger once; the end once.
POINTS = [
    (step, number, after)
    for step, calls in zip(STEPS, (1, 3, 3, 1), strict=True)
    for number in range(1, calls + 1)
    for after in (False, True)
]


@pytest.mark.parametrize(("step", "number", "after"), POINTS)
@pytest.mark.parametrize("who", ["a retry", "another run"])
def test_a_kill_anywhere_ends_as_if_there_had_been_none(
    monkeypatch: pytest.MonkeyPatch, step: str, number: int, after: bool, who: str
) -> None:
    """Both feeds and the ledger have the run or none has, once anybody has published; and the retry does it once."""
    first = Run(1)
    in_order([0, 0], [first])
    killed = Run(10)
    killed.judge()
    with monkeypatch.context() as patch:
        killed_at(patch, commit, step, number, after=after)
        with pytest.raises(Killed):
            killed.publish()
    other = Run(100)
    if who == "another run":
        in_order([0, 0], [other])
        assert total("bronze.a") == total("bronze.b")
        assert (10 in ledger()) == (total("bronze.a") == 111)
    again = Run(10)
    in_order([0, 0], [again])
    wanted = 111 if who == "another run" else 11
    assert [total(table) for table in FEEDS] == [wanted, wanted]
    assert sorted(ledger()) == ([1, 10, 100] if who == "another run" else [1, 10])
    assert commit.unfinished() == []
    assert chain.broken(delta.read_all("ledger", "runs")) == []


def test_a_table_that_has_changed_is_refused_and_nothing_of_the_rest_is_committed() -> None:
    for table in FEEDS:
        with commit.committing():
            commit.commit_all([commit.frame_change(table, rows(MONDAY, 1), ["day"], lambda partition: True)], "first")
    with commit.committing():
        stale = [commit.frame_change(table, rows(TUESDAY, 5), ["day"], lambda partition: False) for table in FEEDS]
    delta.replace_days("bronze", "b", rows(TUESDAY, 7), TUESDAY, TUESDAY, day="day")
    with commit.committing(), pytest.raises(ConflictError, match=r"bronze\.b changed"):
        commit.commit_all(stale, "stale")
    assert (total("bronze.a"), total("bronze.b")) == (1, 8)


@pytest.mark.parametrize(
    ("foreign", "sum_after"), [(TUESDAY, 10 + 7), (MONDAY, None)], ids=["elsewhere", "on the same partition"]
)
def test_somebody_who_writes_by_other_means_between_kill_and_retry(
    monkeypatch: pytest.MonkeyPatch, foreign: date, sum_after: int | None
) -> None:
    """On other partitions it is no matter; on the same one nobody can say what is right, and it is said."""
    in_order([0, 0], [Run(1)])
    with monkeypatch.context() as patch:
        killed_at(patch, commit, "commit", 1, after=True)
        run = Run(9)
        run.judge()
        with pytest.raises(Killed):
            run.publish()
    delta.replace_days("bronze", "b", rows(foreign, 7), foreign, foreign, day="day")
    if sum_after is None:
        with (
            pytest.raises(JournalError, match=r"run 9 was begun and cannot be finished: bronze\.b"),
            commit.committing(),
        ):
            pass
        assert len(commit.unfinished()) == 1
    else:
        with commit.committing():
            pass
        assert total("bronze.b") == sum_after


def test_a_change_is_not_made_against_another_version_than_it_was_read_from() -> None:
    """Be it of another partition: delta-rs by itself would try again behind what somebody has committed."""
    in_order([0, 0], [Run(1)])
    change = commit.frame_change("bronze.a", rows(TUESDAY, 5), ["day"], lambda partition: False)
    rows(MONDAY, 7).write_delta(str(usage.path_of("bronze.a")), mode="append")
    version = commit.version_of("bronze.a")
    with pytest.raises(ConflictError, match=r"bronze\.a has changed since version"):
        commit.commit(change, "here")
    assert (commit.version_of("bronze.a"), total("bronze.a")) == (version, 1 + 7)


def test_nothing_is_committed_where_nothing_changes() -> None:
    in_order([0, 0], [Run(1)])
    before = commit.version_of("bronze.a")
    with commit.committing():
        assert commit.commit_all([commit.Change("bronze.a", before)], "nothing") == {}
    assert commit.version_of("bronze.a") == before


# --- chains ---


@pytest.fixture
def written() -> pl.DataFrame:
    for number in range(1, 5):
        line = pl.DataFrame(
            {"run": [number], "note": [None if number % 2 else "even"]}, schema_overrides={"note": pl.String}
        )
        chain.append(LEDGER, line, "a line")
    return delta.read_all("ledger", "runs").sort("line")


Edit = Callable[[pl.DataFrame], pl.DataFrame]
EDITS: dict[str, tuple[Edit, str]] = {
    "edited": (
        lambda lines: lines.with_columns(run=pl.when(pl.col("line") == 2).then(9).otherwise("run")),
        "line 2 is not",
    ),
    "taken out": (lambda lines: lines.filter(pl.col("line") != 3), "line 4 follows line 2"),
    "doubled": (lambda lines: pl.concat([lines, lines.filter(pl.col("line") == 2)]), "line 2 is there twice"),
}


def test_a_chain_holds_as_it_was_written(written: pl.DataFrame) -> None:
    assert written["line"].to_list() == [1, 2, 3, 4]
    assert chain.broken(written.sample(fraction=1, shuffle=True, seed=1)) == []
    # A column that came later is null in the lines before it.
    assert chain.broken(written.with_columns(later=pl.lit(None, pl.String))) == []


def test_a_ledger_of_many_lines_lies_in_few_files_and_its_chain_holds(written: pl.DataFrame) -> None:
    """Each line is a commit, and whoever reads a ledger opens all of its files."""
    for number in range(5, 3 * chain.MANY_FILES):
        chain.append(LEDGER, pl.DataFrame({"run": [number], "note": ["more"]}), "a line")
        assert len(delta.opened("ledger", "runs").file_uris()) <= chain.MANY_FILES
    lines = delta.read_all("ledger", "runs").sort("line")
    assert lines["run"].to_list() == list(range(1, 3 * chain.MANY_FILES))
    assert lines.head(4).equals(written)
    assert chain.broken(lines) == []


def test_a_ledger_that_somebody_writes_to_meanwhile_is_merged_later(
    written: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: object) -> None:
        raise CommitFailedError("somebody else has committed")

    monkeypatch.setattr(chain, "MANY_FILES", 2)
    with monkeypatch.context() as patch:
        patch.setattr("deltalake.table.TableOptimizer.compact", refused)
        chain.append(LEDGER, pl.DataFrame({"run": [5], "note": [""]}), "a line")
    assert len(delta.opened("ledger", "runs").file_uris()) == 5
    chain.append(LEDGER, pl.DataFrame({"run": [6], "note": [""]}), "a line")
    assert len(delta.opened("ledger", "runs").file_uris()) == 2
    assert chain.broken(delta.read_all("ledger", "runs")) == []


@pytest.mark.parametrize("edit", EDITS)
def test_a_line_that_was_touched_is_named(written: pl.DataFrame, edit: str) -> None:
    change, problem = EDITS[edit]
    found = chain.broken(change(written))
    assert len(found) == 1
    assert problem in found[0]


def test_two_lines_that_change_places_are_found(written: pl.DataFrame) -> None:
    swapped = written.with_columns(run=pl.col("run").gather([0, 2, 1, 3]))
    for first, second in combinations(range(4), 2):
        order = list(range(4))
        order[first], order[second] = order[second], order[first]
        assert chain.broken(written.with_columns(pl.col("run").gather(order)))
    assert chain.broken(swapped)
