"""What the log says of signing in: who, where, how it went; pseudonyms only.

The record of a sign-in is durable before its session exists. Failures are recorded at a bounded rate, and
before the answer leaves.
"""

from regalia.identity import Principal
from regalia.identity.signin.noticing import Noticing
from regalia.instance.tenancy.tenancy import Tenancy

LOCAL = "local"
"""The provider's name in records of local accounts."""


class Recording:
    """Writes the records of one process."""

    def __init__(self, at: Tenancy) -> None:
        self._at = at
        self._noticing = Noticing()

    async def signed_in(self, user: str, provider: str, session: str) -> None:
        """Someone is let in. Raises AuditUnavailable: then they are not."""
        await self._note("signed_in", user, provider=provider or LOCAL, session=session)

    async def signed_out(self, user: str, provider: str, session: str, reason: str) -> None:
        """A session is about to end."""
        await self._note("signed_out", user, provider=provider or LOCAL, session=session, reason=reason)

    async def locked(self, user: str) -> None:
        """An account has to wait after too many failures."""
        await self._note("account_locked", user, provider=LOCAL)

    async def refused(self, provider: str, reason: str, who: str = "") -> None:
        """Someone was not let in. `who` is `user:ID`, or `name:TEXT` for whoever they said they are."""
        unrecorded = self._noticing.note((provider, reason, who), self._at.clock())
        if unrecorded is None:
            return
        fields: dict[str, str | int] = {"provider": provider or LOCAL, "reason": reason}
        if who:
            fields["subject"] = self._at.who(who)
        if unrecorded:
            fields["unrecorded"] = unrecorded
        await self._at.note("admin.signin_refused", Principal("signin", "", ""), **fields)

    async def _note(self, action: str, user: str, **fields: str | int) -> None:
        actor = Principal("signin", "", "", user=user)
        subject = self._at.who(f"user:{user}")
        await self._at.note(f"admin.{action}", actor, subject=subject, **fields)
