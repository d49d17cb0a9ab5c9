"""SCIM 2.0 (RFC 7643, RFC 7644): what a provisioning client sends, as plain data. No I/O.

Kept of a user is what is needed here: `userName`, `externalId`, `active`, names, addresses. Other attributes
are accepted and not kept. Names of attributes are without case.
"""
