"""The project's compose file, as compose reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

FILE = Path(__file__).resolve().parents[2] / "docker" / "compose.yaml"
VARIABLE = re.compile(r"\$\{(\w+)(:-[^}]*)?\}")


def compose(environment: dict[str, str] | None = None) -> dict[str, Any]:
    """The file as compose reads it where only the variables of ``environment`` are set."""
    given = environment or {}
    text = VARIABLE.sub(lambda found: given.get(found[1], (found[2] or "")[2:]), FILE.read_text())
    return yaml.safe_load(text)
