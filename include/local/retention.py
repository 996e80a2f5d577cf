"""What is forgotten beside the lake: logs, what Airflow and MLflow keep of old runs, events, alerts, caches.

Each kind has a function that looks and one that removes what that one finds. Nothing goes that a version or a ledger
names, nor anything that is younger than its setting says: a night beside it has nothing that old. Safe to repeat; two
at once take turns.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from include.core.errors import NocturneError
from include.core.lease import lease
from include.core.settings import Settings
from include.governance import events
from include.local.environment import DATABASE_SECRETS, FERNET_KEY, environment
from include.ml import ledger, retention, rollouts
from include.orchestration import alert_log
from include.use_cases import use_cases

Progress = Callable[[str], None]

# Not `dag`, of which `airflow db clean` takes rows that others name, and fails; there are few of them anyway.
AIRFLOW_TABLES = (
    "asset_event",
    "callback",
    "dag_run",
    "dag_version",
    "deadline",
    "import_error",
    "job",
    "log",
    "partitioned_asset_key_log",
    "revoked_token",
    "task_instance",
    "task_instance_history",
    "task_reschedule",
    "trigger",
    "xcom",
)
AT_ONCE = 5000
"""Rows of Airflow that go in one transaction: SQLite lets nobody else write meanwhile."""


class CleaningError(NocturneError):
    """Airflow could not forget. Another try may."""


@dataclass(frozen=True)
class Old:
    """What is old enough to go: of what, how many, and bytes where they are known."""

    what: str
    number: int
    bytes: int = 0

    def __str__(self) -> str:
        size = f", {self.bytes / 1e6:.1f} MB" if self.bytes else ""
        return f"{self.what}: {self.number}{size}"


class Kind(ABC):
    """One kind of thing that gets old."""

    @abstractmethod
    def find(self, of: Settings, now: datetime) -> Old:
        """What would go."""

    @abstractmethod
    def forget(self, of: Settings, now: datetime) -> None:
        """Have it go."""


class Logs(Kind):
    """Of tasks, and of the reading of DAG files. Those of services are cut by size where they are written."""

    def _files(self, of: Settings, now: datetime) -> list[Path]:
        return list(_older(of.log / "airflow", "**/*", now - timedelta(of.log_days)))

    def find(self, of: Settings, now: datetime) -> Old:
        files = self._files(of, now)
        return Old(f"logs of tasks older than {of.log_days} days", len(files), _size(files))

    def forget(self, of: Settings, now: datetime) -> None:
        root = of.log / "airflow"
        # Of before their files go: a folder into which somebody has written since is not old.
        folders = [one for one in _older(root, "**/*/", now - timedelta(of.log_days), folders=True) if one != root]
        _unlink(self._files(of, now))
        for folder in sorted(folders, reverse=True):
            try:
                folder.rmdir()
            except OSError:  # it has a file that is not old
                continue


class Caches(Kind):
    """What trainings and scorings make or fetch again: checkpoints, trials, boosters of versions that serve no more."""

    def _files(self, of: Settings, now: datetime) -> list[Path]:
        before, serving = now - timedelta(of.cache_days), self._serving()
        models = of.var / "cache" / "models"
        return [
            *_older(of.var / "checkpoints", "*", before),
            *_older(of.var / "searches", "*/*", before),
            *_older(of.var / "cache" / "fitted", "*/*", before),
            *(one for one in _older(models, "*/*/*", before) if one.relative_to(models).parts[:2] not in serving),
        ]

    def _serving(self) -> set[tuple[str, ...]]:
        """The last two champions and the challenger of each use case: a night scores by them while MLflow is away."""
        found = set[tuple[str, ...]]()
        for case in use_cases().values():
            champions = list(dict.fromkeys(one.model_version for one in ledger.read(case)))[-2:]
            step = rollouts.current(rollouts.read(case))
            found |= {(case.name, str(version)) for version in champions}
            found |= {(case.name, str(step.model_version))} if step else set()
        return found

    def find(self, of: Settings, now: datetime) -> Old:
        files = self._files(of, now)
        return Old(f"files that are made or fetched again, older than {of.cache_days} days", len(files), _size(files))

    def forget(self, of: Settings, now: datetime) -> None:
        _unlink(self._files(of, now))


@dataclass(frozen=True)
class Lines(Kind):
    """The lines of a file of JSON objects, each with its time in the field ``at``."""

    what: str
    at: str
    path: Callable[[Settings], Path]
    days: Callable[[Settings], int]
    writing: Callable[[], AbstractContextManager[None]]

    def find(self, of: Settings, now: datetime) -> Old:
        old = [line for line in self._lines(of) if self._is_old(line, of, now)]
        return Old(f"{self.what} older than {self.days(of)} days", len(old), sum(map(len, old)))

    def forget(self, of: Settings, now: datetime) -> None:
        if not self.find(of, now).number:
            return
        path = self.path(of)
        beside = path.with_name(f".{path.name}.kept")
        with self.writing():  # nobody appends to a file that is about to be replaced
            with beside.open("wb") as file:
                file.writelines(line for line in self._lines(of) if not self._is_old(line, of, now))
            beside.chmod(path.stat().st_mode)
            beside.replace(path)

    def _lines(self, of: Settings) -> Iterator[bytes]:
        path = self.path(of)
        if path.exists():
            with path.open("rb") as file:
                yield from file

    def _is_old(self, line: bytes, of: Settings, now: datetime) -> bool:
        """A line that does not say when is kept."""
        try:
            at = datetime.fromisoformat(str(json.loads(line)[self.at]))
        except (ValueError, KeyError, TypeError):
            return False
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return at < now - timedelta(self.days(of))


class AirflowRuns(Kind):
    """Runs of DAGs and what belongs to them, by Airflow's own command."""

    def find(self, of: Settings, now: datetime) -> Old:
        # A worker does not know Airflow's database: there it is for who is beside the scheduler to do.
        knows = of.given("airflow_db") or not of.lease_connection
        said = self._clean(of, now, "--dry-run") if knows else ""
        rows = sum(int(number) for number in re.findall(r"Found (\d+) rows meeting deletion criteria", said))
        return Old(f"rows of Airflow older than {of.airflow_days} days", rows)

    def forget(self, of: Settings, now: datetime) -> None:
        # It copies what it deletes to tables of its own first, which a kill leaves behind.
        self._airflow(of, "db", "drop-archived", "--yes")
        self._clean(of, now, "--yes", "--skip-archive", "--batch-size", str(AT_ONCE))

    def _clean(self, of: Settings, now: datetime, *how: str) -> str:
        before = (now - timedelta(of.airflow_days)).isoformat(timespec="seconds")
        tables = ",".join(AIRFLOW_TABLES)
        return self._airflow(of, "db", "clean", "--clean-before-timestamp", before, "--tables", tables, *how)

    def _airflow(self, of: Settings, *argv: str) -> str:
        done = subprocess.run(  # noqa: S603  # Airflow's own command
            [sys.executable, "-m", "airflow", *argv],
            env=environment(of, DATABASE_SECRETS | {FERNET_KEY}),
            capture_output=True,
            text=True,
            check=False,
            cwd=of.run,
        )
        if done.returncode:
            last = (done.stderr.strip() or done.stdout.strip() or "killed").splitlines()[-1]
            raise CleaningError(f"`airflow {' '.join(argv[:2])}` failed: {last[:300]}")
        return done.stdout


