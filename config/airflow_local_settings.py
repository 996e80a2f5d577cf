"""What the processes of Airflow do before their own: libraries for all forks at once, and audit lines in threads.

The executor has its workers forked by a fork server and forks each task from a worker; the DAG processor forks a
process for each file. What is imported here is there in every fork at once, and its memory is shared. The scheduler
itself imports none of it and starts the fork server beside it: after a kill it is back the sooner.

Nothing here may leave a thread that a fork would need: no Spark session, no gRPC channel, no Polars query before the
fork. Beside importing, dbt reads its project once.
"""

import asyncio
import functools
import gc
import importlib
import logging
import multiprocessing
import sys
import time
from multiprocessing import forkserver
from typing import Any

from include.core.settings import LOCAL, settings
from include.local.environment import AIRFLOW_SECRETS, hidden

__all__: list[str] = []  # Airflow takes every other public name here for a setting

# `cosmos` itself imports nothing until a name is used: these are what a DAG file with a DbtTaskGroup uses
_PARSING = ("airflow.sdk", "cosmos.airflow.task_group", "cosmos.operators.local", "cosmos.operators.watcher")
_TASKS = (
    *_PARSING,
    "airflow.dag_processing.dagbag",
    "airflow.dag_processing.bundles.local",
    "airflow.providers.standard.decorators.python",
    "airflow.providers.standard.decorators.sensor",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "great_expectations",
    "pyspark.sql.connect.session",
    "pyspark.sql.connect.functions",
    "polars",
    "deltalake",
    "upath.implementations.local",
    "xgboost",
    "mlflow.xgboost",
    "dbt.cli.main",
    "dbt.adapters.spark",
    "openlineage.client.event_v2",
    "openlineage.client.facet_v2",
    "httpx",
    "requests",
)
_OF_COMPONENT = {"fork-server": _TASKS, "celery": _TASKS, "dag-processor": _PARSING}


def _preload(modules: tuple[str, ...]) -> None:
    """Import each module; one that fails is said and left to the task that needs it."""
    if not modules:
        return
    begun = time.monotonic()
    gc.disable()  # a collection among millions of fresh objects that all stay only costs
    try:
        for module in modules:
            try:
                importlib.import_module(module)
            except Exception:  # a broken library must not keep the scheduler down
                logging.getLogger(__name__).exception("could not import %s ahead of the tasks", module)
        _find_asset_handlers()
        if modules is _TASKS:
            _parse_dbt_project()
    finally:
        gc.enable()
    gc.freeze()  # what is there now stays in shared pages: collections in forks do not touch it
    print(
        f"nocturne: {len(modules)} libraries imported ahead of the forks in {time.monotonic() - begun:.1f} s",
        flush=True,
    )


def _find_asset_handlers() -> None:
    """Have Airflow import all providers' URI handlers: the first asset in a process does so, for a second each time."""
    from airflow.sdk import Asset

    Asset(name="ahead of the forks", uri="nocturne://ahead")


def _parse_dbt_project() -> None:
    """Have dbt read its project once: what it compiles for that, for two seconds, each build then has at once."""
    from dbt.adapters.factory import reset_adapters
    from dbt.cli.main import dbtRunner

    project, ahead = settings().home / "dbt_project", settings().var / "dbt" / "ahead"
    places = {"project-dir": project, "profiles-dir": project, "target-path": ahead, "log-path": ahead}
    # Its static parser is a library whose threads would be missing in every fork, which would wait for them for ever.
    arguments = ["--quiet", "--no-static-parser", "parse", *(f"--{name}={place}" for name, place in places.items())]
    done = dbtRunner().invoke(arguments)
    reset_adapters()  # a build has its own, of the profile as it is then
    if not done.success:  # the build that comes to it will say so to those who can mend it
        logging.getLogger(__name__).warning("dbt's project could not be read ahead of the tasks: %s", done.exception)


def _start_fork_server() -> None:
    """Start now what `mp_start_method = forkserver` in airflow.cfg would start before the first task only."""
    multiprocessing.set_forkserver_preload(["airflow"])  # which imports this file
    with hidden(AIRFLOW_SECRETS):  # a task gets a token of its own from the scheduler, and needs none of these
        forkserver.ensure_running()


def _write_audit_lines_in_threads() -> None:
    """Have the API write the audit line of a request in a thread, as everything else, and not in its event loop.

    SQLite lets one writer in at a time. There the loop itself waited for another request of the same server, which had
    written and waited for the loop to commit: both stood still for the minute that the connection waits.
    """
    from airflow.api_fastapi.logging import decorators
    from starlette.concurrency import run_in_threadpool

    original = decorators.action_logging

    @functools.wraps(original)
    def action_logging(event: str | None = None) -> Any:
        write = original(event)

        @functools.wraps(write)  # FastAPI reads from it what to bring
        async def in_a_thread(**brought: Any) -> None:
            await brought["request"].body()  # kept by the request: the thread finds it without the loop
            await run_in_threadpool(lambda: asyncio.run(write(**brought)))

        return in_a_thread

    decorators.action_logging = action_logging


def _component() -> str:
    """The Airflow command of this process, or ``fork-server``; empty elsewhere.

    ``sys.argv`` would not tell: while Airflow is being imported, its first is ``-m``.
    """
    if any("multiprocessing.forkserver" in argument for argument in sys.orig_argv):
        return "fork-server"
    is_airflow = any(argument.endswith("airflow") for argument in sys.orig_argv[1:3])
    return sys.argv[1] if is_airflow and len(sys.argv) > 1 else ""


def _ahead() -> tuple[str, ...]:
    """What this process imports ahead. Under Celery a scheduler's fork server sends tasks, and runs none."""
    component = _component()
    if component == "fork-server" and settings().executor != LOCAL:
        return ()
    return _OF_COMPONENT.get(component, ())


if _component() == "scheduler" and settings().executor == LOCAL:
    _start_fork_server()
if _component() == "api-server":
    _write_audit_lines_in_threads()
_preload(_ahead())
