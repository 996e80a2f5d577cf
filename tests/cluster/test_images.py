"""The images of the cluster: built for real, held against their sizes, looked through for what must not be there."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster import images
from tests.cluster.containers import MissingError, require, run

pytestmark = [pytest.mark.integration, pytest.mark.full]

GIB = 2**30
MOST = {"airflow": 2.5 * GIB, "mlflow": 800 * 2**20, "spark": 1.5 * GIB}
# What a secret looks like, in a file of ours or of a configuration: a key, a password in an address.
SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|AKIA[0-9A-Z]{16}|aws_secret_access_key *= *\S|://[a-z_]+:[0-9A-Za-z]{12,}@"
)
RUNS = {
    "airflow": "import airflow, celery, psycopg, redis, polars, xgboost, mlflow, great_expectations, pyspark.sql",
    "mlflow": "import mlflow.server.auth, psycopg, boto3",
    "spark": "import polars, deltalake, pyspark.sql, pandas, include.ingestion.executors",
}


@pytest.fixture(scope="module", autouse=True)
def built() -> None:
    """Every image, built; a machine where that cannot be is told what to install."""
    try:
        require()
        images.ours()
    except MissingError as missing:
        pytest.fail(str(missing), pytrace=False)


@contextmanager
def files(image: str) -> Iterator[Path]:
    """The file system of an image."""
    name = run("buildah", "from", "--pull-never", f"{images.PREFIX}-{image}").stdout.strip()
    try:
        yield Path(run("buildah", "mount", name).stdout.strip())
    finally:
        run("buildah", "rm", name)


@pytest.mark.parametrize("image", images.OURS)
def test_it_is_as_small_as_it_was_asked_to_be(image: str) -> None:
    assert images.size(f"{images.PREFIX}-{image}") <= MOST[image]


@pytest.mark.parametrize("image", images.OURS)
def test_it_holds_no_secret_no_installer_and_no_test_of_ours(image: str) -> None:
    with files(image) as root:
        ours = root / "nocturne"
        assert not (ours / "tests").exists()
        assert not list((ours / "var").iterdir())
        assert not any((ours / ".venv" / "bin" / name).exists() for name in ("pip", "uv", "pytest"))
        places = [
            path
            for folder in (ours / "include", ours / "config", root / "etc", root / "root")
            for path in folder.rglob("*")
        ]
        found = [
            str(path.relative_to(root))
            for path in [*places, *ours.glob("*")]
            if path.is_file() and not path.is_symlink() and SECRET.search(path.read_bytes())
        ]
        assert found == []
        assert not list((root / "run" / "secrets").glob("*"))


@pytest.mark.parametrize("image", images.OURS)
def test_its_user_is_nobody_special_and_owns_nothing_but_var(image: str) -> None:
    config = images.run(
        "buildah", "inspect", "--type", "image", "--format", "{{.OCIv1.Config.User}}", f"{images.PREFIX}-{image}"
    )
    assert config.stdout.strip() == "1000:1000"
    with files(image) as root:
        owned = subprocess.run(
            ["find", root / "nocturne", "-xdev", "-uid", "1000"], capture_output=True, text=True, check=True
        )
        assert owned.stdout.split() == [str(root / "nocturne" / "var")]


@pytest.mark.parametrize("image", images.OURS)
def test_it_has_what_its_programs_import(image: str) -> None:
    name = run("buildah", "from", "--pull-never", f"{images.PREFIX}-{image}").stdout.strip()
    try:
        run("buildah", "run", "--isolation", "chroot", name, "--", "python", "-c", RUNS[image])
    finally:
        run("buildah", "rm", name)


@pytest.mark.parametrize("image", images.OURS)
def test_an_edit_of_the_project_is_built_without_a_network(image: str, tmp_path: Path) -> None:
    """The layers that need one are there, and no edit of DAGs, SQL or specs makes them anew."""
    source = tmp_path / "source"
    run("git", "clone", "--quiet", str(images.ROOT), str(source))
    edited = source / "include" / "use_cases" / "__init__.py"
    edited.write_text(edited.read_text() + "\n")
    command = ["buildah", "bud", "--isolation", "chroot", "--layers", "--pull-never", "--build-arg", f"IMAGE={image}"]
    command += ["--file", str(source / "docker" / "Dockerfile"), str(source)]
    run("unshare", "--net", *command)
