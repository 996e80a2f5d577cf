"""What can go wrong with an upstream: what may pass by itself, and what a person has to mend."""

from include.core.errors import NeedsAttentionError, NocturneError


class UpstreamError(NocturneError):
    """An upstream does not answer, or with something else than it should. Another try may mend it."""


class RefusedError(NeedsAttentionError):
    """An upstream, or what the spec says of it, needs a person. Names which, and what to do."""


class NightNotOverError(NeedsAttentionError):
    """A night's data was asked for before the night has ended: what it says so far would be kept as its record."""
