"""Which roles a provider's groups give. A pure decision over the configuration."""

from collections.abc import Iterable

from regalia.config import GroupRole, IdentityProvider


def roles_of(provider: IdentityProvider, groups: Iterable[str]) -> frozenset[GroupRole]:
    """The roles of someone who is in these groups; groups that the configuration does not name give none."""
    found: set[GroupRole] = set()
    for group in groups:
        given = provider.group_roles.get(group, [])
        found.update(given if isinstance(given, list) else [given])
    return frozenset(found)
