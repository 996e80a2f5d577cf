"""Writes the part of requirements.txt that an image needs: what runs tests and checks stays out of all of them.

``python runtime_lock.py requirements.in requirements.txt [laptop|airflow|gpu|mlflow|spark]``: the same pins and hashes,
on standard output. Standard library only, since nothing is installed yet when the image asks for it.
"""

import re
import sys
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

TESTS = "# Tests and checks"
"""The section of requirements.in, from its title to the next empty line, that no image has."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Image:
    """What an image has of the packages.

    Attributes:
        roots: what it asks for; none named: all of requirements.in.
        without: what it does not get, nor what only that needs.
    """

    roots: Set[str] = frozenset()
    without: Set[str] = frozenset()


# 345 MB; XGBoost loads it only to train one model on several GPUs at once.
NCCL = frozenset({"nvidia-nccl-cu13"})
# What `python -m include.cli` imports when it starts, and what reaches a bucket.
PROGRAM = frozenset(
    {"boto3", "grpcio", "httpx", "psutil", "pydantic-settings", "rich", "s3fs", "supervisor", "universal-pathlib"}
)
# What reads files of every format, where NOCTURNE_READ_ON=spark has that done by Spark's workers.
KERNEL = frozenset(
    {"backports-zstd", "deltalake", "fastavro", "ijson", "lxml", "msgspec", "polars", "pyarrow", "pypdf", "pypdfium2"}
    | {"python-calamine"}
)
IMAGES = {
    "laptop": Image(without=NCCL),
    # Its Spark is elsewhere: no engine of its own. What a GPU's has besides is in requirements-gpu.txt.
    "airflow": Image(without=NCCL | {"pysail"}),
    "gpu": Image(without=NCCL | {"pysail"}),
    # The server loads no model and draws nothing: it starts and answers without what MLflow's clients do so with.
    "mlflow": Image(
        PROGRAM | {"mlflow", "psycopg"}, frozenset({"docker", "matplotlib", "scikit-learn", "scipy", "skops"})
    ),
    # Without XGBoost and its SciPy, 190 MB: NOCTURNE_SCORE_ON=spark is not for this image.
    "spark": Image(PROGRAM | KERNEL | {"pyspark", "delta-spark", "pandas"}),
}


def normalized(name: str) -> str:
    """A package's name as the index spells it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def asked_for(text: str) -> set[str]:
    """The names in requirements.in outside of its section of tests."""
    names, testing = set(), False
    for line in text.splitlines():
        testing = line.strip() == TESTS or (testing and bool(line.strip()))
        if not testing and (found := NAME.match(line)):
            names.add(normalized(found[0]))
    return names


def entries(text: str) -> Iterator[tuple[str, list[str], str]]:
    """(name, who needs it, lines) of each package in requirements.txt, as uv writes it."""
    for entry in re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE):
        if found := NAME.match(entry):
            via = entry.partition("# via")[2]
            yield normalized(found[0]), re.findall(r"-r \S+|[a-z0-9][a-z0-9._-]*", via), entry


def needed(roots: Set[str], parents: dict[str, list[str]], without: Set[str]) -> set[str]:
    """``roots`` and whatever they lead to, less ``without``."""
    found = set(roots - without)
    while True:
        more = {name for name, via in parents.items() if not found.isdisjoint(via)} - found - without
        if not more:
            return found
        found |= more


def runtime_lock(requested: str, lock: str, image: Image) -> str:
    """The entries of ``lock`` (requirements.txt) that ``image`` needs of ``requested`` (requirements.in).

    Raises ValueError where a package that is asked for is not locked.
    """
    packages = list(entries(lock))
    roots = image.roots or asked_for(requested)
    if missing := roots - {name for name, _, _ in packages}:
        raise ValueError(f"requirements.txt has no {', '.join(sorted(missing))}: `make lock` writes it anew")
    wanted = needed(roots, {name: via for name, via, _ in packages}, image.without)
    return "".join(entry for name, _, entry in packages if name in wanted)


def main(requested: str, lock: str, image: str = "laptop") -> None:
    """Write the lock of ``image`` on standard output."""
    sys.stdout.write(runtime_lock(Path(requested).read_text(), Path(lock).read_text(), IMAGES[image]))


if __name__ == "__main__":
    main(*sys.argv[1:])
