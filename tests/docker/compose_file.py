"""The project's compose files, as compose reads them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[2] / "docker"
FILE = FOLDER / "compose.yaml"
CLUSTER = FOLDER / "compose.cluster.yaml"
GPU = FOLDER / "compose.gpu.yaml"
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)(:-[^}]*)?\}")


def compose(environment: Mapping[str, str] | None = None, file: Path = FILE) -> dict[str, Any]:
    """The file as compose reads it where only the variables of ``environment`` are set."""
    given = environment or {}
    text = VARIABLE.sub(lambda found: given.get(found[1], (found[2] or "")[2:]), file.read_text())
    return yaml.safe_load(text.replace("$$", "$"))
