"""What the command line needs of Airflow's REST API: start runs, and follow them through everything they set off."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from include.core.errors import NocturneError
from include.core.partitions import ANNOUNCED, BadPartitionError, Partitions
from include.core.settings import Settings
from include.orchestration import alert_log
from include.use_cases import use_cases

FINISHED = ("success", "failed")
IDENTITY = ("dag_id", "dag_run_id", "task_id", "map_index", "id", "uri")  # what tells one row of a list from another
PAGE = 100  # rows: the API gives no more at once, whatever is asked for

# Airflow starts a run within a second or two of the event that it waits for; a busy machine takes longer.
PATIENCE = 120.0

# A busy machine has Airflow answer late: what only asks is asked again, so that a wait of hours does not end by it.
ANSWER, ANSWERED, BACK = 60.0, 300.0, 60.0  # seconds for one answer, for all of them, and for a server to be back


FEW = 5
SILENCE = 60.0  # seconds after which a wait says that it goes on


def few(names: Sequence[str]) -> str:
    """``names`` in a line: of many, only the first ones and how many more."""
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


class AirflowError(NocturneError):
    """Airflow refuses, or does not know, what it was asked."""


class RunFailedError(AirflowError):
    """A run failed. The message names it, its failed tasks, and where their log is."""


class NotStartedError(RunFailedError):
    """What was announced has no run, since its DAG is paused or the scheduler is down."""


@dataclass(frozen=True)
class Run:
    """A DAG run. ``partition_key`` is also that of a range given as parameters; None where it has neither."""

    dag_id: str
    run_id: str
    partition_key: str | None
    state: str
    queued_at: str
    start: float | None  # seconds since the epoch, as is ``end``
    end: float | None
    run_type: str

    @property
    def seconds(self) -> float | None:
        """How long it took, None while it is under way."""
        return None if self.start is None or self.end is None else round(self.end - self.start, 1)

    @classmethod
    def of(cls, body: dict[str, Any]) -> Run:
        return cls(
            dag_id=body["dag_id"],
            run_id=body["dag_run_id"],
            partition_key=body["partition_key"] or _range(body["conf"] or {}),
            state=body["state"],
            queued_at=body["queued_at"] or body["run_after"],
            start=_epoch(body["start_date"]),
            end=_epoch(body["end_date"]),
            run_type=body["run_type"],
        )


def _range(conf: dict[str, Any]) -> str | None:
    """The key that a run started with the parameters of a range gives its events."""
    try:
        return Partitions.parse(f"{conf['from']}..{conf['to']}").key
    except (
        KeyError,
        BadPartitionError,
    ):  # what somebody has mistyped fails in its own run and must not hide the others
        return None


def _epoch(moment: str | None) -> float | None:
    return datetime.fromisoformat(moment).timestamp() if moment else None


class Airflow:
    """A logged-in client of the installation of ``settings``. ``url`` is where a person looks."""

    def __init__(self, settings: Settings) -> None:
        self.url = settings.airflow_link
        self._login_at = f"{settings.airflow_url}/auth/token"
        self._password = settings.secret("airflow_admin_password")
        self._http = httpx.Client(base_url=f"{settings.airflow_url}/api/v2", timeout=ANSWER)

    def _login(self) -> None:
        body = {"username": "admin", "password": self._password}
        answer = self._http.post(self._login_at, json=body)
        answer.raise_for_status()
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """The JSON answer of ``path``. Waits out a server on its way back or out of breath.

        Raises AirflowError with what it refused, and httpx.TransportError where it does not answer.
        """
        begun = time.monotonic()
        deadline = begun + BACK
        while True:
            try:
                if "Authorization" not in self._http.headers:
                    self._login()
                answer = self._http.request(method, path, **kwargs)
            except httpx.TransportError as error:
                # What may have begun something is not asked for twice: only where nobody can have heard it.
                until = begun + ANSWERED if isinstance(error, httpx.ReadTimeout) else deadline
                if time.monotonic() > until or not (method == "GET" or isinstance(error, httpx.ConnectError)):
                    raise
                time.sleep(1)
                continue
            if answer.status_code == 401 and time.monotonic() < deadline:
                del self._http.headers["Authorization"]
                continue
            if answer.status_code >= 500 and method == "GET" and time.monotonic() < deadline:
                time.sleep(1)
                continue
            if answer.is_error:
                raise AirflowError(f"Airflow refused {method} {path}: {answer.status_code} {answer.text}")
            return answer.json() if answer.content else None

    def pages(self, path: str, key: str, **params: Any) -> list[dict[str, Any]]:
        """All rows under ``key`` of a list that is given by pages, each once, though rows may come while it is read."""
        found: dict[str, dict[str, Any]] = {}
        offset = 0
        while True:
            rows = self.call("GET", path, params=params | {"limit": PAGE, "offset": offset})[key]
            found |= {json.dumps([row.get(name) for name in IDENTITY]): row for row in rows}
            if len(rows) < PAGE:
                return list(found.values())
            offset += len(rows)

    def dag_ids(self) -> list[str]:
        return [one["dag_id"] for one in self.pages("/dags", "dags", order_by="dag_id")]

    def paused(self) -> set[str]:
        """The DAGs that are paused: Airflow drops the events that they would have followed."""
        return {one["dag_id"] for one in self.pages("/dags", "dags", order_by="dag_id", paused=True)}

    def unpause(self, dag_ids: Iterable[str]) -> None:
        """Let the DAGs run. What they missed while they were paused does not come by itself."""
        for dag_id in dag_ids:
            self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def wait_for_dags(self, wanted: set[str], patience: float = PATIENCE) -> None:
        """Return when Airflow knows the DAGs ``wanted``. Raises AirflowError with its import errors if it does not."""
        deadline, asked = time.monotonic() + patience, False
        while missing := wanted - set(self.dag_ids()):
            if time.monotonic() > deadline:
                errors = self.call("GET", "/importErrors")["import_errors"]
                raise AirflowError(f"Airflow does not know {sorted(missing)}: {errors}")
            if not asked:
                self._have_read_again(missing)
                asked = True
            time.sleep(1)

    def _have_read_again(self, missing: set[str]) -> None:
        """Have Airflow read the files now that make DAGs named like the ``missing`` ones: a new source is among them.

        By itself it reads a file that has not changed once a minute.
        """
        begins = tuple("_".join(dag_id.split("_")[:2]) for dag_id in missing)  # as lakehouse_ingest, of each source
        known = self.pages("/dags", "dags", order_by="dag_id", exclude_stale=False)
        for token in sorted({one["file_token"] for one in known if one["dag_id"].startswith(begins)}):
            try:
                self.call("PUT", f"/parseDagFile/{token}")
            except AirflowError:  # somebody else has asked for it already
                continue

    def trigger(self, dag_id: str, nights: Partitions) -> Run:
        """Start one run of ``dag_id`` for ``nights``."""
        body: dict[str, Any] = {"logical_date": None}
        if nights.first == nights.last:
            body["partition_key"] = nights.key
        else:
            body["conf"] = {"from": str(nights.first), "to": str(nights.last)}
        return Run.of(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body))

    def start(self, dag_id: str, conf: dict[str, Any]) -> Run:
        """Start one run of ``dag_id`` with parameters, for no partition."""
        return Run.of(self.call("POST", f"/dags/{dag_id}/dagRuns", json={"logical_date": None, "conf": conf}))

    def backfill(self, dag_id: str, nights: Partitions, max_active_runs: int = 1) -> list[Run]:
        """Start a backfill of ``dag_id``, one run a night, run again where there was one. Returns its runs.

        One night after the other by default: the stages behind the head work side by side anyway, and a night that is
        watched before the one before it was scored sees less in its look-back than it does when it is run again.

        Raises AirflowError where Airflow refuses it, as while another backfill of the DAG is under way.
        """
        body = {
            "dag_id": dag_id,
            "from_date": f"{nights.first}T00:00:00Z",
            "to_date": f"{nights.last}T00:00:00Z",
            "reprocess_behavior": "completed",
            "max_active_runs": max_active_runs,
        }
        wanted = {str(day) for day in nights.days}
        for run in self.never_starting(self._backfilled(dag_id, nights)):
            self.call("DELETE", f"/dags/{dag_id}/dagRuns/{run.run_id}")
        before = {(run.run_id, run.queued_at) for run in self._backfilled(dag_id, nights)}
        self._begin_backfill(dag_id, body, len(wanted))
        deadline = time.monotonic() + PATIENCE + len(wanted)
        while True:
            runs = {
                run.partition_key: run
                for run in self._backfilled(dag_id, nights)
                if run.partition_key in wanted and (run.run_id, run.queued_at) not in before
            }
            if len(runs) == len(wanted):
                return list(runs.values())
            if time.monotonic() > deadline:
                without = sorted(wanted - set(runs))
                raise RunFailedError(f"the backfill of {dag_id} made no run for {len(without)} nights: {few(without)}")
            time.sleep(0.5)

    def asleep(self) -> set[str]:
        """The paused DAGs of use cases that are not enabled: nobody waits for them."""
        names = tuple(f"{case.name}_" for case in use_cases().values() if not case.enabled)
        return {dag_id for dag_id in self.paused() if dag_id.startswith(names)}

    def of_persons(self) -> set[str]:
        """The DAGs that wait for a person, for days where need be: nobody waits for them here."""
        return {f"{case.name}_promote" for case in use_cases().values()}

    def never_starting(self, runs: Sequence[Run]) -> list[Run]:
        """Those of ``runs`` that stay queued: somebody cancelled their backfill and cleared them.

        Airflow 3.3.2 starts no run of a cancelled backfill ever again (apache/airflow#72054).
        """
        queued = [run for run in runs if run.run_type == "backfill" and run.state == "queued" and run.partition_key]
        backfills = {
            dag_id: self.pages("/backfills", "backfills", dag_id=dag_id) for dag_id in {run.dag_id for run in queued}
        }
        found = []
        for run in queued:
            its = [
                one
                for one in backfills[run.dag_id]
                if one["from_date"][:10] <= str(run.partition_key) <= one["to_date"][:10]
            ]
            newest = max(its, key=lambda one: one["created_at"], default=None)
            if newest and newest["is_paused"] and newest["completed_at"]:
                found.append(run)
        return found

    def _backfilled(self, dag_id: str, nights: Partitions) -> list[Run]:
        """The runs that backfills have made for ``nights``, of a DAG with a schedule."""
        days = {"partition_date_gte": str(nights.first), "partition_date_lte": str(nights.last)}
        return self.runs(dag_id, run_type="backfill", **days)

    def _begin_backfill(self, dag_id: str, body: dict[str, Any], nights: int) -> None:
        # Airflow notices only every half minute that a backfill has ended, and refuses the next one until then.
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.call("POST", "/backfills", json=body, timeout=PATIENCE + 3 * nights)  # it makes all runs first
            except AirflowError as refused:
                under_way = self.runs(dag_id, state=["queued", "running"], run_type="backfill")
                if "already a running backfill" not in str(refused) or under_way or time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                return

    def run(self, dag_id: str, run_id: str) -> Run:
        return Run.of(self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}"))

    def runs(self, dag_id: str = "~", **filters: Any) -> list[Run]:
        """The runs of a DAG, or of all, the last made first. ``filters`` are those of the API."""
        # Read in the order in which they were made: what is made meanwhile comes last and shifts no page.
        rows = self.pages(f"/dags/{dag_id}/dagRuns", "dag_runs", **({"order_by": "id"} | filters))
        return [Run.of(one) for one in reversed(rows)]

    def newest_runs(self, dag_id: str) -> list[Run]:
        """The last ``PAGE`` runs of a DAG, the last made first."""
        params = {"limit": PAGE, "order_by": "-id"}
        return [Run.of(one) for one in self.call("GET", f"/dags/{dag_id}/dagRuns", params=params)["dag_runs"]]

    def runs_of(self, dag_id: str, key: str) -> list[Run]:
        """The runs of a DAG for exactly the partition ``key``, the last made first."""
        found = self.runs(dag_id, partition_key_prefix_pattern=key)
        return [run for run in found if run.partition_key == key]

    def tasks(self, run: Run) -> list[dict[str, Any]]:
        return self.pages(f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances", "task_instances")

    def assets(self) -> list[dict[str, Any]]:
        """Every asset with the tasks that announce it and the DAGs that follow it."""
        return self.pages("/assets", "assets", order_by="id")

    def announced(self, run: Run, assets: list[dict[str, Any]]) -> dict[tuple[str, str], str]:
        """The DAGs and keys that a finished run set off, each with the time (ISO 8601) before which its run cannot be.

        Read from the states of the tasks that announce assets: the list of asset events answers 500 as long as a run
        that an event made is still queued (Airflow 3.3.2).
        """
        succeeded = {task["task_id"]: task["start_date"] for task in self.tasks(run) if task["state"] == "success"}
        return {
            (follower["dag_id"], key): succeeded[producer["task_id"]]
            for asset in assets
            for producer in asset["producing_tasks"]
            if producer["dag_id"] == run.dag_id and producer["task_id"] in succeeded
            for follower in asset["scheduled_dags"]
            for key in self._keys(run, producer["task_id"])
        }

    def _keys(self, run: Run, task_id: str) -> list[str]:
        """The partition keys that a task of ``run`` announced; none where it ended without announcing."""
        task = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}"
        if ANNOUNCED not in {one["key"] for one in self.call("GET", f"{task}/xcomEntries")["xcom_entries"]}:
            return []
        value = self.call("GET", f"{task}/xcomEntries/{ANNOUNCED}")["value"]
        return list(json.loads(value) if isinstance(value, str) else value)

    def result(self, run: Run, task_id: str) -> Any:
        """What a task of ``run`` returned."""
        path = f"/dags/{run.dag_id}/dagRuns/{run.run_id}/taskInstances/{task_id}/xcomEntries/return_value"
        value = self.call("GET", path)["value"]
        return json.loads(value) if isinstance(value, str) else value

    def follow(self, heads: list[Run], say: Callable[[str], None] = print) -> list[Run]:
        """Wait for ``heads`` and all that follows from them by asset events. Returns every run, in order of finish.

        Raises RunFailedError as soon as one has failed, NotStartedError where one never starts. The paused DAGs of a
        use case that is not enabled are left alone, and so is what waits for a person's approval.
        """
        assets, unwatched = self.assets(), self.asleep() | self.of_persons()
        waiting, done, seen = list(heads), [], {(run.dag_id, run.run_id) for run in heads}
        due: list[tuple[str, str, str, float]] = []  # DAG, key, not before, give up at
        said, of_heads = time.monotonic(), {(run.dag_id, run.run_id) for run in heads}
        while waiting or due:
            time.sleep(0.5)
            for run in self._ended(waiting):
                waiting = [one for one in waiting if (one.dag_id, one.run_id) != (run.dag_id, run.run_id)]
                done.append(run)
                if run.state == "failed":
                    raise RunFailedError(self.explain(run) + self._left(waiting))
                say(self.tell(run))
                said = time.monotonic()
                for (dag_id, key), since in self.announced(run, assets).items():
                    if dag_id not in unwatched:
                        due.append((dag_id, key, since, time.monotonic() + PATIENCE))
            if due and (stopped := self.paused() & {dag_id for dag_id, *_ in due}):
                keys = sorted({key for dag_id, key, *_ in due if dag_id in stopped})
                raise NotStartedError(
                    f"{', '.join(sorted(stopped))} is paused, and Airflow drops what a paused DAG would have followed. "
                    f"Unpause it, then run {few(keys)} of it again with *Trigger* and the partition key"
                    + self._left(waiting)
                )
            for item in list(due):
                dag_id, key, since, deadline = item
                started = [run for run in self.runs_of(dag_id, key) if run.queued_at >= since]
                if started:
                    due.remove(item)
                    run = started[-1]
                    if (run.dag_id, run.run_id) not in seen:
                        seen.add((run.dag_id, run.run_id))
                        waiting.append(run)
                elif time.monotonic() > deadline:
                    raise NotStartedError(f"{dag_id} {key} was announced and never started: is the scheduler up?")
            if time.monotonic() - said > SILENCE and waiting:
                said = time.monotonic()
                left = sum((run.dag_id, run.run_id) in of_heads for run in waiting)
                say(f"… {left} of the {len(heads)} runs asked for have not ended, and {len(waiting) - left} after them")
        return done

    def _ended(self, waiting: list[Run]) -> list[Run]:
        """Those of ``waiting`` that have ended, as they are now. Of many of a DAG, a list is asked for and not each."""
        found = []
        for dag_id in {run.dag_id for run in waiting}:
            ours = [run for run in waiting if run.dag_id == dag_id]
            if len(ours) > FEW:
                active = {run.run_id for run in self.runs(dag_id, state=["queued", "running"])}
                ours = [run for run in ours if run.run_id not in active]
            found += [now for run in ours if (now := self.run(run.dag_id, run.run_id)).state in FINISHED]
        return found

    def _left(self, waiting: list[Run]) -> str:
        return f"\n{len(waiting)} runs go on in Airflow without being watched here" if waiting else ""

    def tell(self, run: Run) -> str:
        """A finished run in a line, with the reason where its last task had nothing to do."""
        states = {task["task_id"]: task["state"] for task in self.tasks(run)}
        skipped = [name for name, state in states.items() if state == "skipped"]
        note = f"  ({', '.join(skipped)} skipped)" if skipped else ""
        note += "  (a version waits for an approval)" if states.get("request_approval") == "success" else ""
        return f"{run.partition_key or run.run_id:<24} {run.dag_id:<28} {run.seconds or 0:6.1f} s{note}"

    def explain(self, run: Run) -> str:
        """Which tasks of a failed run failed, what each of them said, and where to read more."""
        failed = [task["task_id"] for task in self.tasks(run) if task["state"] == "failed"]
        said = [one["error"] for one in alert_log.of_run(run.dag_id, run.run_id, run.start or 0.0)]
        return "\n".join(
            [
                f"{run.dag_id} {run.partition_key or run.run_id} failed in {', '.join(failed) or 'no task'}",
                *said,
                f"its log: {self.url}/dags/{run.dag_id}/runs/{run.run_id}/tasks/{failed[0] if failed else ''}",
            ]
        )
