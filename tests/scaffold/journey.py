"""From a sample to a gated, scored and monitored night, by the commands that a newcomer types; and back again.

``python -m tests.scaffold.journey`` does it for four companies and prints how long each step took.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.scaffold import companies
from tests.scaffold.repository import Repository, installed


@dataclass(frozen=True)
class Company:
    """A made-up company, and what is asked of it.

    Attributes:
        files: writes them into a folder.
        day: what silver calls the day of its rows.
        question: the answers of ``make use-case`` beside name and source.
        history: loaded at once, and learned from.
        nights: run one by one after that.
    """

    name: str
    files: Callable[[Path], None]
    day: str
    question: tuple[str, ...]
    history: tuple[str, str]
    nights: tuple[str, str]

    @property
    def source(self) -> str:
        return f"{self.name}_co"

    @property
    def case(self) -> str:
        return f"{self.name}_ahead"


REGRESSION = Company(
    "rides",
    lambda folder: companies.rides(folder, 150, changed_from=112),
    "ridden_on",
    ("--task", "regression", "--entity", "station", "--label", "sum(rides)"),
    ("2024-01-01", "2024-04-19"),
    ("2024-04-20", "2024-04-21"),
)
BINARY = Company(
    "payments",
    lambda folder: companies.payments(folder, 113),
    "booked_on",
    ("--task", "binary", "--entity", "card", "--label", "is_fraud"),
    ("2024-01-01", "2024-04-19"),
    ("2024-04-20", "2024-04-21"),
)
MULTICLASS = Company(
    "purchases",
    lambda folder: companies.purchases(folder, 198),
    "purchased_on",
    ("--task", "multiclass", "--entity", "customer", "--label", "max(channel)", "--label-days", "21"),
    ("2024-01-01", "2024-07-14"),
    ("2024-07-15", "2024-07-16"),
)
MONTHLY = Company(
    "revenue",
    lambda folder: companies.revenue(folder, 75),
    "month",
    ("--task", "regression", "--entity", "branch", "--label", "sum(revenue_eur)", "--every", "month"),
    ("2018-01-01", "2024-01-31"),
    ("2024-02-01", "2024-02-01"),
)
COMPANIES = (REGRESSION, BINARY, MULTICLASS, MONTHLY)


def scaffold(repository: Repository, company: Company, samples: Path) -> None:
    """``make source`` and ``make use-case``."""
    place = samples / company.name
    place.mkdir(parents=True)
    company.files(place)
    repository.nocturne("source", "--name", company.source, "--from", str(place))
    answers = ("--name", company.case, "--source", company.source, *company.question)
    repository.nocturne("use-case", *answers)


def add_to_spec(repository: Repository, company: Company, imported: str, field: str) -> None:
    """Edit the scaffolded spec as its owner would: one more field, which is the last, and what it needs imported."""
    path = repository.tree / "include" / "use_cases" / company.case / "spec.py"
    written = path.read_text()
    assert written.rstrip().endswith("\n)"), "a spec ends with the call of UseCase"
    edited = written.replace("\nfrom include.", f"\n{imported}\nfrom include.", 1)
    path.write_text(f"{edited.rstrip()[:-1]}    {field},\n)\n")


def land(repository: Repository, company: Company, samples: Path) -> None:
    """Put all files of the company where its upstream would."""
    landing = repository.tree / "var" / "landing" / company.source / company.name
    landing.parent.mkdir(parents=True, exist_ok=True)
    (samples / company.name).rename(landing)


def backfill(repository: Repository, company: Company, days: tuple[str, str], *, at_once: bool = False) -> str:
    """``make backfill``."""
    command = ("backfill", "--source", company.source, "--from", days[0], "--to", days[1])
    return repository.nocturne(*command, *(["--at-once"] if at_once else []))


def train(repository: Repository, company: Company, through: str, code: int | None = 0) -> str:
    """``make train``."""
    command = ("train", "--use-case", company.case, "--partition", through)
    return repository.nocturne(*command, code=code)


def git_removes(repository: Repository, kind: str, name: str) -> None:
    """``make remove``, as it tells what to do: the command that it prints for the files, and then what it drops."""
    said = repository.nocturne("remove", f"--{kind}", name)
    (line,) = (one for one in said.splitlines() if one.startswith("files, which you remove: "))
    repository.run("sh", "-c", line.partition(": ")[2])
    repository.commit(f"without {name}")
    repository.nocturne("remove", f"--{kind}", name, "--yes")


def seconds_of(step: Callable[[], object]) -> float:
    begun = time.monotonic()
    step()
    return time.monotonic() - begun


def measured(repository: Repository, company: Company, samples: Path) -> list[float]:
    """Seconds of the scaffold, of loading the history, of the training, and of the nights."""
    found = [seconds_of(lambda: scaffold(repository, company, samples))]
    land(repository, company, samples)
    return [
        *found,
        seconds_of(lambda: backfill(repository, company, company.history, at_once=True)),
        seconds_of(lambda: train(repository, company, company.history[1])),
        seconds_of(lambda: backfill(repository, company, company.nights)),
    ]


def main() -> None:
    shown = Table("company", "scaffold", "history", "training", "nights", "together", title="Seconds after the set-up")
    with tempfile.TemporaryDirectory() as folder, installed(Path(folder) / "repository") as repository:
        repository.nocturne("up")
        for company in COMPANIES:
            steps = measured(repository, company, Path(folder) / "samples")
            shown.add_row(company.name, *(f"{one:.0f}" for one in (*steps, sum(steps))))
        touched = [line for line in repository.changed() if not line.startswith("?? ")]
    console = Console(width=100)
    console.print(shown)
    console.print(f"{len(touched)} existing files touched")


if __name__ == "__main__":
    main()
