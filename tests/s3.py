"""A real S3 server on loopback: S3Proxy, which needs Java alone, with its buckets in a folder."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from include.core.locks import alone
from include.core.settings import Settings
from include.local import jars

USER, SECRET, REGION = "toys", "a-secret-that-nobody-may-see", "us-east-1"
# For a folder of this machine as what is behind it; it can also stand before other clouds.
S3PROXY = jars.Jars(
    packages=("org.gaul:s3proxy:4.1.0",),
    excludes=(
        "com.azure*:*",
        "com.github.openstack4j*:*",
        "com.google.a*:*",
        "com.google.cloud*:*",
        "com.google.errorprone:*",
        "com.google.http-client:*",
        "com.google.j2objc:*",
        "com.google.oauth-client:*",
        "com.google.protobuf:*",
        "com.google.re2j:*",
        "com.microsoft*:*",
        "com.squareup*:*",
        "io.*:*",
        "net.java.dev.jna:*",
        "org.apache.*:*",
        "org.threeten:*",
        f"{jars.AWS}:*",  # it names classes of the client, which are among Spark's
    ),
    sums="",
)


def environment(port: int) -> dict[str, str]:
    """What every client of AWS looks for."""
    return {
        "AWS_ACCESS_KEY_ID": USER,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": REGION,
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }


def client(port: int) -> Any:
    """A client of the server on ``port``."""
    return boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name=REGION,
        aws_access_key_id=USER,
        aws_secret_access_key=SECRET,
        config=Config(s3={"addressing_style": "path"}),
    )


@contextmanager
def server(folder: Path, port: int, *buckets: str) -> Iterator[Any]:
    """A client of a server that runs meanwhile, with ``buckets``."""
    settings = Settings(lake_uri="s3://any/lake")
    jars.fetch(settings)
    own = settings.jars.parent / "s3proxy"
    with alone(own / ".lock"):
        if not (own / "jars").exists():
            jars.resolve(settings, S3PROXY, own)
    (folder / "data").mkdir(parents=True)
    (folder / "s3proxy.properties").write_text(
        f"s3proxy.endpoint=http://127.0.0.1:{port}\ns3proxy.authorization=aws-v2-or-v4\n"
        f"s3proxy.identity={USER}\ns3proxy.credential={SECRET}\n"
        f"jclouds.provider=filesystem-nio2\njclouds.filesystem.basedir={folder / 'data'}\n"
    )
    path = ":".join([f"{own / 'jars'}/*", *map(str, jars.paths(settings))])
    command = [
        "java",
        "-Xmx256m",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-DLOG_LEVEL=warn",
        "-cp",
        path,
        "org.gaul.s3proxy.Main",
    ]
    command += ["--properties", str(folder / "s3proxy.properties")]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        try:
            until = time.monotonic() + 60
            while not _listens(port):
                assert running.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.1)
            found = client(port)
            for bucket in buckets:
                found.create_bucket(Bucket=bucket)
            yield found
        finally:
            running.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
