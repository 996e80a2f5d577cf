"""Who gets which secret, and which host is refused."""

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from include.core.settings import SPARK, Settings
from include.local import credentials, doors, setup
from include.local.checks import InstallationError
from include.local.environment import SPARK_TOKEN, environment, hidden, of_command, of_secrets
from include.local.launch import child_environment
from include.local.programs import programs, spark_configuration

# Which of the generated secrets each process may hold, in whatever variable; Spark's clients hold its token.
MAY_HOLD = {
    "supervisord": set[str](),
    "api-server": {"fernet_key", "api_secret_key", "jwt_secret", "metrics_token"},
    "scheduler": {"fernet_key", "jwt_secret", "mlflow_admin_password", "spark_token"},
    "dag-processor": {"fernet_key"},
    "triggerer": {"fernet_key"},
    "mlflow": {"mlflow_admin_password", "mlflow_secret_key"},
    "spark": {"spark_token"},
}
OF_THE_SHELL = {
    "AWS_SECRET_ACCESS_KEY": "of-the-bucket",
    "AIRFLOW_CONN_SHOP": "postgres://reader:of-the-shop@db/shop",
    "GITHUB_TOKEN": "of-the-forge",
    "DATABASE_URL": "postgres://me:of-another-database@db/x",
}


@pytest.fixture
def installation(tmp_path: Path) -> Settings:
    settings = Settings(var=tmp_path / "var", airflow_port=18081, mlflow_port=15001, spark_port=25003)
    credentials.generate(settings)
    return settings


def held(settings: Settings, child: dict[str, str]) -> set[str]:
    """The names of the generated secrets that are in an environment."""
    text = "\n".join(child.values())
    return {name for name in credentials.SECRETS if settings.secret(name) in text}


