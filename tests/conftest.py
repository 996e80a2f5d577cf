"""A real Spark with Delta inside the test process, for tests of what Spark is asked to do."""

from __future__ import annotations

import logging
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from include.core.settings import Settings, settings
from include.local import jars
from include.local.programs import spark_configuration
from tests import groups, s3
from tests.champion import empty_mlflow, world

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["empty_mlflow", "world"]

# What would make PySpark look for a server, or start from another Spark.
MISLEADING = ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED", "SPARK_HOME", "SPARK_CONF_DIR", "SPARK_MASTER")

# Which engine an installation has follows from what a test says of it.
os.environ.pop("NOCTURNE_ENGINE", None)

# How long an example takes says how busy the machine is: other tests run beside it. The suite tries the same examples
# each time, so that it fails by what was changed; `make test-full` looks for new ones.
hypothesis.settings.register_profile("suite", deadline=None, derandomize=True)
hypothesis.settings.register_profile("search", deadline=None)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the groups of tests that take longest, and leave each together."""
    items.sort(key=lambda item: groups.rank(item.nodeid))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> groups.Groups:
    """How ``-n 2`` shares the tests out: by groups, in that order."""
    config.option.loadscopereorder = False
    return groups.Groups(config, log)


def pytest_make_parametrize_id(val: Any) -> str | None:
    """Bytes by no more than that they are some: a packer puts the time and marks by chance in, so that even their
    number differs from run to run, and both processes of tests have to name a test alike."""
    return "bytes" if isinstance(val, bytes) else None


@contextmanager
def installed(folder: Path) -> Iterator[Path]:
    """While this lasts, the settings of this process are those of an installation whose ``var`` is ``folder``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_VAR", str(folder))
        settings.cache_clear()
        yield folder
    settings.cache_clear()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """The empty ``var`` of an installation of this test's own."""
    with installed(tmp_path) as folder:
        yield folder


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same, for all tests of a module together."""
    with installed(tmp_path_factory.mktemp("var")) as folder:
        yield folder


@pytest.fixture(scope="session")
def s3_port() -> int:
    """Where an S3 server of the tests listens, once one asks for it: Spark is told when it starts, and not later."""
    return s3.free_port()


@pytest.fixture(scope="session")
def s3_server(s3_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a real S3 server, with the bucket ``nocturne``."""
    with s3.server(tmp_path_factory.mktemp("s3") / "server", s3_port, "nocturne") as client:
        yield client


@pytest.fixture(scope="session")
def _spark(tmp_path_factory: pytest.TempPathFactory, s3_port: int) -> Iterator[SparkSession]:
    """One classic session of one thread, configured as the service is, with a catalogue in memory."""
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    (folder / "spark" / "tmp").mkdir(parents=True)
    (folder / "log").mkdir()
    on_s3 = {"lake_uri": "s3://nocturne/lake", "s3_endpoint": f"http://127.0.0.1:{s3_port}", "s3_region": s3.REGION}
    both = Settings(var=folder).model_copy(update=on_s3)
    jars.fetch(both)
    configuration = spark_configuration(both) | {
        "spark.sql.warehouse.dir": str(folder / "lake"),
        "spark.driver.memory": "1g",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.shuffle.partitions": "1",
        "spark.databricks.delta.snapshotPartitions": "1",
        # a handful of rows: compiling and planning them well takes longer than reading them
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.adaptive.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    arguments = ["--master", "local[1]"]
    for name, value in configuration.items():
        arguments += ["--conf", f"{name}={value}"]
    with pytest.MonkeyPatch.context() as patch:
        for name in MISLEADING:
            patch.delenv(name, raising=False)
        patch.setenv("PYSPARK_SUBMIT_ARGS", shlex.join([*arguments, "pyspark-shell"]))
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        for name, value in s3.environment(s3_port).items():
            patch.setenv(name, value)
        session = SparkSession.builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()
    # It says that connections are closed when Python ends, to a stream that pytest has closed by then.
    logging.getLogger("py4j").setLevel(logging.WARNING)


@pytest.fixture(scope="module")
def spark(_spark: SparkSession) -> Iterator[SparkSession]:
    """The session. While a module's tests use it, and no longer, the environment names no Spark server."""
    with pytest.MonkeyPatch.context() as patch:
        for name in MISLEADING:
            patch.delenv(name, raising=False)
        assert "SPARK_REMOTE" not in os.environ
        patch.setenv("NOCTURNE_ENGINE", "spark")
        settings.cache_clear()
        yield _spark
    settings.cache_clear()


@pytest.fixture(scope="module")
def schema(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> str:
    """An empty schema of this module's own."""
    name = f"{Path(str(request.path)).parent.name}_{Path(str(request.path)).stem}"
    spark.sql(f"CREATE SCHEMA {name} LOCATION '{tmp_path_factory.mktemp(name)}'")
    return name
