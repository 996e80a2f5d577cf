"""Whether a service answers: ``python -m include.local.answers URL [component]``, the health check of a container.

``tcp://host:port`` is well where somebody listens; ``http://…`` where the answer is no error and, with a component of
Airflow's health report, that one is healthy. Standard library only: it runs every few seconds beside each service.
"""

import json
import socket
import sys
from http.client import HTTPConnection
from urllib.parse import urlsplit

SECONDS = 8.0


def problem(url: str, component: str = "", seconds: float = SECONDS) -> str:
    """Why the service at ``url`` is not well, in a line; empty where it is."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    try:
        if parts.scheme == "tcp":
            socket.create_connection((host, port), seconds).close()
            return ""
        # no proxy of the environment: what is asked is in the network of this container
        connection = HTTPConnection(host, port, timeout=seconds)
        connection.request("GET", parts.path or "/")
        answer = connection.getresponse()
        body = answer.read()
    except OSError as error:
        return f"{url} does not answer: {error}"
    if answer.status >= 400:
        return f"{url} answers {answer.status}"
    return _of_report(body, component) if component else ""


def _of_report(body: bytes, component: str) -> str:
    try:
        status = json.loads(body)[component]["status"]
    except (ValueError, KeyError, TypeError):
        return f"Airflow's report has no {component}"
    return "" if status == "healthy" else f"{component} is {status or 'not there'}"


if __name__ == "__main__":
    if said := problem(sys.argv[1], (*sys.argv[2:], "")[0]):
        sys.exit(said)
