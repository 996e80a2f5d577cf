"""What a training runs in, as its record keeps it: everything beside rows and spec that could make another model."""

from __future__ import annotations

import hashlib
import platform

from include.core.settings import settings
from include.ml import gpu
from include.ml.code import Code


def of_training() -> dict[str, str]:
    """Python, the libraries that have a part in a model, the machine, and the lock of all packages."""
    import numpy
    import polars
    import xgboost

    lock = settings().home / "requirements.txt"
    return {
        "python": platform.python_version(),
        "xgboost": xgboost.__version__,
        "numpy": numpy.__version__,
        "polars": polars.__version__,
        "cupy": gpu.cupy_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "requirements": hashlib.sha256(lock.read_bytes()).hexdigest()[:12] if lock.is_file() else "unknown",
    }


def code_key(code: Code) -> str:
    """The commit, and where files differ from it, a digest of how."""
    return f"{code.commit}+{hashlib.sha256(code.diff.encode()).hexdigest()[:12]}" if code.dirty else code.commit
