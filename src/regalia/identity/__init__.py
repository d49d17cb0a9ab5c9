"""Who asks, and what they may: keys become principals, roles permit, projects become pseudonyms."""

from regalia.identity.keys import KeyRing, RingKey, hash_key, new_key
from regalia.identity.principal import Held, Principal, may_use
from regalia.identity.pseudonyms import Pseudonyms
from regalia.identity.roles import MATRIX, PERMISSIONS, ROLES, allowed, permits, require, require_at, sees

__all__ = [
    "MATRIX",
    "PERMISSIONS",
    "ROLES",
    "Held",
    "KeyRing",
    "Principal",
    "Pseudonyms",
    "RingKey",
    "allowed",
    "hash_key",
    "may_use",
    "new_key",
    "permits",
    "require",
    "require_at",
    "sees",
]
