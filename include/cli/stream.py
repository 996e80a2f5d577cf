"""Spool the events of a source as they come, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import threading

from include.core.errors import BadRequestError, NocturneError
from include.sources import source


def stream_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", required=True)
    parser.add_argument("--every", type=float, default=10, help="seconds between two looks for new events (10)")


def stream(given: argparse.Namespace) -> int:
    """0 when it was told to end. Raises NocturneError when a query has failed."""
    from pyspark.errors import PySparkException

    from include.ingestion import stream
    from include.ingestion.connectors.stream import brief

    of = source(given.source)
    if not stream.streams(of, given.every):
        raise BadRequestError(f"{of.name} has no feed that is a stream")
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    try:
        stream.follow(of, given.every, done)
    except PySparkException as error:
        raise NocturneError(brief(error)) from error
    print("stopped; the next one goes on where this one came to")
    return 0
