"""Every setting of the platform, typed, in one place.

Each field is read from the environment variable ``NOCTURNE_<FIELD>`` (upper case); the defaults are the laptop
profile, which needs no account, no container engine and no network. Nothing else in the project reads
``os.environ``; a test enforces that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlencode, urlsplit

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from include.core.errors import NeedsAttentionError

if TYPE_CHECKING:
    from upath import UPath

HOME = Path(__file__).resolve().parents[2]
SECRETS = Path("/run/secrets")
MLFLOW_USER = "admin"
SPARK, EMBEDDED = "spark", "embedded"
"""The engines that can stand behind the Spark Connect endpoint: Apache Spark, and Sail, which needs no Java."""
SIMPLE, FAB, OIDC = "simple", "fab", "oidc"
"""Who knows the accounts: a file, Airflow's database, an identity provider."""
ROLES = ("viewer", "operator", "data scientist", "approver", "admin")
PROCESS = "process"
"""Where files are read: in the process of the task, or on ``spark``."""
LAPTOP, CLUSTER = "laptop", "cluster"
LOCAL, CELERY, KUBERNETES = "local", "celery", "kubernetes"
"""Where tasks run: as forks of the scheduler, on workers behind a queue, each as a pod."""
FILES, ENVIRONMENT, AWS, VAULT = "files", "environment", "aws", "vault"
"""Where a secret is looked for that is not given: ``var/secrets``, nowhere, AWS Secrets Manager, HashiCorp's Vault."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _is_loopback(url: SplitResult) -> bool:
    return url.scheme == "http" and url.hostname in LOOPBACK


_NO_DATABASE = ("sqlite", "airflow-db-not-allowed")
"""What Airflow's own variable for its database says where it is the one of the laptop, and within a task."""


def _one_of(value: str, variable: str, *known: str) -> str:
    if value not in known:
        raise ValueError(f"{variable}={value} is none of {', '.join(known)}")
    return value


def _postgresql(url: str, variable: str) -> str:
    """The address of a PostgreSQL, for the one driver that is here; empty for SQLite, which is where ``var`` is."""
    scheme, separator, rest = url.partition("://")
    kind = scheme.partition("+")[0]
    if not kind or kind in _NO_DATABASE:
        return ""
    if kind not in ("postgresql", "postgres") or not urlsplit(f"//{rest}").hostname:
        raise ValueError(f"{variable} is no address of a PostgreSQL: postgresql://user:password@host:5432/database")
    return f"postgresql+psycopg{separator}{rest}"


class NotSetUpError(NeedsAttentionError, FileNotFoundError):
    """What the set-up makes is not there."""


