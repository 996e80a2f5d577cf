"""Code of ours on Spark's executors: brought along with the session, and told where landing and the lake are.

The workers' Python needs our libraries (``requirements.txt``).
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING
from weakref import WeakSet

from include.core.settings import settings

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

PLACES = ("var", "landing_uri", "lake_uri", "s3_endpoint", "s3_region", "engine")
"""The settings by which an executor finds landing and the lake. Who may is for AWS's chain of credentials to find."""


class ElsewhereError(Exception):
    """What executors say that they have written is not in the lake that this process sees."""


def places() -> dict[str, str]:
    """What ``core.settings.adopt`` takes on an executor."""
    return {key: str(getattr(settings(), key)) for key in PLACES}


_has_code: WeakSet[SparkSession] = WeakSet()
_bringing = Lock()  # several feeds are read at once


def bring_code(session: SparkSession) -> None:
    """Have the workers of ``session`` know our code, as it is here."""
    with _bringing:
        if session not in _has_code:
            _bring(session)
            _has_code.add(session)


def _bring(session: SparkSession) -> None:
    home = Path(__file__).resolve().parents[2]
    sources = sorted((home / "include").rglob("*.py"))
    digest = hashlib.sha256()
    for path in sources:
        digest.update(path.read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        packed = Path(folder) / f"nocturne_{digest.hexdigest()[:12]}.zip"
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
            for path in sources:
                file.write(path, path.relative_to(home))
        session.addArtifacts(str(packed), pyfile=True)
