"""Whether a restore was begun and has not ended: what every start has to know, and imports nothing else."""

from include.core.settings import Settings
from include.local.checks import InstallationError
from include.local.installation import read

RESTORING = "restoring.json"
"""In ``var`` while a backup is put there: which one, and from where."""


def require_restored(settings: Settings) -> None:
    """Raise InstallationError where a restore was begun and has not ended: half of an installation must not start."""
    if begun := read(settings.var / RESTORING):
        raise InstallationError(
            f"a restore of {settings.var} has not ended: `make restore from={begun['from']} backup={begun['backup']} "
            "yes=1` goes on with it, or `make clean CONFIRM=yes` removes what there is"
        )
