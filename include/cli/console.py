"""How commands write to a terminal."""

import time

from rich.console import Console
from rich.table import Table

console = Console(highlight=False, soft_wrap=True)


def say(line: str) -> None:
    """One line of progress."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim] {line}")


def show(table: Table) -> None:
    """``table`` as wide as it has to be: a name that is cut off is none."""
    wide = Console(highlight=False, soft_wrap=True)
    needed = wide.measure(table, options=wide.options.update(width=1000)).maximum
    wide.width = max(wide.width, needed)
    wide.print(table)