class Settings(BaseSettings):
    """The settings of one installation. Paths are absolute; ports are TCP; memory is in Java's notation."""

    model_config = SettingsConfigDict(
        env_prefix="NOCTURNE_",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
        hide_input_in_errors=True,
        # where a container finds what it must not have in its environment: one file a setting, named as its variable
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
    )

    profile: str = Field(
        LAPTOP,
        description="what is so where nothing else is said: laptop, or cluster (NOCTURNE_EXECUTOR=celery, "
        "NOCTURNE_ENGINE=spark, and every secret is given)",
    )
    home: Path = Field(HOME, description="the repository, which is also AIRFLOW_HOME")
    var: Path = Field(HOME / "var", description="all state: landing, lake, databases, logs, secrets, reports")
    landing_uri: str = Field(
        "", description="where landing is, if not var/landing: a folder, or s3://<bucket>/<prefix>"
    )
    lake_uri: str = Field("", description="where the lake is, if not var/lake: a folder, or s3://<bucket>/<prefix>")
    # Under AWS's own names, so that what every other client of the machine is told is told here too. Who may is for
    # AWS's chain of credentials to find; nothing of it passes through these settings.
    s3_endpoint: str = Field(
        "",
        validation_alias=AliasChoices("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
        description="an S3 server other than Amazon's, as http://127.0.0.1:9000",
    )
    s3_region: str = Field(
        "us-east-1",
        validation_alias=AliasChoices("AWS_REGION", "AWS_DEFAULT_REGION"),
        description="the region of the buckets",
    )

    # Databases: a password is part of their addresses.
    airflow_db: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("NOCTURNE_AIRFLOW_DB", "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"),
        description="PostgreSQL for Airflow's metadata, as postgresql://user:password@host:5432/airflow; none: SQLite "
        "under var",
    )
    lease_db: SecretStr = Field(
        SecretStr(""),
        description="the same for a role that may use only the schema nocturne of it, where leases are: for tasks; "
        "none: the same role",
    )
    mlflow_db: SecretStr = Field(
        SecretStr(""), description="PostgreSQL for MLflow's runs, models and logins; none: SQLite under var"
    )
    model_store: str = Field(
        "", description="where MLflow keeps files, if not var/mlflow/artifacts: a folder, or s3://<bucket>/<prefix>"
    )
    executor: str = Field(
        "",
        validate_default=True,
        description="where tasks run: local (forks of the scheduler), celery (workers), kubernetes (pods); where it is "
        "not said, local, and celery on a cluster",
    )
    celery_broker: SecretStr = Field(
        SecretStr(""), description="Redis, by which workers get their tasks, as redis://:password@host:6379/0"
    )
    queues: str = Field(
        "default,spark,gpu",
        description="whose tasks a worker takes: default, spark (they use Spark), gpu (they train); a machine with a "
        "GPU takes gpu alone, and the others the rest",
    )
    gpu_slots: int = Field(
        1, gt=0, description="the slots of the pool gpu, one a device that trains: so many trainings go on at once"
    )
    secrets_backend: str = Field(
        "",
        validate_default=True,
        description="where a secret is that is not given: files (var/secrets, made by the set-up), environment "
        "(nowhere else), aws (Secrets Manager), vault; where it is not said, files, and environment on a cluster",
    )
    secrets_backend_kwargs: SecretStr = Field(
        SecretStr(""),
        validation_alias=AliasChoices("AIRFLOW__SECRETS__BACKEND_KWARGS"),
        description="what aws and vault are told, as JSON: the parameters of Airflow's own backends",
    )

    # Secrets that are given. What is not is looked for where secrets_backend says.
    fernet_key: SecretStr = Field(SecretStr(""), description="the key of Airflow's connections and variables")
    jwt_secret: SecretStr = Field(SecretStr(""), description="signs Airflow's logins, and what a task shows to its API")
    api_secret_key: SecretStr = Field(SecretStr(""), description="signs Airflow's sessions, and who may read logs")
    airflow_admin_password: SecretStr = Field(SecretStr(""), description="the password of admin at Airflow")
    mlflow_admin_password: SecretStr = Field(SecretStr(""), description="the password of admin at MLflow")
    mlflow_secret_key: SecretStr = Field(SecretStr(""), description="signs MLflow's sessions")
    pseudonym_key: SecretStr = Field(
        SecretStr(""), description="the key of pseudonyms; only Spark needs it, from the file of its machine"
    )
    spark_token: SecretStr = Field(SecretStr(""), description="what Spark Connect asks for")
    spark_secret: SecretStr = Field(
        SecretStr(""), description="what the master, the workers and the driver of a Spark cluster know each other by"
    )

    host: str = Field("127.0.0.1", description="the address every service binds; loopback unless told otherwise")

    tls_proxy: bool = Field(
        False,
        description="a proxy that speaks TLS stands before every port: without one, only loopback is taken as host",
    )

    container: bool = Field(
        False,
        description="this is a container with a network of its own: Airflow and MLflow listen on all its addresses, "
        "and whoever publishes its ports decides who reaches them",
    )

    airflow_port: int = Field(8080, description="the port of Airflow's pages and API")
    mlflow_port: int = Field(5000, description="the port of MLflow's pages and API")
    spark_port: int = Field(15002, description="the port of the local Spark Connect server")

    airflow_remote: str = Field("", description="Airflow's API where it is elsewhere, as http://api-server:8080")
    mlflow_remote: str = Field("", description="MLflow's where it is elsewhere, as http://mlflow:5000")
    airflow_page: str = Field("", description="where people find Airflow, if elsewhere than programs: behind a proxy")
    mlflow_page: str = Field("", description="the same of MLflow")
    sql_port: int = Field(
        0, ge=0, le=65535, description="the port of the read-only SQL endpoint; 0: there is none, and nothing listens"
    )
    sql_memory_gib: float = Field(
        1,
        gt=0,
        description="the memory that statements of the SQL endpoint may take together; more goes to disk, or fails",
    )
    sql_seconds: float = Field(300, gt=0, description="how long a statement of it may take; then it is broken off")

    spark_remote: str = Field("", description="a Spark Connect endpoint to use instead of the local one")
    spark_master: str = Field(
        "", description="the cluster that the Spark Connect server works on, as spark://master:7077; none: itself"
    )
    engine: str = Field(
        "",
        validate_default=True,
        description="what computes behind the local endpoint: embedded (Sail), or spark (Apache Spark, with Java); "
        "where it is not said, spark for a lake in S3 or another endpoint, else embedded",
    )
    read_on: str = Field(
        PROCESS,
        description="where files are read and judged, by the same code: process (that of the task), or spark (the "
        "executors of Apache Spark, each of which must see landing and the lake)",
    )
    score_on: str = Field(
        PROCESS,
        description="where rows are scored, by the same code: process (that of the task), or spark (its executors, for "
        "days that are larger than a machine)",
    )
    spark_memory: str = Field("3g", description="heap of the local Spark server's JVM")
    spark_cores: int = Field(2, description="task threads of the local Spark server")
    jars: Path = Field(HOME / "var" / "jars", description="Delta's jars; as .venv, for all installations of a clone")
    ivy_settings: str = Field("", description="an Ivy settings file, where Maven Central is reached through a mirror")
    pseudonym_key_uri: str = Field(
        "", description="where Spark reads the key of pseudonyms, if not var/secrets/pseudonym_key of its own machine"
    )

    backup_uri: str = Field(
        "",
        description="where `make backup` puts backups, if not beside var: a folder, or s3://<bucket>/<prefix>; of "
        "another disk, or a bucket of another region",
    )
    backup_keep: int = Field(7, ge=1, description="how many backups stay; the oldest go")
    backup_passphrase_file: str = Field(
        "",
        description="a file with the passphrase that encrypts the secrets in a backup; none: files of mode 0600 in a "
        "folder, and no backup to S3",
    )

    vacuum_hours: int = Field(168, description="how long a replaced file of a table stays, for those still reading it")

    # What maintenance forgets, beside the lake's own (`retention_days` of a feed).
    log_days: int = Field(90, ge=7, description="how long logs of tasks are kept; those of services have a size")
    airflow_days: int = Field(
        180, ge=30, description="how long Airflow keeps runs and what belongs to them; the last run of a DAG stays"
    )
    run_days: int = Field(180, ge=30, description="how long MLflow keeps runs of trainings that no version came of")
    event_days: int = Field(365, ge=30, description="how long lineage events are kept that went to the file under var")
    alert_days: int = Field(365, ge=30, description="how long var/log/alerts.jsonl goes back")
    cache_days: int = Field(
        30, ge=7, description="how long files stay that are made or fetched again: checkpoints, searches, models"
    )

    # Under OpenLineage's own name. All else of it (a key, a configuration file) its client reads by itself.
    openlineage_url: str = Field(
        "",
        validation_alias=AliasChoices("OPENLINEAGE_URL"),
        description="an OpenLineage server; none: a file under var",
    )

    task_minutes: float = Field(60, gt=0, description="how long a task may take; then it is ended, and tried again")
    long_task_minutes: float = Field(360, gt=0, description="the same for those that read or fit a range of history")
    wait_minutes: float = Field(
        360, gt=0, description="how long a stage waits for earlier nights that are on their way"
    )
    run_hours: float = Field(168, gt=0, description="how long a run may take; of a backfill, since it was asked for")

    approval_hours: float = Field(
        24, gt=0, description="how long a release waits for a person's answer; none is a no, and nothing is released"
    )

    # Who may do what: docs/roles.md. An identity provider is asked by the discovery of OpenID Connect.
    identity: str = Field(
        SIMPLE,
        description="who logs in at Airflow: simple (a file of this machine), fab (its database, with roles), oidc (by "
        "an identity provider, which is asked for each login)",
    )
    oidc_issuer: str = Field(
        "", validate_default=True, description="the identity provider, as https://login.example.com/realms/data"
    )
    oidc_client: str = Field("nocturne", description="the name by which it knows this installation")
    oidc_secret: SecretStr = Field(SecretStr(""), description="the password that goes with that name")
    oidc_roles: str = Field(
        "",
        validate_default=True,
        description="which groups have which role, as 'data-team=operator, leads=approver, leads=data scientist'; who "
        "is in none of them may do nothing",
    )

    alert_webhook: SecretStr = Field(
        SecretStr(""), description="where failures are told as well: JSON is posted there; https, or http on loopback"
    )
    alert_slack: SecretStr = Field(
        SecretStr(""), description="the address of an incoming webhook of Slack, where they are told as well"
    )
    alert_email: str = Field("", description="who gets them by mail, separated by commas")
    alert_from: str = Field("", description="whose mail that is, as nocturne@example.com")
    alert_smtp: SecretStr = Field(
        SecretStr(""),
        description="the mail server: smtps://user:password@host:465, or smtp://user:password@host:587 (STARTTLS)",
    )
    alert_sns: str = Field("", description="a topic of Amazon SNS, by its ARN, to which they are published as well")
    late_hours: float = Field(
        3, gt=0, description="how long after its last file may come a night has to be through; then it is late"
    )

    metrics_token: SecretStr = Field(
        SecretStr(""),
        description="what Prometheus shows to read the figures; none: the one that the set-up makes, in "
        "var/secrets/metrics_token",
    )
    otel_endpoint: str = Field(
        "",
        description="an OpenTelemetry collector, as http://127.0.0.1:4318, to which Airflow sends metrics and traces",
    )
    statsd: str = Field(
        "", description="a StatsD server, as 127.0.0.1:8125: Apache Spark sends its metrics there, by UDP"
    )

    device: str = Field("auto", description="where XGBoost trains: auto, cpu or cuda")
    # Under CUDA's own name.
    cuda_visible_devices: str = Field(
        "",
        validation_alias=AliasChoices("CUDA_VISIBLE_DEVICES"),
        description="the GPUs that may be used, by number or UUID; none: all, and -1: no GPU",
    )
    matrix_gib: float = Field(
        4, gt=0, description="the memory that a training's bins may take, at 6 bytes a value; more is kept on disk"
    )

    machine_hour_price: float = Field(
        0,
        ge=0,
        description="what an hour of the machine that scores costs, in any currency: of it the cost of a thousand "
        "predictions is estimated; 0: unknown",
    )

    @field_validator("home", "var", "jars")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        """A relative path means one from where the command was given."""
        return path.expanduser().resolve()

    @field_validator("engine")
    @classmethod
    def _engine(cls, engine: str, info: ValidationInfo) -> str:
        """The embedded engine is locked in a network of its own, and sees nothing but the files of this machine."""
        in_s3 = str(info.data.get("lake_uri", "")).startswith("s3://")
        remote = bool(info.data.get("spark_remote"))
        cluster = info.data.get("profile") == CLUSTER
        engine = engine or (SPARK if in_s3 or remote or cluster else EMBEDDED)
        if engine not in (SPARK, EMBEDDED):
            raise ValueError(f"NOCTURNE_ENGINE={engine} is neither {EMBEDDED} nor {SPARK}")
        if engine == EMBEDDED and in_s3:
            raise ValueError("NOCTURNE_ENGINE=embedded reads folders of this machine; a lake in S3 needs spark")
        if engine == EMBEDDED and remote:
            raise ValueError("NOCTURNE_SPARK_REMOTE names a Spark elsewhere: with it goes NOCTURNE_ENGINE=spark")
        return engine

    @field_validator("profile")
    @classmethod
    def _profile(cls, profile: str) -> str:
        return _one_of(profile, "NOCTURNE_PROFILE", LAPTOP, CLUSTER)

    @field_validator("executor")
    @classmethod
    def _executor(cls, executor: str, info: ValidationInfo) -> str:
        usual = CELERY if info.data.get("profile") == CLUSTER else LOCAL
        return _one_of(executor or usual, "NOCTURNE_EXECUTOR", LOCAL, CELERY, KUBERNETES)

    @field_validator("secrets_backend")
    @classmethod
    def _secrets_backend(cls, backend: str, info: ValidationInfo) -> str:
        usual = ENVIRONMENT if info.data.get("profile") == CLUSTER else FILES
        return _one_of(backend or usual, "NOCTURNE_SECRETS_BACKEND", FILES, ENVIRONMENT, AWS, VAULT)

    @field_validator("airflow_db", "lease_db", "mlflow_db")
    @classmethod
    def _database(cls, url: SecretStr, info: ValidationInfo) -> SecretStr:
        return SecretStr(_postgresql(url.get_secret_value(), f"NOCTURNE_{str(info.field_name).upper()}"))

    @field_validator("celery_broker")
    @classmethod
    def _broker(cls, url: SecretStr) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        if url.get_secret_value() and not (parts.scheme in ("redis", "rediss") and parts.hostname):
            raise ValueError("NOCTURNE_CELERY_BROKER is no Redis: redis://:password@host:6379/0")
        return url

    @field_validator("airflow_remote", "mlflow_remote", "airflow_page", "mlflow_page")
    @classmethod
    def _elsewhere(cls, url: str, info: ValidationInfo) -> str:
        parts = urlsplit(url)
        if url and not (parts.scheme in ("http", "https") and parts.hostname and not parts.password):
            name = f"NOCTURNE_{str(info.field_name).upper()}"
            raise ValueError(f"{name} is no address: https://host:port, without a login")
        return url.rstrip("/")

    @field_validator("read_on", "score_on")
    @classmethod
    def _where(cls, where: str, info: ValidationInfo) -> str:
        name = f"NOCTURNE_{str(info.field_name).upper()}"
        if where not in (PROCESS, SPARK):
            raise ValueError(f"{name}={where} is neither {PROCESS} nor {SPARK}")
        if where == SPARK and info.data.get("engine") == EMBEDDED:
            raise ValueError(f"{name}=spark works on executors of Apache Spark: set NOCTURNE_ENGINE=spark")
        return where

    @field_validator("identity")
    @classmethod
    def _identity(cls, identity: str) -> str:
        if identity not in (SIMPLE, FAB, OIDC):
            raise ValueError(f"NOCTURNE_IDENTITY={identity} is none of {SIMPLE}, {FAB}, {OIDC}")
        return identity

    @field_validator("oidc_issuer")
    @classmethod
    def _issuer(cls, url: str, info: ValidationInfo) -> str:
        """A login goes through it: no plain http."""
        parts = urlsplit(url)
        if (url and not parts.hostname) or (url and parts.scheme != "https" and not _is_loopback(parts)):
            raise ValueError("NOCTURNE_OIDC_ISSUER is neither https:// nor http:// on this machine")
        if info.data.get("identity") == OIDC and not url:
            raise ValueError("NOCTURNE_IDENTITY=oidc needs NOCTURNE_OIDC_ISSUER=https://…")
        return url.rstrip("/")

    @field_validator("oidc_roles")
    @classmethod
    def _groups(cls, text: str, info: ValidationInfo) -> str:
        named = [one.rpartition("=")[2].strip() for one in text.split(",") if one.strip()]
        if wrong := [one for one in named if one not in ROLES]:
            raise ValueError(f"NOCTURNE_OIDC_ROLES: {', '.join(wrong)} is none of the roles {', '.join(ROLES)}")
        if info.data.get("identity") == OIDC and not named:
            raise ValueError("NOCTURNE_IDENTITY=oidc needs NOCTURNE_OIDC_ROLES='my-group=admin, …': else nobody may in")
        return text

    @field_validator("landing_uri", "lake_uri", "model_store")
    @classmethod
    def _place(cls, uri: str) -> str:
        """A folder becomes absolute; a place in S3 has a bucket and ends without a slash."""
        if not uri:
            return ""
        if "://" not in uri:
            return str(cls._absolute(Path(uri)))
        if not re.match("s3://[^/]", uri):
            raise ValueError(f"{uri!r} is neither a folder nor s3://<bucket>/<prefix>")
        return uri.rstrip("/")

    @field_validator("spark_remote")
    @classmethod
    def _without_token(cls, url: str) -> str:
        """This setting is shown; a token is not."""
        if re.search("(?i)[;/](token|authorization)=", url):
            raise ValueError("a token belongs into SPARK_CONNECT_AUTHENTICATE_TOKEN, not into the address")
        return url

    @field_validator("alert_webhook", "alert_slack")
    @classmethod
    def _private(cls, url: SecretStr, info: ValidationInfo) -> SecretStr:
        """What failed is nobody else's business, and such an address often is a password itself: no plain http."""
        parts, name = urlsplit(url.get_secret_value()), f"NOCTURNE_{str(info.field_name).upper()}"
        if parts.scheme and parts.scheme != "https" and not _is_loopback(parts):
            raise ValueError(f"{name} is neither https:// nor http:// on this machine")
        if url.get_secret_value() and not parts.hostname:
            raise ValueError(f"{name} is no address: https://<host>/<path>")
        return url

    @field_validator("alert_smtp")
    @classmethod
    def _mail_server(cls, url: SecretStr) -> SecretStr:
        parts = urlsplit(url.get_secret_value())
        if url.get_secret_value() and not (parts.scheme in ("smtp", "smtps") and parts.hostname):
            raise ValueError("NOCTURNE_ALERT_SMTP is no mail server: smtps://user:password@host:465")
        return url

    @field_validator("otel_endpoint")
    @classmethod
    def _collector(cls, url: str) -> str:
        """This setting is shown; a login is not."""
        parts = urlsplit(url)
        if url and (parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc):
            raise ValueError(
                "NOCTURNE_OTEL_ENDPOINT is no collector: http://<host>:4318; a login belongs into "
                "OTEL_EXPORTER_OTLP_HEADERS"
            )
        return url.rstrip("/")

    @field_validator("statsd")
    @classmethod
    def _statsd(cls, address: str) -> str:
        if address and not re.fullmatch(r"[A-Za-z0-9.-]+:\d{1,5}", address):
            raise ValueError(f"NOCTURNE_STATSD={address} is no <host>:<port>, as 127.0.0.1:8125")
        return address

    @field_validator("alert_sns")
    @classmethod
    def _topic(cls, arn: str) -> str:
        if arn and not re.fullmatch(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:\d{12}:[\w.-]+", arn, re.ASCII):
            raise ValueError(f"NOCTURNE_ALERT_SNS={arn} is no topic: arn:aws:sns:<region>:<account>:<topic>")
        return arn

    @property
    def landing(self) -> UPath:
        """Where upstreams put files: ``<source>/<feed>/<YYYY-MM-DD>.<ext>``."""
        return self.place(self.landing_uri or str(self.var / "landing"))

    @property
    def lake(self) -> UPath:
        """The Delta tables: ``<layer>/<table>/``."""
        return self.place(self.lake_uri or str(self.var / "lake"))

    @property
    def uses_s3(self) -> bool:
        """Whether landing, the lake or the files of models are in S3."""
        return any(uri.startswith("s3://") for uri in (self.landing_uri, self.lake_uri, self.model_store))

    def place(self, uri: str) -> UPath:
        """A folder, or a place in S3 with the options by which it is reached."""
        from upath import UPath  # takes a third of a second, and few need to know where something is

        if not uri.startswith("s3://"):
            return UPath(uri)
        # Others write to the bucket too: a listing that was true a minute ago may hide a file that has landed since.
        options: dict[str, Any] = {"use_listings_cache": False, "client_kwargs": {"region_name": self.s3_region}}
        if self.s3_endpoint:
            # Such a server need not have a name for each of its buckets.
            options |= {"endpoint_url": self.s3_endpoint, "config_kwargs": {"s3": {"addressing_style": "path"}}}
        return UPath(uri, **options)

    @property
    def runs_jvm(self) -> bool:
        """Whether Apache Spark runs on this machine, which needs Java and Delta's jars."""
        return self.engine == SPARK and not self.spark_remote

    @property
    def backups(self) -> UPath:
        """Where backups are, unless a command names another place."""
        uri = self._place(self.backup_uri)
        return self.place(uri or str(self.var.with_name(f"{self.var.name}.backup")))

    @property
    def report(self) -> Path:
        return self.var / "report"

    @property
    def secrets(self) -> Path:
        """Generated secrets, mode 0600, one file each."""
        return self.var / "secrets"

    @property
    def log(self) -> Path:
        return self.var / "log"

    @property
    def alerts(self) -> Path:
        """What failed, one JSON object a line, the newest last."""
        return self.log / "alerts.jsonl"

    @property
    def run(self) -> Path:
        """The supervisor's socket, pid and configuration, mode 0700."""
        return self.var / "run"

    @property
    def airflow_database(self) -> Path:
        return self.var / "airflow" / "airflow.db"

    @property
    def mlflow_database(self) -> Path:
        return self.var / "mlflow" / "mlflow.db"

    @property
    def smtp_connection(self) -> str:
        """``alert_smtp`` as Airflow writes a connection, a secret: with TLS, STARTTLS, or neither on loopback."""
        url = self.alert_smtp.get_secret_value()
        if not url:
            return ""
        parts = urlsplit(url)
        extra = {"timeout": "4", "retry_limit": "1"}
        if parts.scheme == "smtp":
            extra |= {"disable_ssl": "true"}
            if parts.hostname in LOOPBACK:
                extra |= {"disable_tls": "true"}
        port = parts.port or (465 if parts.scheme == "smtps" else 587)
        login = f"{parts.netloc.rpartition('@')[0]}@" if "@" in parts.netloc else ""
        return f"smtp://{login}{parts.hostname}:{port}/?{urlencode(extra)}"

    @property
    def web_host(self) -> str:
        """The address that Airflow and MLflow listen on. The published port of a container leads to no loopback."""
        return "0.0.0.0" if self.container else self.host  # noqa: S104  # of the container alone

    @property
    def airflow_url(self) -> str:
        return self.airflow_remote or f"http://{self.host}:{self.airflow_port}"

    @property
    def mlflow_url(self) -> str:
        return self.mlflow_remote or f"http://{self.host}:{self.mlflow_port}"

    @property
    def airflow_link(self) -> str:
        """Where a person finds Airflow: what messages and pages link to."""
        return self.airflow_page or self.airflow_url

    @property
    def mlflow_link(self) -> str:
        """The same of MLflow."""
        return self.mlflow_page or self.mlflow_url

    @property
    def model_place(self) -> str:
        """Where MLflow keeps files: a folder, or a place in S3."""
        return self.model_store or str(self.var / "mlflow" / "artifacts")

    @property
    def airflow_connection(self) -> str:
        """Airflow's metadata database, a secret where it is PostgreSQL."""
        # SQLite lets one writer in at a time: the others wait this long (seconds) before they give up
        return self.given("airflow_db") or f"sqlite:///{self.airflow_database}?timeout=60"

    @property
    def lease_connection(self) -> str:
        """The database where leases are rows, a secret; empty where they are files of this machine."""
        return self.given("lease_db") or self.given("airflow_db")

    @property
    def mlflow_connection(self) -> str:
        """MLflow's database, a secret where it is PostgreSQL."""
        return self.given("mlflow_db") or f"sqlite:///{self.mlflow_database}"

    @property
    def sql_url(self) -> str:
        return f"grpc://{self.host}:{self.sql_port}"

    @property
    def roles_of_groups(self) -> dict[str, list[str]]:
        """Which roles each group of the identity provider has."""
        found: dict[str, list[str]] = {}
        for one in self.oidc_roles.split(","):
            group, _, role = one.rpartition("=")
            if group.strip():
                found.setdefault(group.strip(), []).append(role.strip())
        return found

    @property
    def spark_url(self) -> str:
        return self.spark_remote or f"sc://{self.host}:{self.spark_port}"

    @property
    def has_spark(self) -> bool:
        """Whether there is a Spark to connect to: set-up makes the token of the local one."""
        return bool(self.spark_remote or self.given("spark_token")) or (self.secrets / "spark_token").exists()

    @property
    def spark_connection(self) -> str:
        """``spark_url`` as a client needs it, with the token that was made or given. It is a secret.

        The token goes as metadata: with the client's own parameter for it, it would insist on TLS, or on the name
        ``localhost``, which may be ::1, where anybody can listen.
        """
        token = self.given("spark_token") if self.spark_remote else self.secret("spark_token")
        if not token:
            return self.spark_remote
        address, _, parameters = self.spark_url.partition("/;")
        return f"{address}/;{f'{parameters};' if parameters else ''}authorization=Bearer%20{token}"

    def given(self, name: str) -> str:
        """The secret ``name`` as the environment, /run/secrets or a secrets backend gives it; empty where none does."""
        value: str = getattr(self, name).get_secret_value()
        if not value and self.secrets_backend in (AWS, VAULT):
            from include.core.backends import asked

            value = asked(self.secrets_backend, self.secrets_backend_kwargs.get_secret_value(), name)
            value = _postgresql(value, f"nocturne_{name}") if name.endswith("_db") else value
        return value

    def secret(self, name: str) -> str:
        """The secret ``name``: as it is given, else as the set-up has made it. Raises NotSetUpError."""
        if value := self.given(name):
            return value
        path, variable = self.secrets / name, f"NOCTURNE_{name.upper()}"
        if self.secrets_backend != FILES:
            at = "" if self.secrets_backend == ENVIRONMENT else f", and {self.secrets_backend} has no such secret"
            raise NotSetUpError(f"{variable} is missing{at}: give it as a variable, or as a file {SECRETS / variable}")
        if not path.exists():
            raise NotSetUpError(f"{path} is missing: run `make setup`")
        return path.read_text().strip()


def secret_fields() -> frozenset[str]:
    """The settings that hold a secret: none is shown, and none is handed on but to whom it is for."""
    return frozenset(name for name, field in Settings.model_fields.items() if field.annotation is SecretStr)


@cache
def settings() -> Settings:
    """The settings of this process."""
    return Settings(**_adopted)


_adopted: dict[str, Any] = {}


def adopt(values: Mapping[str, Any]) -> None:
    """Have this process go by ``values``: a worker of Spark, whose environment is that of its machine."""
    if values != _adopted:
        _adopted.clear()
        _adopted.update(values)
        settings.cache_clear()
