"""The errors Regalia raises on purpose, and the one shape in which a client sees them.

The wire shape is OpenAI's: `{"error": {"message", "type", "param", "code"}}`. An error is raised
where it is known and turned into bytes in one place, the API's edge.
"""

import msgspec

_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    405: "invalid_request_error",
    409: "conflict_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
    431: "invalid_request_error",
}


class RegaliaError(Exception):
    """Anything Regalia reports in a sentence that says what to do."""


class ApiError(RegaliaError):
    """An error with its HTTP status and its place in the API's error shape.

    `call` is the id of the admitted call that it ended, if it ended one; `headers` go with the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.param = param
        self.retry_after = retry_after
        self.call: str | None = None
        self.headers: tuple[tuple[bytes, bytes], ...] = ()

    @property
    def type(self) -> str:
        """OpenAI's family of the error, by its status."""
        return _TYPES.get(self.status, "server_error")

    def body(self) -> bytes:
        """The JSON document a client receives."""
        return msgspec.json.encode(
            {
                "error": {
                    "message": self.message,
                    "type": self.type,
                    "param": self.param,
                    "code": self.code,
                }
            }
        )


class AuditUnavailable(ApiError):
    """The record can't be made durable, so nothing is answered."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            503,
            "audit_unavailable",
            f"The audit log can't record this call, so it is not answered: {reason}",
            retry_after=1,
        )
        self.reason = reason
