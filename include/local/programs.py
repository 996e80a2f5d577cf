"""The services of an installation: what each runs, where it listens, how it says that it is well."""

import json
import os
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from include.core.errors import BadRequestError
from include.core.settings import CELERY, CLUSTER, EMBEDDED, LOCAL, Settings
from include.core.storage import for_spark
from include.local.environment import (
    AIRFLOW_DB,
    AIRFLOW_LOGIN,
    AIRFLOW_SECRETS,
    ALERT_SECRETS,
    BACKEND_KWARGS,
    CELERY_SECRETS,
    CLIENT_SECRETS,
    DATABASE_SECRETS,
    FERNET_KEY,
    JWT_SECRET,
    METRICS_TOKEN,
    MLFLOW_SECRETS,
    OIDC_SECRET,
    SPARK_SECRET,
    SPARK_TOKEN,
)
from include.local.jars import LOCAL_FILE_SYSTEM
from include.local.jars import paths as jar_paths

SESSION_SECONDS = 3600
"""How long the embedded engine keeps a session that nobody uses."""


@dataclass(frozen=True)
class Program:
    """One supervised process."""

    name: str
    argv: list[str]
    folder: Path
    """Where it runs: what a library drops in its working folder stays under ``var``."""
    url: str = ""
    """Where people and programs reach it; empty for one that does not listen."""
    environment: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: frozenset[str] = frozenset()
    """The variables with secrets of the installation that it gets."""
    credentials: tuple[str, ...] = ()
    """How the names begin of those credentials in the caller's environment that it gets; ``""`` is all of them."""
    hidden: tuple[Path, ...] = ()
    """Folders that it must not see, where the system can hide them (include/local/confine.py)."""
    kept: tuple[Path, ...] = ()
    """Files in those that it needs."""
    component: str = ""
    """Its key in Airflow's health report."""


@dataclass(frozen=True)
class Port:
    """A port that an installation listens on, and the variable that chooses another one."""

    service: str
    number: int
    variable: str


def ports(settings: Settings) -> list[Port]:
    """Every port of an installation; needs no set-up."""
    return [
        *([] if settings.airflow_remote else [Port("airflow", settings.airflow_port, "NOCTURNE_AIRFLOW_PORT")]),
        *([] if settings.mlflow_remote else [Port("mlflow", settings.mlflow_port, "NOCTURNE_MLFLOW_PORT")]),
        *([] if settings.spark_remote else [Port("spark", settings.spark_port, "NOCTURNE_SPARK_PORT")]),
        *([Port("sql", settings.sql_port, "NOCTURNE_SQL_PORT")] if settings.sql_port else []),
    ]


def loopback(settings: Settings) -> str:
    """Where the driver listens for itself: nobody else has any business there, whatever the host."""
    return "::1" if ":" in settings.host else "127.0.0.1"


def java_options(settings: Settings) -> str:
    """Options of the Spark server's JVM."""
    spark = settings.var / "spark"
    return " ".join(
        [
            f"-Dderby.system.home={spark}",
            f"-Dderby.stream.error.file={settings.log / 'derby.log'}",
            f"-Djava.io.tmpdir={spark / 'tmp'}",
            f"-Dlog4j2.configurationFile={settings.home / 'config' / 'log4j2.properties'}",
            "-Duser.timezone=UTC",
            "-Djava.net.preferIPv4Stack=true" if ":" not in settings.host else "-Djava.net.preferIPv6Addresses=true",
            # out of memory: end, and let the supervisor bring a fresh one, rather than limp on
            "-XX:+ExitOnOutOfMemoryError",
            "-XX:MaxMetaspaceSize=512m",
            "-XX:MaxDirectMemorySize=512m",
            "-XX:ReservedCodeCacheSize=256m",
            # two cores: what a concurrent collector takes from the work is more than its shorter pauses give back
            "-XX:+UseParallelGC",
            # two cores and small data: the optimizing compiler takes more from the work than its code gives back
            "-XX:TieredStopAtLevel=1",
            "-Xms256m",
        ]
    )


def spark_host(settings: Settings) -> str:
    """Where Spark Connect listens: on a cluster, a container's address is as good for it as for Airflow and MLflow."""
    return settings.web_host if settings.profile == CLUSTER else settings.host


