"""Who may do what: every endpoint of Airflow, of our pages and of MLflow, called as each role and by nobody.

On real servers, with Airflow's accounts in its database. The page that it makes, docs/roles.md, is the table; whatever
a server answers that is not expected here is red, and so is an endpoint that nobody has thought of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from include.core.roles import AIRFLOW_USER
from include.core.settings import FAB, HOME, ROLES, Settings
from include.local import accounts
from include.local.setup import set_up
from tests.integration import expected_roles as expected
from tests.integration.servers import running, wait_for
from tests.s3 import free_port

pytestmark = [pytest.mark.integration, pytest.mark.full]

PAGE = HOME / "docs" / "roles.md"


@dataclass(frozen=True)
class Servers:
    """Airflow's and MLflow's, and what each role logs in with."""

    settings: Settings
    tokens: dict[str, str]
    passwords: dict[str, str]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    var = tmp_path_factory.mktemp("roles")
    settings = Settings(
        var=var, identity=FAB, airflow_port=free_port(), mlflow_port=free_port(), spark_port=free_port()
    )
    set_up(settings)
    with running(settings, "api-server", "mlflow"), pytest.MonkeyPatch.context() as patch:
        wait_for(f"{settings.airflow_url}/api/v2/monitor/health", settings.log / "api-server.log")
        wait_for(f"{settings.mlflow_url}/health", settings.log / "mlflow.log")
        patch.setenv("MLFLOW_TRACKING_USERNAME", "admin")
        patch.setenv("MLFLOW_TRACKING_PASSWORD", settings.secret("mlflow_admin_password"))
        passwords = {}
        for role in ROLES:
            passwords[role] = accounts.put(settings, name_of(role), role, "a test").read_text().strip()
        tokens = {role: token(settings, role, passwords[role]) for role in ROLES}
        yield Servers(settings, {"": ""} | tokens, {"": ""} | passwords)


def name_of(role: str) -> str:
    return "boss" if role == AIRFLOW_USER else role.replace(" ", "-")


def token(settings: Settings, role: str, password: str) -> str:
    answer = httpx.post(
        f"{settings.airflow_url}/auth/token", json={"username": name_of(role), "password": password}, timeout=60
    )
    answer.raise_for_status()
    return str(answer.json()["access_token"])


def called(servers: Servers, client: httpx.Client, method: str, path: str, body: object = None) -> dict[str, int]:
    """What each role is answered, by its name; nobody's is empty."""
    found = {}
    for role, token_of_role in servers.tokens.items():
        if is_door := path.startswith("/api/v2/auth/"):  # a token that logs out is worth nothing from then on
            headers = {}
        else:
            headers = {"Authorization": f"Bearer {token_of_role}"} if token_of_role else {}
        given = {} if method in ("get", "delete") else {"json": {} if body is None else body}
        answer = client.request(method, f"{servers.settings.airflow_url}{path}", headers=headers, **given)
        is_away = not is_door and answer.is_redirect and "/auth/login" in answer.headers["location"]
        found[role] = httpx.codes.UNAUTHORIZED if is_away else answer.status_code
    return found


def who_may(found: dict[str, int]) -> frozenset[str]:
    """Those that are not told to log in, or that they may not. What they asked for need not be there."""
    no = (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN)
    return frozenset(role for role, status in found.items() if status not in no)


def row(method: str, path: str, who: frozenset[str]) -> str:
    marks = ["yes" if role in who else "" for role in ("", *ROLES)]
    return f"| `{method.upper()} {path}` | {' | '.join(marks)} |"


@pytest.fixture(scope="module")
def rows() -> dict[str, list[str]]:
    """The table, by section, as the tests find it."""
    return {}


