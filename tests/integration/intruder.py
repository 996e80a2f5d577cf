"""What a user without rights gets of a running installation: the other side of test_doors.py.

Reads from standard input, as JSON, what there is to try; becomes another user; writes what came of each try.
"""

import json
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any

import grpc
import httpx
from pyspark.sql.connect.proto import base_pb2

USER = 65534  # nobody
METHODS = [method.name for method in base_pb2.DESCRIPTOR.services_by_name["SparkConnectService"].methods]


def unix(path: str) -> str:
    """What a connection to a Unix socket ends with; ``@`` begins the name of an abstract one."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        try:
            client.connect("\0" + path[1:] if path.startswith("@") else path)
        except OSError as error:
            return type(error).__name__
    return "connected"


def file(path: str) -> str:
    try:
        return "read" if Path(path).read_bytes() else "empty"
    except OSError as error:
        return type(error).__name__


def web(url: str, method: str, path: str) -> int:
    """The status of a request without a login; 0 where no answer comes."""
    body = {"json": {}} if method in ("post", "put", "patch") else {}
    try:
        return httpx.request(method, url + path, timeout=60, trust_env=False, **body).status_code
    except httpx.TransportError:
        return 0


def connect(port: int, token: str | None) -> dict[str, str]:
    """The answer of each method of Spark Connect."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    found = {}
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        for name in METHODS:
            call = channel.stream_stream(f"/spark.connect.SparkConnectService/{name}")
            try:
                list(call(iter([b""]), metadata=metadata, timeout=60))
                found[name] = "answered"
            except grpc.RpcError as error:
                found[name] = error.code().name
    return found


def spark_rpc(port: int) -> str:
    """What a port of Spark's own says to a call that does not log in: the frame of an RpcRequest, and its answer."""
    request = struct.pack(">BQI", 3, 1, 4) + b"call"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(struct.pack(">Q", len(request) + 8) + request)
        try:
            return client.recv(4096).decode(errors="replace")
        except OSError as error:
            return type(error).__name__


def main() -> None:
    wanted: dict[str, Any] = json.load(sys.stdin)
    # what Python imports at a first use may lie where only root can look
    web(*wanted["web"][0])
    connect(wanted["connect"], None)
    os.setgroups([])
    os.setgid(USER)
    os.setuid(USER)
    result = {
        "uid": os.getuid(),
        "unix": {path: unix(path) for path in wanted["unix"]},
        "files": {path: file(path) for path in wanted["files"]},
        "web": [[url, method, path, web(url, method, path)] for url, method, path in wanted["web"]],
        "connect": [connect(wanted["connect"], token) for token in (None, "made-up")],
        "spark_rpc": {port: spark_rpc(port) for port in wanted["spark_rpc"]},
    }
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main()
