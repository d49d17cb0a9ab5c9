"""What is wrong with a SCIM request, in SCIM's own shape (RFC 7644 3.12)."""

from typing import Any, Final

from regalia.errors import RegaliaError

ERROR_SCHEMA: Final = "urn:ietf:params:scim:api:messages:2.0:Error"


class ScimError(RegaliaError):
    """A request that is refused. `kind` is SCIM's `scimType`, "" where it has none."""

    def __init__(self, status: int, detail: str, kind: str = "") -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind

    def document(self) -> dict[str, Any]:
        """What the client receives."""
        kind = {"scimType": self.kind} if self.kind else {}
        return {"schemas": [ERROR_SCHEMA], "status": str(self.status), "detail": str(self), **kind}
