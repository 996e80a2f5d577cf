"""The reference of settings: ``make catalogue`` writes ``docs/settings.md`` from ``include/core/settings.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from include.core.settings import HOME, Settings, settings


def page_of() -> Path:
    """Where the page is."""
    return settings().home / "docs" / "settings.md"


def page() -> str:
    """Every setting in Markdown: its variable, its default, and what it does."""
    return "\n".join(
        [
            "# Settings",
            "",
            "Made from `include/core/settings.py` by `make catalogue`. Each setting is an environment variable, as in "
            "`NOCTURNE_AIRFLOW_PORT=8081 make up`. An empty one counts as not set. In a container each can be a file "
            "of that name in `/run/secrets` ([docker](docker.md)).",
            "",
            "| variable | default | |",
            "|---|---|---|",
            *(
                f"| {' or '.join(f'`{one}`' for one in variables(name, field))} | {default(field.default)} | "
                f"{_plain(field.description or '')} |"
                for name, field in Settings.model_fields.items()
            ),
            "",
        ]
    )


def variables(name: str, field: FieldInfo) -> list[str]:
    """The environment variables that the field ``name`` is read from, the first of them before the others."""
    if isinstance(field.validation_alias, AliasChoices):
        return [str(one) for one in field.validation_alias.choices]
    return [f"{Settings.model_config['env_prefix']}{name}".upper()]


def _plain(text: str) -> str:
    """``text`` with its < shown: Markdown would take what follows for a tag."""
    return text.replace("<", "&lt;")


def default(value: Any) -> str:
    """The value that counts where none is set, without the place of this repository."""
    if isinstance(value, Path):
        return "the repository" if value == HOME else f"`{value.relative_to(HOME)}`"
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`" if value != "" else ""


def write() -> list[Path]:
    """Write the page. Returns where it is."""
    page_of().write_text(page())
    return [page_of()]
