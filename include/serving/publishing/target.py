"""What every kind of target can do, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

from include.serving.publishing.content import Day

type Verb = Literal["same", "newer", "sent", "nothing"]


@dataclass(frozen=True)
class Outcome:
    """What has come of a day, or would.

    Attributes:
        verb: ``same``: the target has it already. ``newer``: it has a newer one, and nothing was done. ``nothing``: the
            day has no predictions and never had. ``sent``: it was, or would be, brought there.
        revision: that the target has then; 0 where it has none.
        rows: of the day; by that revision ``changed`` of them were new or other than before, and ``gone`` ones went.
        begun: whether it was begun earlier and goes on where that ended.
    """

    verb: Verb
    revision: int = 0
    rows: int = 0
    changed: int = 0
    gone: int = 0
    begun: bool = False


class Publisher(Protocol):
    """A target that is reached. Closing it gives back what it holds."""

    def send(self, day: Day) -> Outcome:
        """Make the target have ``day``, all of it or nothing of it; of events, each once or on the next try."""
        ...

    def close(self) -> None: ...
