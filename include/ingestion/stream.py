"""``make stream``: spool the events of a source as they come, until Ctrl-C."""

from __future__ import annotations

import threading
import time

from include.contracts.connectors import Stream
from include.contracts.source import Source
from include.ingestion.connectors.stream import Continuous
from include.lake import spark as lake
from include.lake import usage

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
