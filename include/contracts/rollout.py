"""How a challenger that was let through comes into use by and by: what the spec of a use case says, in literals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

LEAST_NUMBERS = 12
"""So many daily differences decide at the earliest: the first ones say how far they scatter, then bets take some."""


@dataclass(frozen=True)
class Rollout:
    """The stages before a challenger becomes champion, and how certain each step must be.

    In the **shadow** it scores every row beside the champion, and nobody uses that. As a **canary** a share of the
    entities is published with its predictions. Then it is champion. Each step is made by what came of the days so far:
    forward where the challenger loses less than the margins of the task to the champion, back where it is worse at all.
    How often that is right: docs/decisions/rollout.md.

    Attributes:
        shadow_days, canary_days: so many days with labels a stage lasts at least.
        max_shadow_days, max_canary_days: a stage that is undecided after so many days ends the rollout: the champion
            stays.
        canary_share: the share of the entities that the canary begins with; the smallest one.
        share: ``fixed``: the canary keeps its share; ``thompson``: each night it gets the probability that the
            challenger is better than the champion, between ``canary_share`` and ``max_share``.
        max_share: the largest share of a canary.
        level: how often one that is no worse is taken back at most, and one that is worse by the margin goes forward;
            all nights, both stages and all metrics together.
        cool_down_days: no retraining is asked for so many nights after one was taken back.
    """

    shadow_days: int = 14
    canary_days: int = 14
    max_shadow_days: int = 60
    max_canary_days: int = 60
    canary_share: float = 0.1
    share: Literal["fixed", "thompson"] = "fixed"
    max_share: float = 0.5
    level: float = 0.05
    cool_down_days: int = 14

    def __post_init__(self) -> None:
        for stage in ("shadow", "canary"):
            least, most = getattr(self, f"{stage}_days"), getattr(self, f"max_{stage}_days")
            if not 1 <= least <= most:
                raise ValueError(f"rollout: {stage}_days is {least} and max_{stage}_days {most}; 1 or more, and rising")
        if not 0 < self.canary_share <= self.max_share < 1:
            raise ValueError(
                f"rollout: canary_share is {self.canary_share} and max_share {self.max_share}; they must be above 0 "
                "and below 1, and rising"
            )
        if self.share not in ("fixed", "thompson"):
            raise ValueError(f"rollout: share is {self.share!r}; it must be `fixed` or `thompson`")
        if not 0 < self.level < 0.5:
            raise ValueError(f"rollout: level is {self.level}; it must be above 0 and below 0.5")
        if self.cool_down_days < 0:
            raise ValueError(f"rollout: cool_down_days is {self.cool_down_days}; it must not be negative")

    def require_days(self, overlap: int) -> None:
        """Raise ValueError where a stage is too short to decide: ``overlap`` days in a row count as one."""
        least = LEAST_NUMBERS * overlap
        if short := [f"max_{one}_days" for one in ("shadow", "canary") if getattr(self, f"max_{one}_days") < least]:
            raise ValueError(
                f"rollout: {' and '.join(short)} must be {least} or more: {LEAST_NUMBERS} numbers decide at the "
                f"earliest, and the labels of {overlap} day{'s' if overlap > 1 else ''} in a row make one"
            )
