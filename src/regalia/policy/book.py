"""The policies in force, in memory: what a call asks costs a look-up.

`refresh` compiles what has changed; `of` never touches the database. A pack that can't be used (a detector
that is gone) does not mean "no policy": its calls are refused until somebody activates another one.
"""

from collections.abc import Mapping, Sequence

import structlog

from regalia.errors import ApiError
from regalia.policy.activation import Activation, in_force
from regalia.policy.compiled import Policy, compile_document
from regalia.policy.detector import Factory, Resources
from regalia.policy.errors import PackError

_LOG = structlog.get_logger()


class PolicyBook:
    """Replaced as a whole by `refresh`; reading needs no lock."""

    def __init__(self, detectors: Mapping[str, Factory], resources: Resources = Resources()) -> None:  # noqa: B008
        self._detectors = detectors
        self._resources = resources
        self._in_force: dict[str, Policy | str] = {}
        self._unread: str | None = None

    def of(self, project: str) -> Policy | None:
        """The project's policy, else the instance's. Raises ApiError 503 where it can't be used."""
        if not self._in_force and self._unread is None:
            return None
        found = self._in_force.get(project)
        if found is None:
            found = self._in_force.get("")
        if self._unread is not None:
            found = self._unread
        if isinstance(found, str):
            raise ApiError(503, "policy_unavailable", f"The policy can't be applied: {found}", retry_after=5)
        return found

    def refresh(self, activations: Sequence[Activation], now_ms: int) -> None:
        """Take over what is in force now."""
        known = {policy.digest: policy for policy in self._in_force.values() if isinstance(policy, Policy)}
        projects = {item.project for item in activations}
        fresh: dict[str, Policy | str] = {}
        for project in projects:
            active = in_force(activations, project, now_ms)
            if active is not None and active.document is not None:
                fresh[project] = known.get(active.digest) or self._compiled(active.document, active.label)
        if fresh != self._in_force:
            _LOG.info("policies in force", count=len(fresh))
        self._in_force, self._unread = fresh, None

    async def prepare(self) -> None:
        """Have detectors get ready what costs time. What can't be had now is asked for again by a call."""
        for policy in list(self._in_force.values()):
            if isinstance(policy, Policy):
                await policy.prepare()

    def unread(self, reason: str) -> None:
        """What is in force can't be known: nothing is answered until `refresh`."""
        self._unread = reason

    def _compiled(self, document: bytes, label: str) -> Policy | str:
        try:
            return compile_document(document, self._detectors, self._resources)
        except PackError as error:
            _LOG.error("a policy in force can't be used", policy=label, reason=str(error))
            return f"{label}: {error}"