def driver_host(settings: Settings) -> str:
    """Where executors find the driver: on other machines by its name."""
    return socket.gethostname() if settings.spark_master else loopback(settings)


def spark_configuration(settings: Settings) -> dict[str, str]:
    """The configuration of the Spark Connect server."""
    spark = settings.var / "spark"
    own = driver_host(settings)
    return {
        "spark.connect.grpc.binding.address": spark_host(settings),
        "spark.connect.grpc.binding.port": str(settings.spark_port),
        # the token of its endpoint comes by environment; the driver's own ports ask for a secret that Spark makes
        "spark.authenticate": "true",
        "spark.driver.bindAddress": "0.0.0.0" if settings.spark_master else own,  # noqa: S104  # executors call back
        "spark.driver.host": own,
        "spark.driver.memory": settings.spark_memory,
        "spark.driver.extraJavaOptions": java_options(settings),
        "spark.local.dir": str(spark / "tmp"),
        "spark.ui.enabled": "false",
        "spark.hadoop.javax.jdo.option.ConnectionURL": f"jdbc:derby:;databaseName={spark / 'metastore'};create=true",
        "spark.sql.catalogImplementation": "hive",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.warehouse.dir": for_spark(settings.lake),
        # two cores and small partitions: more tasks than these only cost (VACUUM takes 54 s with the default 10,000)
        "spark.sql.shuffle.partitions": "4",
        "spark.sql.sources.parallelPartitionDiscovery.parallelism": "4",
        "spark.databricks.delta.snapshotPartitions": "2",
        "spark.driver.extraClassPath": os.pathsep.join(map(str, jar_paths(settings))),
        "spark.hadoop.fs.file.impl": LOCAL_FILE_SYSTEM,
        # one JVM writes the local lake, which is what this log store asks for; the default starts processes instead
        "spark.delta.logStore.file.impl": "io.delta.storage.LocalLogStore",
        # one file a day where each task would write one
        "spark.databricks.delta.optimizeWrite.enabled": "true",
        # microseconds of UTC as every other writer has them, and not the twelve bytes of Spark's own past
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        # an error reaches people as its message; the server's own log keeps the Java stack
        "spark.sql.connect.serverStacktrace.enabled": "false",
        **(statsd_configuration(settings.statsd) if settings.statsd else {}),
        **(cluster_configuration(settings) if settings.spark_master else {}),
        **(s3_configuration(settings) if settings.uses_s3 else {}),
    }


def cluster_configuration(settings: Settings) -> dict[str, str]:
    """What the driver of a cluster says besides: how its executors, of the same image, are started."""
    return {
        # Spark wants it said; what counts is the variable SPARK_SECRET, which no list of processes shows
        "spark.authenticate.secret": "is in the environment",
        "spark.network.crypto.enabled": "true",
        "spark.pyspark.python": sys.executable,
        "spark.executor.memory": settings.spark_memory,
        "spark.executor.extraClassPath": os.pathsep.join(map(str, jar_paths(settings))),
        "spark.executor.extraJavaOptions": " ".join(
            [
                f"-Dlog4j2.configurationFile={settings.home / 'config' / 'log4j2.properties'}",
                "-Duser.timezone=UTC",
                "-XX:+ExitOnOutOfMemoryError",
            ]
        ),
    }


def statsd_configuration(address: str) -> dict[str, str]:
    """Have Spark send its metrics to ``address``, ``<host>:<port>``: a page of its own would have no lock."""
    host, _, port = address.rpartition(":")
    sink = {
        "class": "org.apache.spark.metrics.sink.StatsdSink",
        "host": host,
        "port": port,
        "period": "30",
        "unit": "seconds",
        "prefix": "spark",
    }
    return {f"spark.metrics.conf.*.sink.statsd.{name}": value for name, value in sink.items()} | {
        "spark.metrics.conf.*.source.jvm.class": "org.apache.spark.metrics.source.JvmSource",
        "spark.metrics.namespace": "nocturne",  # else each start is another application, with series of its own
    }


