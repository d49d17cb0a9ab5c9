"""The ledger's errors. `regalia.errors.AuditUnavailable` is raised where a record can't be made durable."""

from regalia.errors import RegaliaError


class LedgerInvariantError(RegaliaError):
    """A record that the log can't hold: a second admission or outcome, or one without its call."""


class LogWouldFork(RegaliaError):
    """The database does not continue the log that was published; going on would fork it."""


class LogDamaged(RegaliaError):
    """Rows or files of the log are missing or are not what they were."""


class LedgerLocked(RegaliaError):
    """Another process uses the data directory."""


class KeyUnusable(RegaliaError):
    """A signing key can't be read, is readable by others, or is not the log's."""


class ReceiptNotFound(RegaliaError):
    """There is no such call, or it is another project's."""


class CallOpen(RegaliaError):
    """The call has no outcome yet, so there is nothing to prove."""


class SealedElsewhere(RegaliaError):
    """The call's contents are sealed under keys that this host does not have; another one may."""


class LedgerFailed(RegaliaError):
    """The ledger met an error that none of the others names."""
