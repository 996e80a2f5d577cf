"""Small pictures in the lines of a table, as points of an SVG: the page's larger ones are drawn in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

WIDTH, HEIGHT = 120.0, 32.0
"""Of a small picture, in its own units."""
LEAST = 1e-9
"""A logarithm takes nothing less."""


def along(values: Sequence[float | None], low: float, high: float) -> list[str]:
    """Lines through ``values``, one for each run without a gap, as SVG's ``points``; of evidence, so logarithmic.

    ``low`` and ``high`` are the ends of the scale. A run of one value is a short line.
    """
    step = WIDTH / max(1, len(values) - 1)
    runs: list[list[str]] = [[]]
    for n, value in enumerate(values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append(f"{n * step:.1f},{height_of(value, low, high):.1f}")
    return [" ".join(run if len(run) > 1 else run * 2) for run in runs if run]


def height_of(value: float, low: float, high: float) -> float:
    """Where ``value`` is from above, on a logarithmic scale from ``low`` (below) to ``high``."""
    top, bottom = log10(max(high, LEAST)), log10(max(low, LEAST))
    share = (log10(max(value, LEAST)) - bottom) / ((top - bottom) or 1.0)
    return round(HEIGHT - 2 - (HEIGHT - 4) * min(1.0, max(0.0, share)), 1)


def steps(shares: Sequence[float | None], most: float) -> str:
    """A distribution as the outline of its bars, as SVG's ``points``; ``most`` is as high as the picture."""
    if not shares:
        return ""
    width, points = WIDTH / len(shares), [f"0,{HEIGHT:.0f}"]
    for n, share in enumerate(shares):
        top = HEIGHT - (HEIGHT - 2) * min(1.0, (share or 0.0) / (most or 1.0))
        points += [f"{n * width:.1f},{top:.1f}", f"{(n + 1) * width:.1f},{top:.1f}"]
    return " ".join([*points, f"{WIDTH:.0f},{HEIGHT:.0f}"])
