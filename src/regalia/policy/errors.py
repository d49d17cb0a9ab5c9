"""What is wrong with a policy, in a sentence that says what to do."""

from regalia.errors import RegaliaError


class PackError(RegaliaError):
    """A pack that can't be used; the message names the rail or the key and what would be right."""


class PolicyConflict(RegaliaError):
    """An activation or a review that is not in the state that the act needs; nothing was changed."""
