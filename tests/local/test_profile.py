"""An installation of several machines by settings alone: what is given is kept, and each service has only its own."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from include.core.errors import BadRequestError
from include.core.settings import CLUSTER, NotSetUpError, Settings
from include.local import credentials, ready, shared
from include.local.checks import InstallationError
from include.local.environment import AIRFLOW_DB, GIVEN, environment
from include.local.launch import child_environment
from include.local.programs import BUILDERS, program, programs

SECRETS = {
    "airflow_db": "postgresql://airflow:of-airflows-db@db:5432/airflow",
    "lease_db": "postgresql://leases:of-leases@db:5432/airflow",
    "mlflow_db": "postgresql://mlflow:of-mlflows-db@db/mlflow",
    "celery_broker": "redis://:of-the-broker@redis:6379/0",
    **{name: f"given {name}" for name in (*credentials.SECRETS, "spark_secret")},
}
SHOWN = {"airflow_db": "of-airflows-db", "lease_db": "of-leases", "mlflow_db": "of-mlflows-db"} | {
    "celery_broker": "of-the-broker"
}
MAY_HOLD = {
    "api-server": {"airflow_db", "fernet_key", "api_secret_key", "jwt_secret", "metrics_token"},
    "scheduler": {"airflow_db", "fernet_key", "jwt_secret", "celery_broker"},
    "dag-processor": {"airflow_db", "fernet_key"},
    "triggerer": {"airflow_db", "fernet_key"},
    "worker": {
        "lease_db",
        "celery_broker",
        "api_secret_key",
        "airflow_admin_password",
        "mlflow_admin_password",
        "spark_token",
    },
    "mlflow": {"mlflow_db", "mlflow_admin_password", "mlflow_secret_key"},
    "spark": {"spark_token", "spark_secret"},
    "spark-master": {"spark_secret"},
    "spark-worker": {"spark_secret"},
    "sql": set(),
}


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own environment says of each setting what a laptop has."""
    for name in ("NOCTURNE_PROFILE", "NOCTURNE_EXECUTOR", "NOCTURNE_SECRETS_BACKEND", AIRFLOW_DB):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a service of a cluster, all of whose secrets are in its environment."""
    for name, value in SECRETS.items():
        monkeypatch.setenv(f"NOCTURNE_{name.upper()}", value)
    return Settings(
        var=tmp_path / "var",
        profile=CLUSTER,
        airflow_remote="http://api-server:8080",
        mlflow_remote="http://mlflow:5000",
        spark_remote="sc://spark:15002",
        spark_master="spark://spark-master:7077",
    )


def held(child: dict[str, str]) -> set[str]:
    """The names of the given secrets that are in an environment, in whatever variable."""
    text = "\n".join(child.values())
    return {name for name, value in SECRETS.items() if SHOWN.get(name, value) in text}


@pytest.mark.parametrize("name", BUILDERS)
def test_each_service_of_a_cluster_has_only_its_own_secrets(cluster: Settings, name: str) -> None:
    child = child_environment(cluster, program(cluster, name))
    assert held(child) == MAY_HOLD[name]
    assert "NOCTURNE_AIRFLOW_DB" not in child
    assert "NOCTURNE_FERNET_KEY" not in child


def test_a_service_finds_the_others_where_they_are(cluster: Settings) -> None:
    child = child_environment(cluster, program(cluster, "worker"))
    assert child["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://api-server:8080/execution/"
    assert child["MLFLOW_TRACKING_URI"] == "http://mlflow:5000"
    assert child["SPARK_REMOTE"] == "sc://spark:15002/;authorization=Bearer%20given spark_token"
    assert child["AIRFLOW__CORE__EXECUTOR"].endswith("CeleryExecutor")
    assert "db" not in child["AIRFLOW__CELERY__RESULT_BACKEND"]
    assert int(child["AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"]) > cluster.long_task_minutes * 60
    assert child["NOCTURNE_LEASE_DB"] == "postgresql+psycopg://leases:of-leases@db:5432/airflow"
    assert program(cluster, "mlflow").environment["MLFLOW_SERVER_ALLOWED_HOSTS"].startswith("127.0.0.1:5000,")
    assert [one.name for one in programs(cluster)] == []


def test_people_are_sent_where_the_proxy_is(cluster: Settings) -> None:
    outside = cluster.model_copy(update={"airflow_page": "https://nights.example/airflow"})
    child = child_environment(outside, program(outside, "worker"))
    assert child["AIRFLOW__API__BASE_URL"] == "https://nights.example/airflow"
    assert child["AIRFLOW__CORE__EXECUTION_API_SERVER_URL"] == "http://api-server:8080/execution/"
    assert (outside.airflow_link, outside.mlflow_link) == ("https://nights.example/airflow", "http://mlflow:5000")


def test_a_given_database_of_airflows_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN", "postgresql+psycopg2://me:pw@db/airflow")
    here = Settings(var=tmp_path)
    credentials.generate(here)
    assert here.executor == "local"
    child = child_environment(here, program(here, "scheduler"))
    assert child["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] == "postgresql+psycopg://me:pw@db/airflow"
    assert child["NOCTURNE_LEASE_DB"] == "postgresql+psycopg://me:pw@db/airflow"
    assert "pw@db" not in str(environment(here, frozenset()))
    assert "pw@db" not in f"{here!r}{here.model_dump_json()}"


@pytest.mark.parametrize("url", ["sqlite:////home/me/airflow.db", "airflow-db-not-allowed:///", ""])
def test_sqlite_is_where_var_is_and_nowhere_else(tmp_path: Path, url: str) -> None:
    here = Settings(var=tmp_path, airflow_db=url)
    assert here.given("airflow_db") == here.lease_connection == ""
    assert here.airflow_connection.startswith(f"sqlite:///{tmp_path}")


def test_what_the_shell_has_of_secrets_reaches_the_supervisor_that_makes_the_services_environments(
    cluster: Settings,
) -> None:
    assert held(environment(cluster, frozenset())) == set()
    assert held(environment(cluster, frozenset(), hand_on=GIVEN)) == set(SECRETS)


def test_given_secrets_are_kept_and_not_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTURNE_FERNET_KEY", "given")
    here = Settings(var=tmp_path)
    assert "fernet_key" not in credentials.generate(here)
    assert not (here.secrets / "fernet_key").exists()
    assert here.secret("fernet_key") == "given"


def test_a_secret_may_be_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "NOCTURNE_JWT_SECRET").write_text("in a file\n")
    (tmp_path / "NOCTURNE_AIRFLOW_DB").write_text("postgresql://a:b@c/d\n")
    here = Settings(var=tmp_path / "var", _secrets_dir=tmp_path)
    assert here.secret("jwt_secret") == "in a file"
    assert here.airflow_connection == "postgresql+psycopg://a:b@c/d"


def test_on_a_cluster_nothing_is_made_up_and_what_is_missing_is_named(tmp_path: Path) -> None:
    here = Settings(var=tmp_path, profile=CLUSTER)
    with pytest.raises(NotSetUpError, match=r"NOCTURNE_JWT_SECRET is missing: give it .* /run/secrets/NOCTURNE_JWT"):
        here.secret("jwt_secret")
    lines = ready.problems(here, program(here, "scheduler"))
    for name in ("FERNET_KEY", "JWT_SECRET", "AIRFLOW_DB", "CELERY_BROKER"):
        assert any(line.startswith(f"NOCTURNE_{name} is missing") for line in lines), name
    with pytest.raises(InstallationError, match=r"NOCTURNE_FERNET_KEY is missing.*NOCTURNE_AIRFLOW_DB is missing"):
        shared.check_given(here)


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("profile", "big", "NOCTURNE_PROFILE=big is none of laptop, cluster"),
        ("executor", "dask", "NOCTURNE_EXECUTOR=dask is none of local, celery, kubernetes"),
        ("secrets_backend", "gcp", "NOCTURNE_SECRETS_BACKEND=gcp is none of files, environment, aws, vault"),
        ("airflow_db", "mysql://me:hidden@db/x", "NOCTURNE_AIRFLOW_DB is no address of a PostgreSQL"),
        ("mlflow_db", "postgresql:///hidden", "NOCTURNE_MLFLOW_DB is no address of a PostgreSQL"),
        ("celery_broker", "amqp://me:hidden@rabbit", "NOCTURNE_CELERY_BROKER is no Redis"),
        ("mlflow_remote", "http://me:hidden@mlflow", "NOCTURNE_MLFLOW_REMOTE is no address"),
        ("model_store", "gs://bucket", "neither a folder nor s3://"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_and_no_password_shown(setting: str, value: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said) as refused:
        Settings(**{setting: value})
    assert "hidden" not in str(refused.value)


def test_no_service_is_served_that_there_is_not(tmp_path: Path) -> None:
    here = Settings(var=tmp_path)
    with pytest.raises(BadRequestError, match="there is no service sheduler: there are api-server, scheduler"):
        program(here, "sheduler")
    with pytest.raises(BadRequestError, match="NOCTURNE_EXECUTOR=local has no workers"):
        program(here, "worker")


def test_airflow_and_mlflow_do_not_share_a_database(tmp_path: Path) -> None:
    one = "postgresql://a:b@db/both"
    with pytest.raises(InstallationError, match="are one database, db:5432/both"):
        shared.check_apart(Settings(var=tmp_path, airflow_db=one, mlflow_db="postgresql://c:d@db:5432/both"))


@pytest.mark.parametrize(
    ("endpoint", "given", "found"),
    [
        ("http://s3:8333", {}, "OF-THE-FILE"),
        ("http://s3:8333", {"AWS_ACCESS_KEY_ID": "SAID"}, "SAID"),
        ("", {}, None),  # Amazon's: every client reads the file itself
    ],
)
def test_keys_of_a_file_reach_clients_that_do_not_read_it(
    cluster: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    endpoint: str,
    given: dict[str, str],
    found: str | None,
) -> None:
    """delta-rs and Polars, which would ask for a role at a metadata service."""
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = OF-THE-FILE\naws_secret_access_key = a%secret\n")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    for name, value in {"AWS_SHARED_CREDENTIALS_FILE": str(file), **given}.items():
        monkeypatch.setenv(name, value)
    here = cluster.model_copy(update={"lake_uri": "s3://nocturne/lake", "s3_endpoint": endpoint})
    assert child_environment(here, program(here, "worker")).get("AWS_ACCESS_KEY_ID") == found
    assert "AWS_ACCESS_KEY_ID" not in child_environment(here, program(here, "mlflow"))  # whose store is elsewhere
