"""Signing in, on a running instance: providers, local accounts, sessions and provisioning, on the record."""

from regalia.instance.signin import accounts
from regalia.instance.signin.service import SignedIn, SignIn, signing_in

__all__ = ["SignIn", "SignedIn", "accounts", "signing_in"]