def test_each_service_gets_the_secrets_that_it_uses_and_no_others(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in of_secrets(installation).items():  # as in a shell within another command
        monkeypatch.setenv(name, value)
    for program in programs(installation):
        assert held(installation, child_environment(installation, program)) == MAY_HOLD[program.name], program.name
    assert held(installation, environment(installation, frozenset())) == set()


def test_a_command_gets_what_it_uses(installation: Settings) -> None:
    assert held(installation, environment(installation)) == {"mlflow_admin_password", "spark_token"}
    airflows = environment(installation, of_command(["airflow", "connections", "list"]))
    assert held(installation, airflows) == {"mlflow_admin_password", "spark_token", "fernet_key"}
    assert of_command(["python", "-m", "pytest"]) < of_command(["python", "-m", "airflow", "info"])


def test_credentials_of_the_callers_shell_stay_with_those_that_may_use_them(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks, triggers and DAGs are the user's own code; what else runs is not."""
    for name, value in OF_THE_SHELL.items():
        monkeypatch.setenv(name, value)

    def kept(settings: Settings) -> dict[str, set[str]]:
        of = {program.name: child_environment(settings, program) for program in programs(settings)}
        return {name: OF_THE_SHELL.keys() & child.keys() for name, child in of.items()}

    here = kept(installation)
    assert here["scheduler"] == here["triggerer"] == here["dag-processor"] == set(OF_THE_SHELL)
    assert here["api-server"] == {"AIRFLOW_CONN_SHOP"}
    assert here["mlflow"] == here["spark"] == set()
    on_s3 = kept(installation.model_copy(update={"lake_uri": "s3://bucket/lake", "engine": SPARK}))
    assert on_s3["spark"] == {"AWS_SECRET_ACCESS_KEY"}
    assert on_s3["mlflow"] == set()


def test_what_a_service_starts_may_get_less(installation: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET", "x")
    with hidden(frozenset({"A_SECRET", "NOT_THERE"})):
        assert "A_SECRET" not in os.environ
    assert os.environ["A_SECRET"] == "x"
    assert "NOT_THERE" not in os.environ


def test_another_sparks_token_comes_from_the_shell_and_is_not_in_its_address(
    installation: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = installation.model_copy(update={"spark_remote": "sc://cluster.example:15002/;use_ssl=true"})
    monkeypatch.setenv(SPARK_TOKEN, "of-the-cluster")
    child = environment(elsewhere)
    assert (child["SPARK_REMOTE"], child[SPARK_TOKEN]) == (elsewhere.spark_remote, "of-the-cluster")
    assert SPARK_TOKEN not in environment(elsewhere, frozenset())
    assert SPARK_TOKEN not in environment(installation)
    with pytest.raises(ValidationError, match="belongs into SPARK_CONNECT_AUTHENTICATE_TOKEN"):
        Settings(spark_remote="sc://cluster.example:15002/;token=abc")


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.7", "::", "2001:db8::1", "nocturne.example"])
def test_another_host_than_loopback_is_refused_and_each_open_door_named(tmp_path: Path, host: str) -> None:
    settings = Settings(var=tmp_path / "var", host=host, airflow_port=8080, mlflow_port=5000, spark_port=25003)
    with pytest.raises(InstallationError) as refused:
        setup.set_up(settings)
    for word in (f"NOCTURNE_HOST={host}", "airflow (8080)", "mlflow (5000)", "spark (25003)", "NOCTURNE_TLS_PROXY"):
        assert word in str(refused.value)
    assert not settings.var.exists()
    doors.check_host(settings.model_copy(update={"tls_proxy": True}))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1", "localhost"])
def test_loopback_is_taken(tmp_path: Path, host: str) -> None:
    doors.check_host(Settings(var=tmp_path, host=host))


def test_whatever_the_host_sparks_own_ports_stay_on_loopback_and_ask_for_a_secret(installation: Settings) -> None:
    behind = spark_configuration(installation.model_copy(update={"host": "192.168.1.7", "tls_proxy": True}))
    assert behind["spark.connect.grpc.binding.address"] == "192.168.1.7"
    assert behind["spark.driver.host"] == behind["spark.driver.bindAddress"] == "127.0.0.1"
    assert behind["spark.authenticate"] == "true"


# As Linux 6 prints them: the supervisor's own, one that only sends, systemd's, and an abstract one.
HEAD = "Num       RefCount Protocol Flags    Type St Inode Path\n"
OURS = "0000000000000000: 00000002 00000000 00010000 0001 01 45231 /nocturne/var/run/supervisor.sock\n"
CALLER = "0000000000000000: 00000003 00000000 00000000 0001 03 45239 /run/somebody.sock\n"
UNNAMED = "0000000000000000: 00000003 00000000 00000000 0001 03 45238\n"
SYSTEMD = "0000000000000000: 00000002 00000000 00010000 0001 01 20181 /run/systemd/private\n"
ABSTRACT = "0000000000000000: 00000002 00000000 00010000 0001 01 20999 @/containerd-shim/x.sock@\n"


def test_a_network_of_its_own_has_no_strangers() -> None:
    assert doors.foreign_sockets(HEAD + OURS + CALLER + UNNAMED, Path("/nocturne/var")) == []


@pytest.mark.parametrize("socket", [SYSTEMD, ABSTRACT])
def test_the_network_of_a_machine_shows_itself(socket: str) -> None:
    assert len(doors.foreign_sockets(HEAD + OURS + socket, Path("/nocturne/var"))) == 1


def test_a_container_in_the_network_of_its_machine_does_not_start(tmp_path: Path) -> None:
    """As with ``--network host``: its loopback, and every port of it, would be the machine's."""
    table = tmp_path / "unix"
    table.write_text(HEAD + SYSTEMD)
    with pytest.raises(InstallationError, match=r"/run/systemd/private listens in it.*--network host"):
        doors.check_container(Settings(var=tmp_path, container=True), table)
    doors.check_container(Settings(var=tmp_path), table)
    table.write_text(HEAD)
    doors.check_container(Settings(var=tmp_path, container=True), table)


def test_in_a_container_only_the_doors_with_a_login_leave_loopback(installation: Settings) -> None:
    """A published port leads to no loopback. What is published is for compose.yaml to say, and for a test of it."""
    inside = installation.model_copy(update={"container": True})
    hosts = {program.name: program.argv for program in programs(inside) if "--host" in program.argv}
    assert {name: argv[argv.index("--host") + 1] for name, argv in hosts.items()} == {
        "api-server": "0.0.0.0",
        "mlflow": "0.0.0.0",
    }
    assert (inside.spark_url, inside.airflow_url) == ("sc://127.0.0.1:25003", "http://127.0.0.1:18081")
    assert doors.problem(inside) is None
    assert "127.0.0.1" in programs(installation)[0].argv
