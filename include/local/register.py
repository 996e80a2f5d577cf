"""``python -m include.local.register``: wait for the Spark of this machine, and have its catalogue know the lake."""

import time

from include.core.settings import settings
from include.lake.spark import register_tables, session
from include.local.health import WELL, spark_health
from include.local.programs import spark_host

PATIENCE = 600.0
"""Seconds."""


def main() -> None:
    here, deadline = settings(), time.monotonic() + PATIENCE
    host = "127.0.0.1" if spark_host(here) == "0.0.0.0" else spark_host(here)  # noqa: S104  # all addresses: this too
    while spark_health(host, here.spark_port, 2) != WELL:
        if time.monotonic() > deadline:
            raise SystemExit("nocturne: Spark does not answer, and its catalogue has no tables")
        time.sleep(1)
    connected = session()
    new, broken = register_tables(connected)
    print(f"nocturne: {len(new)} tables of the lake are new to Spark's catalogue", flush=True)
    for table, reason in broken.items():
        print(f"nocturne: {table} cannot be read: {reason}", flush=True)
    connected.stop()


if __name__ == "__main__":
    main()
