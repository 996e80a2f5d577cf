"""The complete environment of a child process: this is the one place, beside the settings, that reads ``os.environ``.

Secrets reach the services by environment only: never an argument, a file in the repository or a log. Each process gets
those that it uses and no others.
"""

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Set
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from include.core.backends import CLASSES
from include.core.roles import accounts_of, of_simple
from include.core.settings import (
    CELERY,
    CLUSTER,
    FILES,
    KUBERNETES,
    LOCAL,
    MLFLOW_USER,
    SIMPLE,
    Settings,
    secret_fields,
)

# Of the caller's shell, what is of another installation: it would send a child to its Python, its Spark, its dbt
# project, its login or run of MLflow, or have it read its airflow.cfg; or have every task compile its modules anew.
FOREIGN = re.compile(
    "|".join(
        (
            "PYTHON(DONTWRITEBYTECODE|HOME|STARTUP)|AIRFLOW_CONFIG|DBT_.+|(HADOOP|HIVE|SPARK|YARN)_CONF_DIR",
            "PYSPARK_(DRIVER_PYTHON|SUBMIT_ARGS)|SPARK_(API_MODE|CONNECT_MODE_ENABLED|HOME|LOCAL_DIRS|MASTER)",
            "MLFLOW_(EXPERIMENT_ID|EXPERIMENT_NAME|REGISTRY_URI|RUN_ID|TRACKING_TOKEN)",
        )
    )
)

SIMPLE_USERS = "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS"
FERNET_KEY = "AIRFLOW__CORE__FERNET_KEY"  # connections, variables, and what a trigger is told
# Names of variables: their values are in files that only the services and commands read.
JWT_SECRET = "AIRFLOW__API_AUTH__JWT_SECRET"  # noqa: S105  # signs logins and what a task shows to the api-server
AIRFLOW_SECRETS = frozenset({FERNET_KEY, JWT_SECRET, "AIRFLOW__API__SECRET_KEY"})
AIRFLOW_DB = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
BACKEND_KWARGS = "AIRFLOW__SECRETS__BACKEND_KWARGS"
# PostgreSQL's driver is the same for code that waits; left to itself, Airflow would take another one.
DATABASE_SECRETS = frozenset({AIRFLOW_DB, f"{AIRFLOW_DB}_ASYNC"})
LEASE_DB = "NOCTURNE_LEASE_DB"
# Both of Redis: what a task came to is kept where it was asked for, and no worker has to know the metadata database.
CELERY_SECRETS = frozenset({"AIRFLOW__CELERY__BROKER_URL", "AIRFLOW__CELERY__RESULT_BACKEND"})
MLFLOW_DB = ("_MLFLOW_SERVER_FILE_STORE", "_MLFLOW_SERVER_REGISTRY_STORE")
MLFLOW_SECRETS = frozenset({"MLFLOW_AUTH_ADMIN_PASSWORD", "MLFLOW_FLASK_SERVER_SECRET_KEY", *MLFLOW_DB})
AIRFLOW_LOGIN = "NOCTURNE_AIRFLOW_ADMIN_PASSWORD"  # of tasks that look at runs, or ask for some
SPARK_SECRET = "_SPARK_AUTH_SECRET"  # noqa: S105  # Spark's own variable for what its processes share
OIDC_SECRET = "NOCTURNE_OIDC_SECRET"  # noqa: S105
SPARK_TOKEN = "SPARK_CONNECT_AUTHENTICATE_TOKEN"  # noqa: S105
METRICS_TOKEN = "NOCTURNE_METRICS_TOKEN"  # noqa: S105  # what Prometheus shows to the api-server
# whoever knows such an address, or such a login, may write there
ALERT_WEBHOOK, ALERT_SLACK = "NOCTURNE_ALERT_WEBHOOK", "NOCTURNE_ALERT_SLACK"
ALERT_SMTP = "AIRFLOW_CONN_NOCTURNE_ALERTS"  # include.orchestration.channels.SMTP
SMTP_LOGIN = "NOCTURNE_ALERT_SMTP"  # as the caller gives it; the services have the connection that is made of it
ALERT_SECRETS = frozenset({ALERT_WEBHOOK, ALERT_SLACK, ALERT_SMTP})
# what a task needs, or a command that a person gives: a login at MLflow, and Spark's address with its token
CLIENT_SECRETS = frozenset({"MLFLOW_TRACKING_PASSWORD", "SPARK_REMOTE", LEASE_DB}) | ALERT_SECRETS
GIVEN = frozenset(f"NOCTURNE_{name.upper()}" for name in secret_fields()) | {AIRFLOW_DB, BACKEND_KWARGS}
"""Secrets under the names by which they are given. A program has what it needs of them under names of its own."""

