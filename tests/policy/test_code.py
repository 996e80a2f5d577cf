"""Rules of the Python code, read off its syntax: who may import whom, and who may read the environment."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TREES = ("config", "dags", "examples", "include", "plugins", "spark_jobs")
FILES = sorted(path for tree in TREES for path in (ROOT / tree).rglob("*.py"))

# who (path prefix) must not import what (module prefix), and why
FORBIDDEN = [
    ("", "dags", "a DAG is a leaf"),
    ("", "plugins", "a plugin is for Airflow to load"),
    ("", "tests", "tests are a leaf"),
    ("include/", "examples", "the platform does not know its demonstration"),
    ("dags/", "examples", "the platform does not know its demonstration"),
    ("plugins/", "examples", "the platform does not know its demonstration"),
    ("dags/", "spark_jobs", "a task reaches a job through include"),
    ("include/ml/", "airflow", "training and scoring run without an orchestrator"),
    ("include/ml/", "cosmos", "training and scoring run without an orchestrator"),
    ("include/ml/", "pyspark", "one writer engine a table: this part uses delta-rs"),
    ("spark_jobs/", "airflow", "it ships to a cluster alone"),
    ("spark_jobs/", "include", "it ships to a cluster alone"),
]
# The packages of include/, from the ground up: each imports only from itself and from those before it.
LAYERS = (
    "core",
    "contracts",
    "sources",
    "use_cases",
    "lake",
    "ingestion",
    "ml",
    "quality",
    "features",
    "serving",
    "governance",
    "orchestration",
    "local",
    "scaffold",
    "cli",
    "web",
)
READS_ENVIRONMENT = ("include/core/settings.py", "include/local/")


def imports(code: str) -> Iterator[str]:
    """Every module that ``code`` names in an import, at whatever depth; ``from a import b`` counts as ``a.b``."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def import_problems(path: str, code: str) -> list[str]:
    return [
        f"{path} imports {module}: {why}"
        for module in imports(code)
        for who, what, why in FORBIDDEN
        if path.startswith(who) and f"{module}.".startswith(f"{what}.")
    ]


def layer_problems(path: str, code: str) -> list[str]:
    """What a module of include/ imports from a package above its own."""
    package = path.removeprefix("include/").partition("/")[0]
    return [
        f"{path} imports {module}, which is above it: {' < '.join(LAYERS)}"
        for module in imports(code)
        if module.startswith("include.") and LAYERS.index(module.split(".")[1]) > LAYERS.index(package)
    ]


def environment_readers(code: str) -> list[int]:
    """The lines of ``code`` that read or write the environment of the process."""
    lines = []
    for node in ast.walk(ast.parse(code)):
        direct = isinstance(node, ast.Attribute) and node.attr in ("environ", "environb", "getenv", "putenv")
        if direct and isinstance(node.value, ast.Name) and node.value.id == "os":
            lines.append(node.lineno)
        if isinstance(node, ast.ImportFrom) and node.module == "os":
            lines += [node.lineno for alias in node.names if alias.name in ("environ", "environb", "getenv", "putenv")]
    return lines


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_point_one_way(path: Path) -> None:
    assert import_problems(relative(path), path.read_text()) == []


@pytest.mark.parametrize(
    "path",
    [one for one in FILES if relative(one).count("/") > 1 and one.parts[len(ROOT.parts)] == "include"],
    ids=relative,
)
def test_packages_build_on_those_below(path: Path) -> None:
    assert layer_problems(relative(path), path.read_text()) == []


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_only_settings_and_services_read_the_environment(path: Path) -> None:
    if not relative(path).startswith(READS_ENVIRONMENT):
        assert environment_readers(path.read_text()) == []


@pytest.mark.parametrize("path", [path for path in FILES if path.read_text().strip()], ids=relative)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("include/x.py", "import dags.lakehouse"),
        ("include/x.py", "from examples import replay"),
        ("include/ml/x.py", "def f():\n    from airflow.sdk import task"),
        ("include/ml/x.py", "import pyspark.sql"),
        ("spark_jobs/x.py", "from include.core.settings import settings"),
        ("spark_jobs/x.py", "import importlib\nimportlib.import_module('include.core.settings')"),
    ],
)
def test_the_import_rule_refuses(path: str, code: str) -> None:
    assert len(import_problems(path, code)) == 1


def test_the_rule_of_layers_refuses_what_is_above() -> None:
    assert len(layer_problems("include/lake/x.py", "from include.ml import ledger")) == 1
    assert layer_problems("include/ml/x.py", "from include.lake import delta") == []


def test_the_import_rule_allows_a_name_that_only_begins_alike() -> None:
    assert import_problems("include/ml/x.py", "import airflow_client_of_somebody") == []


@pytest.mark.parametrize("code", ["import os\nos.environ['A']", "import os\nos.getenv('A')", "from os import environ"])
def test_the_environment_rule_refuses(code: str) -> None:
    assert len(environment_readers(code)) == 1
