"""Pages of Nocturne in Airflow's menu, behind its login: dbt's, model health, lineage, quarantine, model cards."""

from functools import cache
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from include.web.logins import Logins

PREFIX = "/nocturne"


@cache
def _app() -> Any:
    from include.web import pages

    return pages.app()


async def app(scope: Any, receive: Any, send: Any) -> None:
    """The pages, made at the first request: schedulers and tasks load every plugin, and serve none of it."""
    await _app()(scope, receive, send)


class NocturnePages(AirflowPlugin):
    """Five entries in the menu, and the application behind them."""

    name = "nocturne_pages"
    fastapi_apps = [{"name": name, "app": app, "url_prefix": PREFIX}]  # noqa: RUF012
    fastapi_root_middlewares = [{"name": "logins", "middleware": Logins, "args": [], "kwargs": {}}]  # noqa: RUF012
    external_views = [  # noqa: RUF012
        {
            "name": "dbt docs",
            "href": f"{PREFIX}/dbt",
            "url_route": "dbt-docs",
            "destination": "nav",
            "category": "docs",
        },
        # Without a route it opens in a tab of its own: the frame that Airflow shows others in lets no link out. Within
        # a menu, since Airflow 3.3 makes a button of it outside of one, which opens nothing.
        {"name": "Model health", "href": f"{PREFIX}/health", "destination": "nav", "category": "browse"},
        {"name": "Lineage", "href": f"{PREFIX}/lineage", "destination": "nav", "category": "browse"},
        {"name": "Quarantine", "href": f"{PREFIX}/quarantine", "destination": "nav", "category": "browse"},
        {"name": "Model cards", "href": f"{PREFIX}/card", "destination": "nav", "category": "browse"},
    ]