# Of the caller's shell, what looks like a credential, by its name or by a password in an address.
_CREDENTIAL_NAME = re.compile(
    "(?i)secret|token|passw|credential|api_?key|access_?key|private_?key|^(AWS|AIRFLOW|OPENLINEAGE)_|^OTEL.*HEADERS$"
)
_CREDENTIAL_VALUE = re.compile("://[^/@ ]*:[^/@ ]+@")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def of_settings(settings: Settings) -> dict[str, str]:
    """``NOCTURNE_*`` such that a child reads exactly these settings."""
    elsewhere = {"s3_endpoint", "s3_region", "openlineage_url"}
    named = settings.model_dump(mode="json", exclude=elsewhere | secret_fields())
    return {f"NOCTURNE_{name.upper()}": _text(value) for name, value in named.items()} | of_s3(settings)


def of_s3(settings: Settings) -> dict[str, str]:
    """The same for S3, under the names that every client of AWS knows."""
    if not settings.uses_s3:
        return {}
    endpoint = {"AWS_ENDPOINT_URL_S3": settings.s3_endpoint} if settings.s3_endpoint else {}
    return {"AWS_REGION": settings.s3_region} | endpoint


def without_telemetry() -> dict[str, str]:
    """Nothing in the stack reports home."""
    return {
        "AIRFLOW__COSMOS__ENABLE_TELEMETRY": "False",
        "AIRFLOW__OPENLINEAGE__DISABLED": "True",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        "DO_NOT_TRACK": "1",
        "GX_ANALYTICS_ENABLED": "False",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "SCARF_ANALYTICS": "false",
    }


def of_opentelemetry(settings: Settings) -> dict[str, str]:
    """Airflow's metrics and traces for a collector, under OpenTelemetry's own names; nothing where there is none.

    Over HTTP: gRPC has threads that would be missing in the forks that tasks are. The names of DAGs and tasks come as
    attributes, and not in the names of metrics, of which there would be one for each.
    """
    if not settings.otel_endpoint:
        return {}
    return {
        "AIRFLOW__METRICS__OTEL_ON": "True",
        "AIRFLOW__METRICS__STATSD_ON": "False",  # of the two Airflow takes StatsD where both are on
        "AIRFLOW__METRICS__LEGACY_NAMES_ON": "False",
        "AIRFLOW__TRACES__OTEL_ON": "True",
        "OTEL_EXPORTER_OTLP_ENDPOINT": settings.otel_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_TRACES_EXPORTER": "otlp_proto_http",
        "OTEL_SERVICE_NAME": "airflow",
        "OTEL_METRIC_EXPORT_INTERVAL": "30000",  # ms
    }


def of_identity(settings: Settings) -> dict[str, str]:
    """Who lets people in, and where it finds them."""
    if settings.identity == SIMPLE:
        ours = {name: of_simple(role) for name, role in accounts_of(settings).items()}
        if not ours:  # those of airflow.cfg, or of the caller
            return {}
        others = [
            one for one in os.environ.get(SIMPLE_USERS, "admin:admin").split(",") if one.split(":")[0] not in ours
        ]
        return {SIMPLE_USERS: ",".join([*others, *(f"{name}:{role}" for name, role in ours.items())])}
    return {
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "AIRFLOW__FAB__CONFIG_FILE": str(settings.home / "config" / "webserver_config.py"),
    }


