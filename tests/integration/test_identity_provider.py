"""Logins by an identity provider: a real Airflow beside a real, small provider, as a browser goes between them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import httpx
import oidc_provider_mock
import pytest

from include.core.roles import AIRFLOW_USER
from include.core.settings import OIDC, Settings
from include.local.setup import set_up
from tests.integration.servers import running, wait_for
from tests.s3 import free_port

pytestmark = [pytest.mark.integration, pytest.mark.full]

# Airflow keeps what it knows of somebody for half a minute; nobody waits for that here.
GIVEN = {"NOCTURNE_OIDC_SECRET": "between us", "AIRFLOW__FAB__CACHE_TTL": "0"}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    with oidc_provider_mock.run_server_in_thread(port=free_port()) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture(scope="module")
def airflow(provider: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    settings = Settings(
        var=tmp_path_factory.mktemp("oidc"),
        airflow_port=free_port(),
        mlflow_port=free_port(),
        spark_port=free_port(),
        oidc_issuer=provider,
        oidc_roles="data-team=operator, leads=approver, admins=admin",
        identity=OIDC,
    )
    set_up(settings)
    with running(settings, "api-server", given=GIVEN):
        wait_for(f"{settings.airflow_url}/api/v2/monitor/health", settings.log / "api-server.log")
        yield settings


def login(airflow: Settings, provider: str, name: str, groups: list[str]) -> httpx.Client:
    """A browser that has gone to Airflow, from there to the provider, and back, as ``name``."""
    claims = {"preferred_username": name, "email": f"{name}@example.com", "groups": groups}
    httpx.put(f"{provider}/users/{name}", json=claims, timeout=60).raise_for_status()
    browser = httpx.Client(timeout=120, base_url=airflow.airflow_url)
    asked = browser.get("/auth/login/oidc")
    assert asked.is_redirect, asked.text
    answered = browser.post(asked.headers["location"], data={"sub": name})
    assert answered.is_redirect, answered.text
    back = browser.get(urljoin(asked.headers["location"], answered.headers["location"]))
    assert back.is_redirect, back.text
    return browser


def may(browser: httpx.Client, *paths: str) -> list[bool]:
    return [browser.get(f"/api/v2/{path}").status_code == httpx.codes.OK for path in paths]


def test_groups_say_who_may_what_at_each_login(airflow: Settings, provider: str) -> None:
    assert may(login(airflow, provider, "ann", ["data-team", "others"]), "dags", "connections") == [True, False]
    assert may(login(airflow, provider, "ann", ["admins"]), "dags", "connections") == [True, True]
    assert may(login(airflow, provider, "ann", []), "dags", "connections") == [False, False]
    assert may(login(airflow, provider, "eve", ["others"]), "dags", "connections") == [False, False]


def test_nobody_comes_in_as_the_platform(airflow: Settings, provider: str) -> None:
    browser = login(airflow, provider, AIRFLOW_USER, ["data-team"])
    assert "_token" not in browser.cookies
    assert may(browser, "dags") == [False]
    with httpx.Client(timeout=120, base_url=airflow.airflow_url) as client:
        assert may(platform(airflow, client), "dags", "connections") == [True, True]


def platform(airflow: Settings, client: httpx.Client) -> httpx.Client:
    """The platform's own account, which has a password yet."""
    body = {"username": AIRFLOW_USER, "password": airflow.secret("airflow_admin_password")}
    answer = client.post("/auth/token", json=body).raise_for_status().json()
    client.headers["Authorization"] = f"Bearer {answer['access_token']}"
    return client


def test_such_logins_are_written_down_by_name(airflow: Settings, provider: str) -> None:
    login(airflow, provider, "bob", ["leads"])
    login(airflow, provider, AIRFLOW_USER, ["admins"])
    with httpx.Client(timeout=120, base_url=airflow.airflow_url) as client:
        rows = platform(airflow, client).get("/api/v2/eventLogs", params={"order_by": "event_log_id"}).json()
    said = [(row["event"], row["owner"] or "") for row in rows["event_logs"] if row["event"].startswith("login")]
    assert ("login", "bob") in said
    assert said[-2:] == [("login_refused", ""), ("login", AIRFLOW_USER)]


def test_the_secret_is_in_no_log(airflow: Settings) -> None:
    logs = [path for path in Path(airflow.log).rglob("*") if path.is_file()]
    assert logs
    assert [path for path in logs if b"between us" in path.read_bytes()] == []
