"""Errors that a retry cannot mend."""


class NeedsAttentionError(RuntimeError):
    """Something a person has to put right first. The message names what, where and what to do; no retry follows."""
