"""Signing in: at OpenID providers, with local accounts; sessions of browsers; what tokens are believed."""
