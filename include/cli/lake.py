"""``python -m include.cli.lake``: what each table of the lake takes."""

from rich.console import Console
from rich.table import Table

from include.lake import removals, usage


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f}"


def main() -> None:
    """Print a row a table, then what maintenance has removed and what it did not come to finish."""
    found = usage.report()
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("table", "rows", "files", "small", "MB", "MB on disk", "version"):
        shown.add_column(name, justify="left" if name == "table" else "right")
    for one in found["tables"]:
        rows = "" if one["rows"] is None else str(one["rows"])
        counts = (rows, str(one["files"]), str(one["small"]), megabytes(one["bytes"]), megabytes(one["disk_bytes"]))
        shown.add_row(one["table"], *counts, str(one["version"]))
    left = found["candidates"]
    shown.add_row("candidate.*", "", "", "", "", megabytes(left["bytes"]), f"{left['tables']} tables")
    console = Console(highlight=False, soft_wrap=True)
    # As wide as it has to be: a table's name that is cut off is none.
    needed = console.measure(shown, options=console.options.update(width=1000)).maximum
    console.width = max(console.width, needed)
    console.print(shown)
    for removal in removals.unfinished():
        console.print(f"[red]begun and not finished[/red]: {removal}")


if __name__ == "__main__":
    main()
