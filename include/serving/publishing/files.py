"""A day of predictions → a file, in a folder or a bucket. Who reads sees the file before, or this one.

In a folder the file is written under another name and renamed; a marker beside it, ``.<file>.published``, says what it
has. In a bucket an object appears whole, and is put only in the place of the one that was looked at; its metadata is
the marker.
"""

from __future__ import annotations

import errno
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import date
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from include.contracts.publishing import REVISION, ToFiles
from include.contracts.use_case import UseCase
from include.core.settings import settings
from include.ingestion.connectors.bucket import ABSENT, REFUSING
from include.ingestion.connectors.connections import connection
from include.serving.publishing.content import Day, State
from include.serving.publishing.errors import TargetAwayError, TargetRefusedError
from include.serving.publishing.target import Outcome

TAKEN = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
"""What a bucket says where somebody else has put the object since."""


@dataclass(frozen=True)
class Marker:
    """What a file has: of whom, which revision and content, and the bytes that were written."""

    use_case: str
    revision: int
    content: str
    created: int
    version: int
    size: int
    sha256: str

    @property
    def state(self) -> State:
        return State(self.created, self.version)


class Files(ABC):
    """A folder or a prefix that is reached. What both do alike; where and how, the classes below."""

    def __init__(self, case: UseCase, target: ToFiles) -> None:
        self.case, self.target = case, target

    def close(self) -> None:
        """Nothing is held."""
        return

    def send(self, day: Day) -> Outcome:
        found = self._found(day.day)
        outcome = self._judged(day, found)
        if outcome.verb == "sent":
            body = written(day, self.target.format, outcome.revision)
            self._put(day.day, body, self._marker(day, outcome.revision, body))
        elif outcome.verb == "same" and found and found.state < day.sequence:
            self._raise(day, found)
        return outcome

    def _judged(self, day: Day, found: Marker | None) -> Outcome:
        if found is None:
            verb = "sent" if day.rows.height else "nothing"
            return Outcome("sent", 1, day.rows.height, day.rows.height) if verb == "sent" else Outcome("nothing")
        if found.use_case != self.case.name:
            raise TargetRefusedError(
                f"{self.where(day.day)}: {found.use_case} publishes there too. Name another path in one of the specs"
            )
        if found.state > day.sequence:
            return Outcome("newer", found.revision)
        if found.content == day.content:
            return Outcome("same", found.revision, day.rows.height, day.rows.height)
        return Outcome("sent", found.revision + 1, day.rows.height, day.rows.height)

    def _marker(self, day: Day, revision: int, body: bytes) -> Marker:
        state = day.sequence
        digest = sha256(body).hexdigest()
        return Marker(self.case.name, revision, day.content, state.created, state.version, len(body), digest)

    def name(self, day: date) -> str:
        return f"{day}.{self.target.format}"

    @abstractmethod
    def where(self, day: date) -> str: ...

    @abstractmethod
    def _found(self, day: date) -> Marker | None: ...

    @abstractmethod
    def _put(self, day: date, body: bytes, marker: Marker) -> None: ...

    @abstractmethod
    def _raise(self, day: Day, found: Marker) -> None:
        """Write down that a newer state of the lake has the same content: an older one must not come after it."""


class Folder(Files):
    """A folder of this machine, or one that it sees."""

    def __init__(self, case: UseCase, target: ToFiles) -> None:
        super().__init__(case, target)
        self.folder = settings().var / target.path

    def where(self, day: date) -> str:
        return str(self.folder / self.name(day))

    def _marker_of(self, day: date) -> Path:
        return self.folder / f".{self.name(day)}.published"

    def _found(self, day: date) -> Marker | None:
        file, beside = self.folder / self.name(day), self._marker_of(day)
        with self._told(day):
            if not beside.exists():
                if file.exists():
                    raise TargetRefusedError(
                        f"{file}: it is there, and was not published by Nocturne. Move it away, or name another path "
                        "in the spec"
                    )
                return None
            try:
                found = Marker(**json.loads(beside.read_text()))
            except (ValueError, TypeError) as error:
                raise TargetRefusedError(f"{beside}: it is no marker ({error}). Remove it and {file}") from None
            # Between the two renames of an earlier try, or by somebody's hand: what lies there is not what was said.
            if not file.exists() or sha256(file.read_bytes()).hexdigest() != found.sha256:
                return replace(found, content="")
        return found

    def _put(self, day: date, body: bytes, marker: Marker) -> None:
        file = self.folder / self.name(day)
        with self._told(day):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._marker_of(day).exists():
                # Said before the first file is there: or after a kill it would be taken for somebody else's.
                self._whole(self._marker_of(day), _text(replace(marker, content="", revision=0)))
            self._whole(file, body)
            self._whole(self._marker_of(day), _text(marker))

    def _raise(self, day: Day, found: Marker) -> None:
        state = day.sequence
        newer = replace(found, created=state.created, version=state.version)
        with self._told(day.day):
            self._whole(self._marker_of(day.day), _text(newer))

    def _whole(self, path: Path, body: bytes) -> None:
        """Write a file that is there whole or not at all, also where the machine ends."""
        name = path.name.removeprefix(".")
        for left in path.parent.glob(f".{name}.*.part"):  # of one that was killed
            left.unlink(missing_ok=True)
        part = path.with_name(f".{name}.{os.getpid()}.part")
        try:
            with part.open("wb") as file:
                file.write(body)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _told(self, day: date) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            said = f"{self.where(day)}: {error.strerror or error}"
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR):
                raise TargetRefusedError(f"{said}. Give the user of the services the right to write there") from None
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise TargetAwayError(f"{said}. The file before is as it was; make room, and publish again") from None
            raise TargetAwayError(said) from None


