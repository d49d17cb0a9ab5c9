"""What can go wrong with the vault."""

from regalia.errors import RegaliaError


class VaultError(RegaliaError):
    """The vault, or something sealed by it, is damaged, missing, or can't be written."""


class ContentErased(RegaliaError):
    """The key of this content was destroyed on purpose. Not a VaultError: nothing is wrong."""


class KeyElsewhere(VaultError):
    """The content is sealed under a key that this vault does not have: another host's vault may have it."""


class RootKeyError(VaultError):
    """The root key is absent, badly protected, or not the one this vault was made with."""


class ErasureUnderWay(VaultError):
    """Another process or thread is erasing; erasures go one at a time."""
