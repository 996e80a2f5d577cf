"""An object becomes the landing file byte for byte, or nothing does: from a real S3 server, and from one that lies."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from include.contracts.connectors import Bucket
from include.contracts.source import Column, Feed, Source
from include.ingestion import landing
from include.ingestion.connectors.errors import RefusedError, UpstreamError
from include.ingestion.connectors.fetch import fetch
from tests import s3

DAY = date(2020, 6, 1)
SECRET = s3.SECRET
BUCKET = Bucket("toys_s3", "exports", "trips/{day}-{next_day}.csv")
FEED = Feed(
    name="trips",
    description="trips",
    columns=(Column("a", "int", "a", required=True), Column("b", "string", "b")),
    key=("a",),
    connector=BUCKET,
)
SOURCE = Source("toys", "toys", "tests", "anybody", "0 0 * * *", 6, DAY, (FEED,))
KEY = "trips/2020-06-01-2020-06-02.csv"
GOOD = b"a,b\n1,x\n2,y\n"


def folder() -> Path:
    return landing.path_of(SOURCE, FEED, DAY).parent


def refused(error: type[Exception]) -> str:
    """What is said, after which nothing may lie in landing."""
    with pytest.raises(error) as raised:
        fetch(SOURCE, FEED, DAY)
    assert list(folder().iterdir()) == []
    assert SECRET not in str(raised.value)
    return str(raised.value)


@dataclass
class Liar:
    """A server that answers every GET with this."""

    body: bytes = GOOD
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    etag: str = hashlib.md5(GOOD).hexdigest()
    length: int = len(GOOD)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def liar(home: Path, connect: Callable[..., None]) -> Iterator[Liar]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            lies.asked.append(self.path)
            self.send_response(lies.status)
            self.send_header("ETag", f'"{lies.etag}"')
            self.send_header("Content-Length", str(lies.length))
            for name, value in lies.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(lies.body)

        def log_message(self, *_: Any) -> None:
            pass

    lies = Liar()
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
    reach(connect, listening.server_address[1])
    yield lies
    listening.shutdown()
    listening.server_close()


def reach(connect: Callable[..., None], port: int, password: str = SECRET) -> None:
    extra = {
        "endpoint_url": f"http://127.0.0.1:{port}",
        "region_name": s3.REGION,
        "config_kwargs": {"s3": {"addressing_style": "path"}, "retries": {"max_attempts": 1}},
    }
    connect("toys_s3", conn_type="aws", login=s3.USER, password=password, extra=extra)


def test_what_a_server_promises_and_sends_is_taken(liar: Liar) -> None:
    path = fetch(SOURCE, FEED, DAY)
    assert path
    assert path.read_bytes() == GOOD
    assert [asked.partition("?")[0] for asked in liar.asked] == [f"/exports/{KEY}"]


def test_a_body_that_is_cut_off_is_refused(liar: Liar) -> None:
    liar.length += 10
    assert f"s3://exports/{KEY}" in refused(UpstreamError)


def test_a_body_with_another_md5_than_the_etag_is_refused(liar: Liar) -> None:
    liar.body = GOOD.replace(b"x", b"z")
    assert f"s3://exports/{KEY}: what came has the MD5" in refused(UpstreamError)


@pytest.mark.parametrize(
    ("etag", "headers"),
    [
        ("9b2cf535f27731c974343645a3985328-2", {}),
        ("9b2cf535f27731c974343645a3985328", {"x-amz-server-side-encryption": "aws:kms"}),
    ],
)
def test_an_etag_that_is_no_md5_is_not_compared(liar: Liar, etag: str, headers: dict[str, str]) -> None:
    liar.etag, liar.headers = etag, headers
    assert fetch(SOURCE, FEED, DAY)


def test_a_checksum_that_it_was_stored_with_is_compared(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where whoever set the machine up told the client to do without."""
    monkeypatch.setenv("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")
    liar.headers, liar.etag = {"x-amz-checksum-crc32": "AAAAAA=="}, "9b2cf535f27731c974343645a3985328-2"
    assert "checksum" in refused(UpstreamError)


@pytest.mark.parametrize(("status", "error"), [(403, RefusedError), (500, UpstreamError), (503, UpstreamError)])
def test_what_it_answers_else_is_said(liar: Liar, status: int, error: type[Exception]) -> None:
    liar.status, liar.body, liar.length = status, b"", 0
    assert "Connection toys_s3" in refused(error)


def test_a_key_that_is_no_secret_at_all_is_for_a_person(
    liar: Liar, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    extra = {"endpoint_url": "http://127.0.0.1:1", "region_name": s3.REGION}
    connect("toys_s3", conn_type="aws", extra=extra)
    assert "Unable to locate credentials. Look at the connection toys_s3" in refused(RefusedError)


def test_without_its_connection_nobody_is_asked(liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_TOYS_S3")
    assert "there is no Airflow connection 'toys_s3'" in refused(RefusedError)
    assert liar.asked == []


@pytest.fixture
def store(s3_server: Any, s3_port: int, home: Path, connect: Callable[..., None]) -> Any:
    """The upstream's own client of a real server."""
    reach(connect, s3_port)
    with suppress(s3_server.exceptions.BucketAlreadyOwnedByYou):
        s3_server.create_bucket(Bucket="exports")
    return s3_server


def test_a_real_object_becomes_the_landing_file(store: Any) -> None:
    store.put_object(Bucket="exports", Key=KEY, Body=GOOD)
    path = fetch(SOURCE, FEED, DAY)
    assert path == landing.path_of(SOURCE, FEED, DAY)
    assert path.read_bytes() == GOOD
    assert landing.look_through(path, FEED)["rows"] == 2


def test_a_real_one_of_several_parts_with_a_checksum(store: Any) -> None:
    large = b"a,b\n" + b"".join(b"%d,some text\n" % n for n in range(500_000))
    upload = store.create_multipart_upload(Bucket="exports", Key=KEY, ChecksumAlgorithm="SHA256")["UploadId"]
    parts = []
    for number, start in enumerate(range(0, len(large), 5 << 20), start=1):
        sent = store.upload_part(
            Bucket="exports",
            Key=KEY,
            UploadId=upload,
            PartNumber=number,
            Body=large[start : start + (5 << 20)],
            ChecksumAlgorithm="SHA256",
        )
        parts.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": sent["ChecksumSHA256"]})
    store.complete_multipart_upload(Bucket="exports", Key=KEY, UploadId=upload, MultipartUpload={"Parts": parts})
    path = fetch(SOURCE, FEED, DAY)
    assert path
    assert path.read_bytes() == large


def test_a_real_absent_object_is_no_file(store: Any) -> None:
    assert fetch(SOURCE, FEED, DAY + timedelta(7)) is None
    assert list(folder().iterdir()) == []


def test_a_real_absent_bucket_is_for_a_person(store: Any) -> None:
    feed = replace(FEED, connector=replace(BUCKET, bucket="nowhere"))
    with pytest.raises(RefusedError, match=r"s3://nowhere/trips/.*: NoSuchBucket"):
        fetch(SOURCE, feed, DAY)


def test_a_real_refusal_is_for_a_person(store: Any, s3_port: int, connect: Callable[..., None]) -> None:
    reach(connect, s3_port, password="another")
    assert "SignatureDoesNotMatch" in refused(RefusedError)