def test_airflow(servers: Servers, rows: dict[str, list[str]]) -> None:
    wrong, table = [], []
    with httpx.Client(timeout=120) as client:
        described = client.get(f"{servers.settings.airflow_url}/openapi.json").json()["paths"]
        every = [(method, path) for path, of in described.items() for method in of if method in METHODS]
        for method, path in every:
            wanted = expected.of_airflow(method, path)
            place = re.sub(r"\{[^}]*\}", "1", path.replace("{dag_id}", expected.TRAIN))
            body = expected.BODIES.get(f"{method} {path.removeprefix('/api/v2')}")
            found = called(servers, client, method, place, body)
            if who_may(found) != wanted:
                wrong.append(f"{method} {path}: {found}, wanted {wanted and sorted(wanted)}")
            table.append(row(method, path, who_may(found)))
        for method, path, wanted in expected.AIRFLOW:
            found = called(servers, client, method, f"/api/v2{path}")
            wrong += [] if who_may(found) == wanted else [f"{method} {path}: {found}, wanted {sorted(wanted)}"]
            table.append(row(method, f"/api/v2{path}", who_may(found)))
    assert len(every) > 100
    assert not wrong, "\n".join(wrong)
    rows["Airflow's API"] = sorted(table, key=lambda line: line.split()[2:3] + line.split()[1:2])


METHODS = ("get", "post", "put", "patch", "delete")


def test_pages(servers: Servers, rows: dict[str, list[str]]) -> None:
    wrong, table = [], []
    with httpx.Client(timeout=120) as client:
        for method, path, wanted in expected.PAGES:
            found = called(servers, client, method, path)
            wrong += [] if who_may(found) == wanted else [f"{method} {path}: {found}, wanted {sorted(wanted)}"]
            table.append(row(method, path, who_may(found)))
    assert not wrong, "\n".join(wrong)
    rows["Our pages in Airflow, and its accounts"] = table


@pytest.fixture(scope="module")
def there(servers: Servers) -> dict[str, str]:
    """What the calls to MLflow are about, made by the platform's account."""
    from mlflow import MlflowClient

    client = MlflowClient(servers.settings.mlflow_url)
    experiment = client.create_experiment("tried")
    made = client.create_run(experiment).info
    run, source = made.run_id, f"{made.artifact_uri}/model"
    client.create_registered_model("flight_delays")
    client.create_model_version("flight_delays", source, run)
    return {
        "experiment": experiment,
        "spare": client.create_experiment("spare"),
        "run": run,
        "source": source,
        "model": "flight_delays",
    }


def test_mlflow(servers: Servers, there: dict[str, str], rows: dict[str, list[str]]) -> None:
    wrong, table = [], []
    with httpx.Client(timeout=120, base_url=servers.settings.mlflow_url) as client:
        for method, path, given, wanted in expected.MLFLOW:
            found = {}
            for role, password in servers.passwords.items():
                names = there | {"who": role or "nobody"}
                asked = {
                    name: value.format(**names) if isinstance(value, str) else value
                    for name, value in (given or {}).items()
                }
                sent = {"params": asked} if method == "get" else {"json": asked}
                login = httpx.BasicAuth(name_of(role), password) if role else None
                found[role] = client.request(method, path, auth=login, **sent).status_code
            wrong += [] if who_may(found) == wanted else [f"{method} {path}: {found}, wanted {sorted(wanted)}"]
            table.append(row(method, path, who_may(found)))
    assert not wrong, "\n".join(wrong)
    rows["MLflow"] = table


def test_nobody_gets_anything_of_mlflow_without_a_login(servers: Servers) -> None:
    from mlflow.server.handlers import get_endpoints

    paths = {(path, method) for path, _, methods in get_endpoints() for method in methods}
    opened = []
    with httpx.Client(timeout=120, base_url=servers.settings.mlflow_url) as client:
        for path, method in sorted(paths):
            answer = client.request(method, re.sub("<[^>]*>", "1", path))
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                opened.append(path)
    assert len(paths) > 100
    assert [path for path in opened if not path.endswith("/server-info")] == []


def test_the_page_says_what_the_servers_do(rows: dict[str, list[str]]) -> None:
    """The table in docs/roles.md; it is written anew where a file docs/roles.update is beside it."""
    if len(rows) < 3:
        pytest.fail("the tables above were not made")
    head = f"|  | no login | {' | '.join(ROLES)} |\n|---|{'---|' * (len(ROLES) + 1)}"
    made = "\n\n".join(f"### {title}\n\n{head}\n" + "\n".join(lines) for title, lines in rows.items())
    before, mark, _ = PAGE.read_text().partition(MARK)
    if PAGE.with_suffix(".update").exists():
        PAGE.write_text(f"{before}{mark}\n\n{made}\n")
    assert PAGE.read_text() == f"{before}{mark}\n\n{made}\n"


MARK = "<!-- From here on made by tests/integration/test_roles.py. -->"
