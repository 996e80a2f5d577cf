"""Arrow's own JDBC driver, which DBeaver and other tools load, against the endpoint."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from include.core.locks import alone
from include.core.settings import HOME, Settings
from include.local import jars
from tests.serving.sql.conftest import Client

DRIVER = jars.Jars(packages=("org.apache.arrow:flight-sql-jdbc-driver:18.3.0",), excludes=(), sums="")


@pytest.fixture(scope="module")
def driver() -> Path:
    """The driver, fetched once for all installations of a clone."""
    of = Settings(var=HOME / "var")
    folder = of.jars.parent / "jdbc"
    with alone(folder / ".lock"):
        if not (folder / "jars").exists():
            jars.resolve(of, DRIVER, folder)
    (found,) = (folder / "jars").glob("*flight-sql-jdbc-driver*.jar")
    return found


@pytest.mark.full
def test_a_tool_of_jdbc_finds_and_reads_what_its_user_may(client: Client, driver: Path) -> None:
    url = f"jdbc:arrow-flight-sql://127.0.0.1:{client.port}?useEncryption=false"
    command = ["java", "-XX:TieredStopAtLevel=1", "--add-opens=java.base/java.nio=ALL-UNNAMED", "-cp", str(driver)]
    program = [str(Path(__file__).with_name("Ask.java")), url, "analyst", client.passwords["analyst"]]
    done = subprocess.run([*command, *program], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines[:3] == ["product Nocturne true", "schema gold nocturne", "schema silver nocturne"]
    assert sorted(line for line in lines if line.startswith("table")) == [
        "table nocturne gold scores TABLE",
        "table nocturne silver people TABLE",
    ]
    assert [line.split()[-1] for line in lines if line.startswith("column")] == ["id", "origin", "day"]
    assert [line for line in lines if line.startswith("row")] == ["row 1 EWR 2013-06-01", "row 2 JFK 2013-06-01"]
    assert "prepared 0.3" in lines
    assert "nothing can be changed here" in lines[-1]