def s3_configuration(settings: Settings) -> dict[str, str]:
    """How Spark reaches S3. Who may is for AWS's own chain of credentials to find, as it is for every other client."""
    s3a = {
        "aws.credentials.provider": "software.amazon.awssdk.auth.credentials.DefaultCredentialsProvider",
        "endpoint.region": settings.s3_region,
        # the newer streams want the asynchronous client, which is not among our jars
        "input.stream.type": "classic",
    }
    if settings.s3_endpoint:
        s3a |= {"endpoint": settings.s3_endpoint, "path.style.access": "true"}
    return {f"spark.hadoop.fs.s3a.{name}": value for name, value in s3a.items()} | {
        # to rename is to copy: one copy of a candidate and not two. Nobody reads it before its job is through
        "spark.hadoop.mapreduce.fileoutputcommitter.algorithm.version": "2",
    }


MEMORY_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def bytes_of(memory: str) -> int:
    """``3g`` in bytes. Raises ValueError."""
    number, unit = memory[:-1], memory[-1:].lower()
    return int(number) * MEMORY_UNITS[unit] if unit in MEMORY_UNITS else int(memory)


def spark(settings: Settings) -> Program:
    """The server of the Spark Connect endpoint."""
    return embedded(settings) if settings.engine == EMBEDDED else apache_spark(settings)


def embedded(settings: Settings) -> Program:
    """Sail behind its door: no Java, no jars, up in a second."""
    temporary = str(settings.var / "spark" / "tmp")
    return Program(
        name="spark",
        argv=[sys.executable, "-m", "include.local.embedded"],
        folder=settings.var / "spark",
        url=settings.spark_url,
        environment={
            "TMPDIR": temporary,
            "SAIL_EXECUTION__DEFAULT_PARALLELISM": str(settings.spark_cores),
            # what is more than this goes to disk, or fails, and does not take the machine with it
            "SAIL_RUNTIME__MEMORY_POOL__TYPE": "greedy",
            "SAIL_RUNTIME__MEMORY_POOL__GREEDY__MAX_SIZE": str(bytes_of(settings.spark_memory)),
            "SAIL_RUNTIME__TEMPORARY_FILES__PATHS": json.dumps([temporary]),
            "SAIL_SPARK__SESSION_TIMEOUT_SECS": str(SESSION_SECONDS),
        },
        secrets=frozenset({SPARK_TOKEN}),
        hidden=hidden_from_spark(settings),
        kept=(settings.secrets / "pseudonym_key",),
    )


def hidden_from_spark(settings: Settings) -> tuple[Path, ...]:
    """The folders of others: whoever may ask for rows may read any file that the server sees."""
    return (settings.secrets, settings.run, settings.var / "airflow", settings.var / "mlflow")


def apache_spark(settings: Settings) -> Program:
    """The Spark Connect server with Delta: one JVM, started from files under ``var`` without a network."""
    argv = [str(Path(sys.executable).parent / "spark-submit")]
    argv += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer"]
    argv += ["--master", settings.spark_master or f"local[{settings.spark_cores}]", "--name", "nocturne"]
    for name, value in spark_configuration(settings).items():
        argv += ["--conf", f"{name}={value}"]
    return Program(
        name="spark",
        argv=[*argv, "spark-internal"],
        folder=settings.var / "spark",
        url=settings.spark_url,
        # what workers run is our Python, with our libraries, and not what the path happens to name first
        environment={"PYSPARK_PYTHON": sys.executable}
        | ({} if settings.spark_master else {"SPARK_LOCAL_IP": loopback(settings)}),
        secrets=frozenset({SPARK_TOKEN} | ({SPARK_SECRET} if settings.spark_master else set())),
        hidden=hidden_from_spark(settings),
        kept=(settings.secrets / "pseudonym_key",),
        credentials=("AWS_",) if settings.uses_s3 else (),
    )


def spark_master(settings: Settings) -> Program:
    """The master of a Spark cluster: it knows the workers, and which of them work for whom.

    It writes that down: one that came back without it would end the executors of a driver that then waits for ever.
    """
    known = settings.var / "spark" / "master"
    kept = ("-Dspark.deploy.recoveryMode=FILESYSTEM", f"-Dspark.deploy.recoveryDirectory={known}")
    return of_spark_cluster(settings, "spark-master", "master.Master", "--port", "7077", options=kept)


