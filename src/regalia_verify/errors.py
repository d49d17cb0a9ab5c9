"""The two ways in which verification ends badly."""


class FormatError(Exception):
    """The input cannot be read as what it claims to be; nothing was proved or disproved."""


class NotVerified(Exception):
    """The input can be read, and a check failed: `reason` is a code for scripts, the message for people."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason
