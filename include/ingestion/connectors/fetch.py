"""Upstream to landing: the night's data becomes a landing file, and everything from there on is as for any other.

A landing file, once it is there, is the record of what the upstream said that night: it is kept and not fetched again,
so that a rerun has the same input. Deleting it is how to have it fetched again. It is written under a hidden name and
renamed when it is whole, so that a kill leaves nothing half.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from include.contracts.connectors import Bucket, Database, Http, Stream
from include.contracts.source import Feed, Source
from include.core.partitions import Partitions
from include.core.storage import remove
from include.ingestion.connectors import bucket, database, http, stream
from include.ingestion.connectors.errors import NightNotOverError
from include.ingestion.files import check_folder, exists
from include.ingestion.landing import path_of

if TYPE_CHECKING:
    from upath import UPath

log = logging.getLogger(__name__)

ABANDONED = timedelta(days=1)  # what a killed task left half-written goes when it is this old

# Writes the data of a day of a source's feed to the path. False: the upstream has none.
type Fetcher = Callable[[Any, Source, Feed, date, UPath], bool]
FETCHERS: dict[type, Fetcher] = {
    Http: http.fetch,
    Database: database.fetch,
    Bucket: bucket.fetch,
    Stream: stream.fetch,
}


def extract(source: Source, nights: Partitions) -> dict[str, list[str]]:
    """Fetch what ``nights`` lack in landing, and return the days of each feed that has a connector and is there."""
    there: dict[str, list[str]] = {feed.name: [] for feed in source.feeds if feed.connector}
    for night in nights.days:
        for name, days in there.items():
            feed = source.feed(name)
            if fetch(source, feed, feed.due(night)):
                days.append(str(feed.due(night)))
    return there


def fetch(source: Source, feed: Feed, day: date) -> UPath | None:
    """The landing file of ``day``, fetched by the feed's connector where it is not there yet.

    None where the upstream has nothing for that day. Raises NightNotOverError before the night has ended, RefusedError
    for what a person has to mend, and whatever an upstream's failing brings for what another try may mend.
    """
    path, night = path_of(source, feed, day), feed.night(day)
    if exists(path):
        log.info("%s is there: kept, and not fetched again", path)
        return path
    if datetime.now(UTC) < (ends := source.ends(night)):
        raise NightNotOverError(f"{source.name} {feed.name} {day}: night {night} ends at {ends:%Y-%m-%d %H:%M} UTC")
    begun = time.monotonic()
    with hidden(path) as part:
        if not FETCHERS[type(feed.connector)](feed.connector, source, feed, day, part):
            log.info("%s %s has nothing for %s", source.name, feed.name, day)
            return None
        land(part, path)
    log.info("%s: %d bytes in %.1f s", path, path.stat().st_size, time.monotonic() - begun)
    return path


@contextmanager
def hidden(path: UPath) -> Iterator[UPath]:
    """A name beside ``path`` that no night reads, for what is not whole yet. What is there at the end is removed.

    Raises UnreadableFileError where a link leads there: it would be written to wherever that points.
    """
    check_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob(".*.part"):
        if not old.is_symlink() and time.time() - old.stat().st_mtime > ABANDONED.total_seconds():
            remove(old)
    part = path.with_name(f".{path.name}.{uuid4().hex}.part")
    try:
        yield part
    finally:
        remove(part)


def land(part: UPath, path: UPath) -> None:
    """Make the whole ``part`` the file at ``path``, in one step that also a power failure cannot halve."""
    if isinstance(part, Path):
        with part.open("rb") as file:
            os.fsync(file.fileno())
    part.replace(path)  # in S3 a copy, which appears as a whole
