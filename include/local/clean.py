"""``make clean``: what is removed, and what is refused. ``NOCTURNE_VAR`` may name a folder that holds other things."""

import shutil
from collections.abc import Callable
from pathlib import Path

from include.core.settings import Settings
from include.local.checks import InstallationError

MARKER = ".nocturne"
TEXT = "Nocturne made this folder, and all of it is its state: `make clean CONFIRM=yes` removes it.\n"
LOCK = ".lock"
# Everything that an installation puts into var; a test holds it against what a running one has.
STATE = frozenset(
    {
        *(MARKER, LOCK, "airflow", "audit", "cache", "dbt", "ivy", "jars", "lake", "landing", "lock", "log", "mlflow"),
        *("installation.json", "openlineage", "report", "run", "secrets", "spark", "sql", "stream"),
        *("restoring.json", "upgrade"),
        *("checkpoints", "scratch", "searches"),  # of trainings
    }
)
# What set-up alone makes, by which an installation is known that an earlier release made, without a marker.
OURS = ("secrets/fernet_key", "secrets/jwt_secret", "run/apache-airflow.migrated")


def foreign(var: Path) -> list[str]:
    """The names in ``var`` that no installation puts there."""
    return sorted(path.name for path in var.iterdir() if path.name not in STATE)


def is_ours(var: Path) -> bool:
    """Whether set-up made ``var``, by its marker or by what an earlier release left, and nothing else is in it."""
    marked = (var / MARKER).is_file() or all((var / name).is_file() for name in OURS)
    return marked and not foreign(var)


def mark(var: Path) -> None:
    """Make ``var``, and say in it that it is ours where it is new, empty, or an earlier release's."""
    var.mkdir(parents=True, exist_ok=True)
    names = {path.name for path in var.iterdir()} - {LOCK}
    if MARKER not in names and (not names or is_ours(var)):
        (var / MARKER).write_text(TEXT)


def problem(settings: Settings) -> str | None:
    """Why ``var`` must not be removed, in a line, or None."""
    var, holds = settings.var, (settings.home, Path.home(), Path("/"))
    if any(path.is_relative_to(var) for path in holds):
        return f"NOCTURNE_VAR is {var}, which holds more than an installation: it is not removed"
    if names := foreign(var):
        shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        return f"{var} also holds what is not Nocturne's: {shown}. Move it elsewhere, or remove yourself what has to go"
    if not is_ours(var):
        return f"{var} has no file {MARKER}, so that Nocturne did not make it: remove yourself what has to go"
    return None


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder. A link counts nothing: what it leads to stays."""
    if path.is_symlink():
        return 0
    if not path.is_dir():
        return path.stat().st_size
    return sum(size(one) for one in path.iterdir())


def plan(settings: Settings) -> list[str]:
    """A line for each thing that goes, with its size, and for what stays elsewhere.

    Empty where there is nothing. Raises InstallationError where it is refused.
    """
    if not settings.var.exists():
        return []
    if line := problem(settings):
        raise InstallationError(line)
    lines = []
    for path in sorted(settings.var.iterdir()):
        what = f"only the link; {path.resolve()} stays" if path.is_symlink() else f"{size(path) / 1e6:.1f} MB"
        lines.append(f"{path}  {what}")
    for uri in (settings.landing_uri, settings.lake_uri):
        if uri and not Path(uri).is_relative_to(settings.var):
            lines.append(f"{uri}  stays")
    return lines


def remove(settings: Settings) -> None:
    """Remove ``var``. The marker goes last, so that a second try finds it.

    Raises InstallationError with the first that stays.
    """
    if line := problem(settings):
        raise InstallationError(line)
    last = settings.var / MARKER
    last.touch()
    for path in [*sorted(path for path in settings.var.iterdir() if path != last), last, settings.var]:
        _gone(path)


def _gone(path: Path) -> None:
    delete: Callable[[Path], object] = Path.unlink
    if path.is_dir() and not path.is_symlink():
        delete = shutil.rmtree
    try:
        delete(path)
    except OSError as error:
        raise InstallationError(
            f"{error.filename or path} could not be removed ({error.strerror}): the rest is as it was"
        ) from None
