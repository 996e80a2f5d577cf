"""Whether each service is well, asked of the service itself."""

import json
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import grpc

from include.core.settings import Settings
from include.local.processes import created, started_before
from include.local.programs import Program, programs

WELL = "healthy"


def get(url: str, timeout: float) -> bytes:
    """The body of ``url``, past every proxy. Raises OSError where it does not answer with success."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=timeout) as answer:
        body: bytes = answer.read()
    return body


def spark_health(host: str, port: int, timeout: float) -> str:
    """``healthy`` where a Spark Connect server answers at ``host:port`` and refuses who brings no token."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            channel.unary_unary("/spark.connect.SparkConnectService/Config")(b"", timeout=timeout)
        except grpc.RpcError as error:
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return "starting"
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return WELL
    return "asks for no token"


def sql_health(host: str, port: int, timeout: float) -> str:
    """``healthy`` where a Flight server answers at ``host:port`` and refuses who brings no login."""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        call = channel.unary_stream("/arrow.flight.protocol.FlightService/ListActions")
        try:
            list(call(b"", timeout=timeout))
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return WELL
            return "starting"
    return "asks for no login"


def component_health(report: Mapping[str, Any], component: str, started: float) -> str:
    """``healthy``, or what is missing, of one component in Airflow's health report.

    A heartbeat from before ``started`` (Unix seconds) is an earlier incarnation's and proves nothing.
    """
    part = report.get(component) or {}
    status = part.get("status")
    if status != WELL:
        return str(status or "no heartbeat yet")
    beat = part.get(f"latest_{component}_heartbeat")
    if beat is not None and datetime.fromisoformat(beat).astimezone(UTC).timestamp() < started:
        return "starting"
    return WELL


def airflow_report(settings: Settings, timeout: float = 3) -> dict[str, Any]:
    """Airflow's own health report; empty where the API does not answer."""
    try:
        report: dict[str, Any] = json.loads(get(f"{settings.airflow_url}/api/v2/monitor/health", timeout))
    except (OSError, ValueError):
        return {}
    return report


def one(program: Program, settings: Settings, info: Mapping[str, Any], report: Mapping[str, Any]) -> str:
    """``healthy``, or in a few words why not, for one service that the supervisor knows as ``info``."""
    state = str(info.get("statename", "STOPPED"))
    if state not in ("RUNNING", "STARTING"):
        return state.lower()
    if program.component:
        if not report:
            return "starting" if program.url else "unknown: the api-server does not answer"
        return component_health(report, program.component, created(int(info.get("pid", 0))))
    if program.name == "worker":
        return WELL  # Airflow's report has none of it
    if program.name == "spark":
        return spark_health(settings.host, settings.spark_port, 2)
    if program.name == "sql":
        return sql_health(settings.host, settings.sql_port, 2)
    try:
        get(f"{settings.mlflow_url}/health", 3)
    except OSError:
        return "starting"
    return WELL


def every(settings: Settings, infos: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Service → ``healthy`` or why not."""
    report = airflow_report(settings)
    health = {
        program.name: one(program, settings, infos.get(program.name, {}), report) for program in programs(settings)
    }
    # the server that a killed parent leaves behind goes on answering until the next incarnation ends it
    starts = {name: created(int(info.get("pid", 0))) for name, info in infos.items()}
    return {**health, **dict.fromkeys(started_before(settings.var, starts) & health.keys(), "starting")}