def spark_worker(settings: Settings) -> Program:
    """A worker of a Spark cluster: it starts the executors, which do the work.

    Raises BadRequestError where it is not told of a master.
    """
    if not settings.spark_master:
        raise BadRequestError("NOCTURNE_SPARK_MASTER names no cluster: spark://<host>:7077")
    shares = ("--cores", str(settings.spark_cores), "--memory", settings.spark_memory)
    folder = ("--work-dir", str(settings.var / "spark" / "work"))
    return of_spark_cluster(settings, "spark-worker", "worker.Worker", *shares, *folder, settings.spark_master)


def of_spark_cluster(
    settings: Settings, name: str, main: str, *arguments: str, options: tuple[str, ...] = ()
) -> Program:
    """A process of Spark's own cluster. It takes no work but from who knows the secret, and serves no REST."""
    of_both = [
        "-Dspark.authenticate=true",
        "-Dspark.network.crypto.enabled=true",
        "-Dspark.master.rest.enabled=false",
        "-Dspark.worker.cleanup.enabled=true",
        f"-Dspark.local.dir={settings.var / 'spark' / 'tmp'}",
        "-Duser.timezone=UTC",
    ]
    return Program(
        name=name,
        argv=[
            str(Path(sys.executable).parent / "spark-class"),
            f"org.apache.spark.deploy.{main}",
            *("--host", socket.gethostname()),
            *arguments,
        ],
        folder=settings.var / "spark",
        environment={"SPARK_DAEMON_JAVA_OPTS": " ".join([*of_both, *options]), "SPARK_DAEMON_MEMORY": "512m"},
        secrets=frozenset({SPARK_SECRET}),
        credentials=("AWS_",) if settings.uses_s3 else (),
    )


def mlflow(settings: Settings) -> Program:
    """The MLflow server: runs and models in SQLite or PostgreSQL, files under ``var`` or in S3, with a login."""
    folder = settings.var / "mlflow"
    database = settings.mlflow_connection
    # What `mlflow server --app-name basic-auth --serve-artifacts` itself starts, without the parent that would stay
    # beside it: half the memory and half the time to come back after a kill. The variables are that command's.
    argv = [sys.executable, "-m", "uvicorn", "--factory", "include.local.mlflow_app:create_app", "--no-access-log"]
    argv += ["--host", settings.web_host, "--port", str(settings.mlflow_port)]
    return Program(
        name="mlflow",
        argv=argv,
        folder=folder,
        url=settings.mlflow_url,
        environment={
            "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # evaluation jobs of language models: not used here
            "MLFLOW_TRACKING_URI": database,
            "MLFLOW_REGISTRY_URI": database,
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": settings.model_place,
            "_MLFLOW_SGI_NAME": "uvicorn",
        }
        | mlflow_hosts(settings),
        secrets=MLFLOW_SECRETS,
        credentials=("AWS_",) if settings.model_store.startswith("s3://") else (),
    )


