"""``python -m include.serving.sql``: the SQL endpoint in the foreground, what the service ``sql`` runs."""

import sys

from include.core.errors import NocturneError
from include.core.settings import settings
from include.serving.sql.server import serve

if __name__ == "__main__":
    try:
        sys.exit(serve(settings()))
    except NocturneError as error:
        sys.exit(f"nocturne: {error}")
