"""Imports the heavy libraries once, in the process whose forks need them.

The executor forks its workers from the scheduler and each task from a worker; the DAG processor forks a process for each
file. What is imported here is there in every fork at once, and its memory is shared.

Nothing here may start a thread that a fork would need: importing is all it does. No Spark session, no gRPC channel, no Polars
query before the fork.
"""

import gc
import importlib
import logging
import sys
import time

__all__: list[str] = []  # Airflow takes every other public name here for a setting

_PARSING = ("airflow.sdk", "cosmos")
_TASKS = (
    *_PARSING,
    "great_expectations",
    "pyspark.sql.connect.session",
    "pyspark.sql.connect.functions",
    "polars",
    "deltalake",
    "xgboost",
    "mlflow.xgboost",
    "dbt.cli.main",
    "dbt.adapters.spark",
)
_OF_COMPONENT = {"scheduler": _TASKS, "dag-processor": _PARSING}


def _preload(modules: tuple[str, ...]) -> None:
    """Import each module; one that fails is said and left to the task that needs it."""
    begun = time.monotonic()
    gc.disable()  # a collection among millions of fresh objects that all stay only costs
    try:
        for module in modules:
            try:
                importlib.import_module(module)
            except Exception:  # a broken library must not keep the scheduler down
                logging.getLogger(__name__).exception("could not import %s ahead of the tasks", module)
    finally:
        gc.enable()
    gc.freeze()  # what is there now stays in shared pages: collections in forks do not touch it
    print(f"nocturne: {len(modules)} libraries imported ahead of the forks in {time.monotonic() - begun:.1f} s", flush=True)


if len(sys.argv) > 1 and sys.argv[0].endswith(("airflow", "airflow/__main__.py")):
    _preload(_OF_COMPONENT.get(sys.argv[1], ()))
