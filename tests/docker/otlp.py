"""A receiver of OpenTelemetry's protocol on loopback: what is sent to it is kept."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS: dict[str, Any] = {
    "/v1/logs": ExportLogsServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/traces": ExportTraceServiceRequest,
}


def attributes(of: Any) -> dict[str, str]:
    return {one.key: one.value.string_value or str(one.value.int_value) for one in of.attributes}


@dataclass
class Received:
    """What has come so far, and with which ``authorization``."""

    port: int
    requests: list[Any] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)

    def logs(self) -> list[dict[str, Any]]:
        """Each record: its text, level, and attributes with those of its resource."""
        return [
            {"text": record.body.string_value, "level": record.severity_number, "time": record.time_unix_nano}
            | attributes(resource.resource)
            | attributes(record)
            for request in self.requests
            if isinstance(request, ExportLogsServiceRequest)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    def metrics(self) -> set[str]:
        return {
            metric.name
            for request in self.requests
            if isinstance(request, ExportMetricsServiceRequest)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def spans(self) -> set[str]:
        return {
            span.name
            for request in self.requests
            if isinstance(request, ExportTraceServiceRequest)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        }


@contextmanager
def receiver() -> Iterator[Received]:
    """What is sent to its port while this lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            received.authorizations.append(self.headers.get("authorization", ""))
            received.requests.append(KINDS[self.path].FromString(body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received = Received(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield received
    server.shutdown()
    thread.join()
    server.server_close()
