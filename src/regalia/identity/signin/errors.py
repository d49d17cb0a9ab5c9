"""Why nobody was signed in: a sentence for the person, a word for the record."""

from regalia.errors import ApiError, RegaliaError


class SignInRefused(RegaliaError):
    """A sign-in that is refused. `reason` is one word for the record, the message is for the person.

    The message never tells whether an account exists.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TokenRefused(RegaliaError):
    """A token that is not believed. `reason` is one word for the record."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"the token is refused: {reason}" + (f" ({detail})" if detail else ""))
        self.reason = reason


class ProviderUnusable(RegaliaError):
    """A provider did not answer, or said what must not be believed; the message is for the operator."""


def invalid_token(error: TokenRefused) -> ApiError:
    """What a client hears whose bearer token is refused."""
    return ApiError(401, "invalid_token", f"This access token is not accepted here: {error.reason}.")
