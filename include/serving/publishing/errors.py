"""What can go wrong with a target: what may pass by itself, and what a person has to mend."""

from include.core.errors import NeedsAttentionError, NocturneError


class TargetAwayError(NocturneError):
    """A target does not answer, is full, or is in somebody else's hands. Another try may mend it."""


class TargetRefusedError(NeedsAttentionError):
    """A target, or what the spec says of it, needs a person. Names which, where, and what to do."""


class OlderLakeError(NeedsAttentionError):
    """A target has a newer publication of a day than the lake: it is not overwritten by an older one."""