def mlflow_hosts(settings: Settings) -> dict[str, str]:
    """Under which names MLflow may be asked for: by itself it takes those of a laptop, and refuses all others."""
    names = {urlsplit(url).netloc for url in (settings.mlflow_remote, settings.mlflow_page) if url}
    if not names:
        return {}
    own = {f"{host}:{settings.mlflow_port}" for host in ("localhost", "127.0.0.1", settings.host)}
    return {"MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(sorted(names | own))}


def sql(settings: Settings) -> Program:
    """The read-only SQL endpoint. It has no secret, and sees those of nobody: its logins are hashes."""
    return Program(
        name="sql",
        argv=[sys.executable, "-m", "include.serving.sql"],
        folder=settings.var / "sql",
        url=settings.sql_url,
        # dbt compiles the models to say which columns are personal, and asks for the variable; no token is in it
        environment={"SPARK_REMOTE": settings.spark_url},
        hidden=hidden_from_spark(settings),
        credentials=("AWS_",) if settings.uses_s3 else (),
    )


def airflow(name: str, settings: Settings, secrets: frozenset[str], *arguments: str) -> Program:
    """One of Airflow's components. They run DAGs, tasks and triggers, which may use what the caller's shell holds."""
    argv = [sys.executable, "-m", "airflow", name, *arguments]
    return Program(
        name=name,
        argv=argv,
        folder=settings.var / "airflow",
        component=name.replace("-", "_"),
        secrets=secrets,
        credentials=("",),
    )


def api_server(settings: Settings) -> Program:
    """Airflow's API and UI."""
    argv = [sys.executable, "-m", "airflow", "api-server", "--workers", "1"]
    argv += ["--host", settings.web_host, "--port", str(settings.airflow_port)]
    return Program(
        name="api-server",
        argv=argv,
        folder=settings.var / "airflow",
        url=settings.airflow_url,
        component="metadatabase",
        secrets=AIRFLOW_SECRETS | DATABASE_SECRETS | {BACKEND_KWARGS, METRICS_TOKEN, OIDC_SECRET},
        credentials=("AIRFLOW_", "OTEL_", *(["AWS_"] if settings.uses_s3 else [])),
    )


def scheduler(settings: Settings) -> Program:
    """Airflow's scheduler, and where tasks are its forks, these too."""
    # Logs are read from the disk they share: no second web server that listens for them.
    # Where tasks are its forks, their secrets are on their way through it; its own end with it
    # (config/airflow_local_settings.py). A pod has its own, of its template.
    secrets = DATABASE_SECRETS | {FERNET_KEY, JWT_SECRET, BACKEND_KWARGS}
    secrets |= {CELERY: CELERY_SECRETS, LOCAL: CLIENT_SECRETS}.get(settings.executor, frozenset())
    return airflow("scheduler", settings, secrets | ALERT_SECRETS, "--skip-serve-logs")


def dag_processor(settings: Settings) -> Program:
    """What reads the files of DAGs."""
    return airflow("dag-processor", settings, DATABASE_SECRETS | ALERT_SECRETS | {FERNET_KEY, BACKEND_KWARGS})


def triggerer(settings: Settings) -> Program:
    """What waits for tasks that are deferred."""
    return airflow("triggerer", settings, DATABASE_SECRETS | {FERNET_KEY, BACKEND_KWARGS}, "--skip-serve-logs")


def worker(settings: Settings) -> Program:
    """A worker of Celery. It knows Redis and Airflow's API, and no metadata database: its tasks could use that.

    In a container it serves the logs of its tasks to who shows a token that the api-server has signed. Elsewhere it
    does not: it would listen on all addresses of the machine.
    """
    argv = [sys.executable, "-m", "airflow", "celery", "worker", "--queues", settings.queues]
    argv += ["--celery-hostname", f"{settings.var.name}@%h"]  # one that no other has, were there two on a machine
    return Program(
        name="worker",
        argv=argv if settings.container else [*argv, "--skip-serve-logs"],
        folder=settings.var / "airflow",
        environment={AIRFLOW_DB: "sqlite://"},  # an empty one in memory: Airflow wants an address to start with
        secrets=CELERY_SECRETS | CLIENT_SECRETS | {AIRFLOW_LOGIN, "AIRFLOW__API__SECRET_KEY", BACKEND_KWARGS},
        credentials=("",),
    )


BUILDERS = {
    "api-server": api_server,
    "scheduler": scheduler,
    "dag-processor": dag_processor,
    "triggerer": triggerer,
    "worker": worker,
    "mlflow": mlflow,
    "spark": spark,
    "spark-master": spark_master,
    "spark-worker": spark_worker,
    "sql": sql,
}


def program(settings: Settings, name: str) -> Program:
    """The service ``name``, whether or not it is one of this machine's. Raises BadRequestError where there is none."""
    if name not in BUILDERS:
        raise BadRequestError(f"there is no service {name}: there are {', '.join(BUILDERS)}")
    if name == "worker" and settings.executor != CELERY:
        raise BadRequestError(
            f"NOCTURNE_EXECUTOR={settings.executor} has no workers: a worker is served where it is {CELERY}"
        )
    return BUILDERS[name](settings)


def programs(settings: Settings) -> list[Program]:
    """Every service of this machine, in the order of starting. Raises FileNotFoundError where set-up has not run."""
    names = [] if settings.airflow_remote else ["api-server", "scheduler", "dag-processor", "triggerer"]
    names += ["worker"] if settings.executor == CELERY and not settings.airflow_remote else []
    names += [] if settings.mlflow_remote else ["mlflow"]
    names += [] if settings.spark_remote else ["spark"]
    names += ["sql"] if settings.sql_port else []
    return [program(settings, name) for name in names]
