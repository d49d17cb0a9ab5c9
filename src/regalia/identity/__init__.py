"""Who asks: keys become principals, projects become pseudonyms."""

from regalia.identity.keys import KeyRing, Principal, hash_key, new_key
from regalia.identity.pseudonyms import Pseudonyms

__all__ = ["KeyRing", "Principal", "Pseudonyms", "hash_key", "new_key"]