class Runs(Kind):
    """Runs of MLflow that no version came of: deleted first, and their files a month later."""

    def find(self, of: Settings, now: datetime) -> Old:
        runs, files = retention.to_delete(now - timedelta(of.run_days)), retention.to_empty(now)
        return Old(f"runs of MLflow older than {of.run_days} days that no version came of", len(runs) + len(files))

    def forget(self, of: Settings, now: datetime) -> None:
        retention.empty(retention.to_empty(now))
        retention.delete(retention.to_delete(now - timedelta(of.run_days)), now)


KINDS: tuple[Kind, ...] = (
    Logs(),
    Caches(),
    Lines("alerts", "at", lambda of: of.alerts, lambda of: of.alert_days, alert_log.writing),
    Lines("lineage events", "eventTime", lambda of: events.default_file(), lambda of: of.event_days, events.one_writer),
    Runs(),
    AirflowRuns(),
)


def plan(of: Settings, now: datetime) -> list[str]:
    """What would be forgotten, a line each, and of which kinds that cannot be told. Changes nothing."""
    lines = []
    for kind in KINDS:
        try:
            found = kind.find(of, now)
            lines += [str(found)] if found.number else []
        except (NocturneError, OSError) as error:
            lines.append(f"not known: {error}")
    return lines


def forget(of: Settings, now: datetime, progress: Progress) -> None:
    """Forget what is old. Each kind by itself: where one fails, the others are done, and the first error is raised."""
    failed: list[Exception] = []
    with lease("retention"):
        for kind in KINDS:
            try:
                found = kind.find(of, now)
                if found.number:
                    kind.forget(of, now)
                    progress(f"gone: {found}")
            except (NocturneError, OSError) as error:
                progress(f"NOT gone: {error}")
                failed.append(error)
    if failed:
        raise failed[0]


def _older(folder: Path, pattern: str, before: datetime, *, folders: bool = False) -> Iterator[Path]:
    for path in folder.glob(pattern):
        try:
            if path.is_dir() is folders and not path.is_symlink() and path.stat().st_mtime < before.timestamp():
                yield path
        except FileNotFoundError:  # somebody else was faster
            continue


def _size(files: list[Path]) -> int:
    return sum(path.stat().st_size for path in files if path.exists())


def _unlink(files: list[Path]) -> None:
    for path in files:
        path.unlink(missing_ok=True)
