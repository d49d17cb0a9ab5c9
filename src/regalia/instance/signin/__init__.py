"""Signing in, on a running instance: providers, local accounts, sessions and provisioning, on the record."""

from regalia.instance.signin.service import SignedIn, SignIn

__all__ = ["SignIn", "SignedIn"]
