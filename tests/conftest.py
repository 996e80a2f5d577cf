"""A real Spark with Delta inside the test process, for tests of what Spark is asked to do."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from include.services.programs import spark_configuration
from include.settings import Settings, settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

# What would make PySpark look for a server, or start from another Spark.
MISLEADING = ("SPARK_REMOTE", "SPARK_CONNECT_MODE_ENABLED", "SPARK_HOME", "SPARK_CONF_DIR", "SPARK_MASTER")


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
def _spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """One classic session of one thread, configured as the service is, with a catalogue in memory."""
    from pyspark.sql import SparkSession

    folder = tmp_path_factory.mktemp("spark")
    (folder / "spark" / "tmp").mkdir(parents=True)
    (folder / "log").mkdir()
    configuration = spark_configuration(Settings(var=folder)) | {
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
        session = SparkSession.builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="module")
def spark(_spark: SparkSession) -> Iterator[SparkSession]:
    """The session. While a module's tests use it, and no longer, the environment names no Spark server."""
    with pytest.MonkeyPatch.context() as patch:
        for name in MISLEADING:
            patch.delenv(name, raising=False)
        assert "SPARK_REMOTE" not in os.environ
        yield _spark


@pytest.fixture(scope="module")
def schema(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> str:
    """An empty schema of this module's own."""
    name = f"{Path(str(request.path)).parent.name}_{Path(str(request.path)).stem}"
    spark.sql(f"CREATE SCHEMA {name} LOCATION '{tmp_path_factory.mktemp(name)}'")
    return name
