"""``make stream``: spool the events of a source as they come, until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time

from include.contracts.connectors import Stream
from include.contracts.source import Source
from include.ingestion.connectors.errors import RefusedError, UpstreamError
from include.ingestion.connectors.stream import Continuous, brief
from include.lake import spark as lake
from include.lake import usage
from include.sources import source, sources

STEP = 1.0  # seconds


def streams(of: Source, every: float) -> list[Continuous]:
    """A query for each feed of ``of`` that is a stream."""
    return [Continuous(of, feed, every) for feed in of.feeds if isinstance(feed.connector, Stream)]


class Progress:
    """How far a query has come, for people."""

    def __init__(self, stream: Continuous) -> None:
        self.stream, self.batch, self.running = stream, -1, False
        self.events, self.at = 0, time.monotonic()

    def news(self) -> str:
        """What there is to say since the last time; empty where that is nothing."""
        query = self.stream.query
        if bool(query) is not self.running:
            self.running = bool(query)
            return f"{self.stream.spool}: {'spooling' if query else 'waiting for the night to be cut'}"
        if not query or not (last := query.lastProgress) or last.batchId == self.batch or not last.numInputRows:
            return ""
        table = usage.opened(f"bronze.{self.stream.spool}")
        events, at = int(usage.files_of(table)["rows"].sum()), time.monotonic()
        new, rate = events - self.events, (events - self.events) / (at - self.at)
        first, self.batch, self.events, self.at = self.batch < 0, last.batchId, events, at
        speed = "" if first else f" (+{new}, {rate:.1f} a second)"
        seconds = last.batchDuration / 1000
        return f"{self.stream.spool}: {events} events{speed}, last batch {last.batchId} took {seconds:.1f} s"


def follow(of: Source, every: float, done: threading.Event) -> None:
    """Run the queries until ``done``, and say how far they come."""
    running = streams(of, every)
    progress = [Progress(stream) for stream in running]
    spark = lake.apache_spark("a stream")
    lake.create_layers(spark)
    try:
        while not done.is_set():
            for stream in running:
                stream.step(spark)
            for one in progress:
                if line := one.news():
                    print(time.strftime("%H:%M:%S"), line, flush=True)
            done.wait(STEP)
    finally:
        for stream in running:
            stream.stop()


def main() -> int:
    """0 when it was told to end, 1 when a query has failed, 2 where there is nothing to stream."""
    from pyspark.errors import PySparkException

    parser = argparse.ArgumentParser(prog="make stream", description=__doc__)
    parser.add_argument("--source", required=True, choices=list(sources()))
    parser.add_argument("--every", type=float, default=10, help="seconds between two looks for new events")
    given = parser.parse_args()
    of = source(given.source)
    if not streams(of, given.every):
        parser.error(f"{of.name} has no feed that is a stream")
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    try:
        follow(of, given.every, done)
    except (RefusedError, UpstreamError, PySparkException, lake.ApacheSparkWantedError) as error:
        print(brief(error), file=sys.stderr)
        return 1
    print("stopped; the next one goes on where this one came to")
    return 0


if __name__ == "__main__":
    sys.exit(main())
