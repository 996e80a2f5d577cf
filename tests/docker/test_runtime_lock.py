"""What the image installs: the same pins as everywhere, all that the project imports, nothing that only tests use."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = ("config", "dags", "examples", "include", "plugins", "spark_jobs")
# What looks at the pages or changes the code, which nobody does in a container.
ELSEWHERE = ("examples/screenshots.py", "include/scaffold/")
# Taken where it is installed, for a GPU: no image of ours has one.
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
    assert names(script.runtime_lock(REQUESTED, LOCK)) == ["data-base", "engine", "tail", "web"]


def test_pins_hashes_and_markers_stay_as_they_are(script: ModuleType) -> None:
    shorter = script.runtime_lock(REQUESTED, LOCK)
    assert shorter.startswith(LOCK.partition("nvidia")[0])


def test_a_lock_that_lacks_a_package_is_refused(script: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"has no missing: `make lock`"):
        script.runtime_lock(REQUESTED + "missing\n", LOCK)


def locked(script: ModuleType) -> set[str]:
    """The distributions that the image has."""
    requested, lock = ((ROOT / name).read_text() for name in ("requirements.in", "requirements.txt"))
    return set(names(script.runtime_lock(requested, lock)))


def test_the_image_runs_no_tests(script: ModuleType) -> None:
    assert locked(script).isdisjoint({"pytest", "mypy", "ruff", "playwright", "duckdb", "nvidia-nccl-cu13"})


def test_the_image_has_every_library_that_the_project_imports(script: ModuleType) -> None:
    ours, here, brought = {*TREES, "tests"}, locked(script), packages_distributions()
    missing = set()
    for path in (path for tree in TREES for path in (ROOT / tree).rglob("*.py")):
        if path.relative_to(ROOT).as_posix().startswith(ELSEWHERE):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for top in {module.partition(".")[0] for module in modules} - ours - OPTIONAL - sys.stdlib_module_names:
                bringing = {script.normalized(name) for name in brought.get(top, [])}
                if bringing.isdisjoint(here):
                    missing.add(f"{path.relative_to(ROOT)} imports {top}")
    assert missing == set()