class Bucket(Files):
    """A prefix of a bucket."""

    def __init__(self, case: UseCase, target: ToFiles) -> None:
        super().__init__(case, target)
        self.bucket, _, self.prefix = target.path.removeprefix("s3://").rstrip("/").partition("/")
        self.client = client(target)
        self.seen: dict[date, str] = {}  # the ETag of the object that was looked at; empty: there was none

    def where(self, day: date) -> str:
        return f"s3://{self.bucket}/{self.prefix}/{self.name(day)}"

    def _at(self, day: date) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": f"{self.prefix}/{self.name(day)}"}

    def _found(self, day: date) -> Marker | None:
        from botocore.exceptions import ClientError

        with self._told(day):
            try:
                there = self.client.head_object(**self._at(day))
            except ClientError as error:
                if error.response["Error"]["Code"] not in ABSENT:
                    raise
                self.seen[day] = ""
                return None
        self.seen[day] = there["ETag"]
        said = there.get("Metadata", {}).get("nocturne", "")
        try:
            return Marker(**json.loads(said))
        except (ValueError, TypeError):
            raise TargetRefusedError(
                f"{self.where(day)}: it is there, and was not published by Nocturne. Move it away, or name another path"
            ) from None

    def _put(self, day: date, body: bytes, marker: Marker) -> None:
        before = self.seen[day]
        condition = {"IfMatch": before} if before else {"IfNoneMatch": "*"}
        with self._told(day):
            self.client.put_object(
                **self._at(day), **condition, Body=body, Metadata={"nocturne": _text(marker).decode().strip()}
            )

    def _raise(self, day: Day, found: Marker) -> None:
        body = written(day, self.target.format, found.revision)
        self._put(day.day, body, self._marker(day, found.revision, body))

    @contextmanager
    def _told(self, day: date) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

        who = f"the connection {self.target.connection}" if self.target.connection else "who may by AWS's own settings"
        try:
            yield
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in TAKEN:
                raise TargetAwayError(
                    f"{self.where(day)}: somebody else has put it since it was looked at ({code}); nothing was done"
                ) from None
            kind = TargetRefusedError if code in REFUSING else TargetAwayError
            raise kind(f"{self.where(day)}: {code}. Look at {who}, and what it may write there") from None
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise TargetRefusedError(f"{self.where(day)}: {error}. Look at {who}") from None
        except BotoCoreError as error:
            raise TargetAwayError(f"{self.where(day)}: {error}") from None


def files(case: UseCase, target: ToFiles) -> Files:
    return Bucket(case, target) if target.path.startswith("s3://") else Folder(case, target)


def client(target: ToFiles) -> Any:
    """A client of S3, by the connection or by what the machine is told."""
    if target.connection:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        connection(target.connection)  # the hook would go on without one, as whoever the machine is
        return S3Hook(aws_conn_id=target.connection).get_conn()
    import boto3

    return boto3.client("s3", endpoint_url=settings().s3_endpoint or None, region_name=settings().s3_region)


def written(day: Day, format: str, revision: int) -> bytes:  # noqa: A002  # as the spec calls it
    """The file of a day. The same rows and revision give the same bytes."""
    rows = day.rows.with_columns(pl.lit(revision, pl.Int32).alias(REVISION))
    body = BytesIO()
    if format == "parquet":
        rows.write_parquet(body)
    else:
        rows.write_csv(body)
    return body.getvalue()


def _text(marker: Marker) -> bytes:
    return (json.dumps(asdict(marker)) + "\n").encode()