def of_airflow(settings: Settings) -> dict[str, str]:
    """What airflow.cfg cannot say: paths and ports that follow the settings."""
    log = settings.log / "airflow"
    return of_identity(settings) | {
        "AIRFLOW_HOME": str(settings.home),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(settings.secrets / "airflow_passwords.json"),
        "AIRFLOW__API__HOST": settings.web_host,
        "AIRFLOW__API__PORT": str(settings.airflow_port),
        "AIRFLOW__API__BASE_URL": settings.airflow_link,
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(log),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(log / "dag_processor"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(settings.var / "airflow" / "bundles"),
        **of_profile(settings),
    }


def of_profile(settings: Settings) -> dict[str, str]:
    """What is otherwise than in airflow.cfg where Airflow is more than one machine. No secret."""
    found = {}
    if settings.executor == LOCAL and not settings.lease_connection:
        found[AIRFLOW_DB] = settings.airflow_connection
    if executor := EXECUTORS.get(settings.executor):
        found["AIRFLOW__CORE__EXECUTOR"] = executor
    if settings.executor == CELERY:
        # Redis gives a task that nobody has acknowledged to another worker too: never before the longest has ended.
        seconds = max(24 * 3600, int(settings.long_task_minutes * 120))
        found["AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT"] = str(seconds)
    if backend := CLASSES.get(settings.secrets_backend):
        found["AIRFLOW__SECRETS__BACKEND"] = backend
    return found


EXECUTORS = {
    CELERY: "airflow.providers.celery.executors.celery_executor.CeleryExecutor",
    KUBERNETES: "airflow.providers.cncf.kubernetes.executors.kubernetes_executor.KubernetesExecutor",
}


def of_mlflow_client(settings: Settings) -> dict[str, str]:
    """How a child finds the tracking server, and as whom it logs in."""
    return {
        "MLFLOW_TRACKING_URI": settings.mlflow_url,
        "MLFLOW_TRACKING_USERNAME": MLFLOW_USER,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        # A server that is just coming back after a kill answers within this many doubling waits: 0, 4, 8, 16, 32 s.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",
        # Seconds. Longer than any answer takes, or it would be asked twice; and with all retries (7 minutes) shorter
        # than others wait for who deploys (``include.core.lease``): a scoring needs no MLflow, but its turn.
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",  # a model is a few files
    }


def direct(settings: Settings, inherited: str) -> str:
    """NO_PROXY such that the services are spoken to directly, whatever proxy leads outside."""
    hosts = [host for host in inherited.split(",") if host]
    return ",".join(dict.fromkeys([*hosts, "localhost", "127.0.0.1", "::1", settings.host]))


_OURS: dict[str, Callable[[Settings], str]] = {
    FERNET_KEY: lambda of: of.secret("fernet_key"),
    JWT_SECRET: lambda of: of.secret("jwt_secret"),
    "AIRFLOW__API__SECRET_KEY": lambda of: of.secret("api_secret_key"),
    AIRFLOW_DB: lambda of: of.airflow_connection,
    f"{AIRFLOW_DB}_ASYNC": lambda of: of.given("airflow_db"),
    LEASE_DB: lambda of: of.lease_connection,
    BACKEND_KWARGS: lambda of: of.secrets_backend_kwargs.get_secret_value(),
    "AIRFLOW__CELERY__BROKER_URL": lambda of: of.given("celery_broker"),
    "AIRFLOW__CELERY__RESULT_BACKEND": lambda of: of.given("celery_broker"),
    AIRFLOW_LOGIN: lambda of: of.secret("airflow_admin_password"),
    "MLFLOW_TRACKING_PASSWORD": lambda of: of.secret("mlflow_admin_password"),
    "MLFLOW_AUTH_ADMIN_PASSWORD": lambda of: of.secret("mlflow_admin_password"),
    "MLFLOW_FLASK_SERVER_SECRET_KEY": lambda of: of.secret("mlflow_secret_key"),
    **dict.fromkeys(MLFLOW_DB, lambda of: of.mlflow_connection),
    "SPARK_REMOTE": lambda of: of.spark_connection,
    SPARK_TOKEN: lambda of: of.secret("spark_token"),
    # where secrets are given, none is a page that nobody may read
    METRICS_TOKEN: lambda of: of.secret("metrics_token") if of.secrets_backend == FILES else of.given("metrics_token"),
    # the set-up makes none: a laptop has no Spark cluster
    SPARK_SECRET: lambda of: of.secret("spark_secret") if of.profile == CLUSTER else of.given("spark_secret"),
    ALERT_WEBHOOK: lambda of: of.given("alert_webhook"),
    ALERT_SLACK: lambda of: of.given("alert_slack"),
    ALERT_SMTP: lambda of: of.smtp_connection,
    OIDC_SECRET: lambda of: of.given("oidc_secret"),
    SMTP_LOGIN: lambda of: of.given("alert_smtp"),
}
"""Every variable that holds a secret of the installation, and what it is."""


def of_secrets(settings: Settings, names: Set[str] = _OURS.keys()) -> dict[str, str]:
    """The variables ``names`` with the secrets that they hold. Raises NotSetUpError where one of these is missing."""
    return {name: _OURS[name](settings) for name in names}


def of_command(argv: list[str]) -> Set[str]:
    """The secrets for a command: Airflow's own also reads and writes connections, which are encrypted."""
    is_airflow = Path(argv[0]).name == "airflow" or argv[1:3] == ["-m", "airflow"]
    return CLIENT_SECRETS | DATABASE_SECRETS | {FERNET_KEY} if is_airflow else CLIENT_SECRETS


def is_inside(settings: Settings) -> bool:
    """Whether this process was started with the environment of the installation, whichever secrets it was given."""
    return environment(settings, frozenset()).items() <= os.environ.items()


def become(argv: list[str], settings: Settings) -> NoReturn:
    """Become the command ``argv`` in the environment that the services have."""
    sys.stdout.flush()
    os.execvpe(argv[0], argv, environment(settings, of_command(argv), hand_on=GIVEN))  # noqa: S606  # who asks for a shell names one


def native() -> dict[str, str]:
    """The caller's environment without what is of another installation."""
    return {name: value for name, value in os.environ.items() if not FOREIGN.fullmatch(name)}


def without_credentials(inherited: dict[str, str], keep: tuple[str, ...]) -> dict[str, str]:
    """``inherited`` less what looks like a credential, but for names that begin as one of ``keep`` does."""
    return {
        name: value
        for name, value in inherited.items()
        if name.startswith(keep) or not (_CREDENTIAL_NAME.search(name) or _CREDENTIAL_VALUE.search(value))
    }


def of_credentials_file(settings: Settings, inherited: dict[str, str]) -> dict[str, str]:
    """The keys in AWS's file of credentials, as variables, where there are none.

    AWS's own clients read the file. delta-rs and Polars do not where the server is another one than Amazon's: they
    would ask a metadata service that is not there.
    """
    path = inherited.get("AWS_SHARED_CREDENTIALS_FILE")
    if not (path and settings.uses_s3 and settings.s3_endpoint) or "AWS_ACCESS_KEY_ID" in inherited:
        return {}
    read = ConfigParser(interpolation=None)
    read.read(path)
    profile = inherited.get("AWS_PROFILE", "default")
    return {name.upper(): value for name, value in read.items(profile)} if read.has_section(profile) else {}


@contextmanager
def hidden(names: Set[str]) -> Iterator[None]:
    """While this lasts, a process that is started inherits none of the variables ``names``."""
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(taken)


def environment(
    settings: Settings,
    secrets: Set[str] = CLIENT_SECRETS,
    credentials: tuple[str, ...] = ("",),
    hand_on: Set[str] = frozenset(),
) -> dict[str, str]:
    """The complete environment of a child: the caller's own, minus what would mislead, plus all of the installation.

    Of the installation's secrets it holds the variables ``secrets``, of the caller's own credentials those whose names
    begin as one of ``credentials`` does: all of them, unless told otherwise. ``hand_on`` names what it gets of secrets
    as they were given here, for a program that has to make an environment of them itself. Raises NotSetUpError.
    """
    # who is told of another Spark brings that one's token along
    theirs = {SPARK_TOKEN} if settings.spark_remote and "SPARK_REMOTE" in secrets else set[str]()
    theirs = (theirs | hand_on) & os.environ.keys()
    inherited = {name: value for name, value in native().items() if name not in (_OURS.keys() | GIVEN) - theirs}
    inherited |= of_credentials_file(settings, inherited)
    inherited = without_credentials(inherited, (*credentials, *theirs))
    python = Path(sys.executable)
    path = inherited.get("PATH", os.defpath)
    if path.split(os.pathsep)[0] != str(python.parent):
        path = f"{python.parent}{os.pathsep}{path}"
    proxy = direct(settings, inherited.get("NO_PROXY") or inherited.get("no_proxy") or "")
    return {
        **inherited,
        **of_settings(settings),
        **without_telemetry(),
        **of_airflow(settings),
        **of_opentelemetry(settings),
        **of_mlflow_client(settings),
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(settings.home),
        "PYTHONUNBUFFERED": "1",
        # threads of a training that wait for each other sleep: where others want the cores too, they would burn them
        # (67 s instead of 7 s for 150 rounds beside a busy machine's other work)
        "OMP_WAIT_POLICY": "PASSIVE",
        "PATH": path,
        "NO_PROXY": proxy,
        "no_proxy": proxy,
        "TZ": "UTC",
        # setproctitle must leave /proc/<pid>/environ alone: the mark by which `down` finds every process is there
        "SPT_NOENV": "1",
    } | {name: value for name, value in of_secrets(settings, secrets).items() if value}
