"""The ledger's errors. `regalia.errors.AuditUnavailable` is raised where a record can't be made durable."""

from regalia.errors import RegaliaError
from regalia.keyfile import KeyUnusable as KeyUnusable  # noqa: PLC0414 - one of the ledger's errors, too


class LedgerInvariantError(RegaliaError):
    """A record that the log can't hold: a second admission or outcome, or one without its call."""


class LogWouldFork(RegaliaError):
    """The database does not continue the log that was published; going on would fork it."""


class LogDamaged(RegaliaError):
    """Rows or files of the log are missing or are not what they were."""


class LedgerLocked(RegaliaError):
    """Another process uses the data directory."""


class ReceiptNotFound(RegaliaError):
    """There is no such call, or it is another project's."""


class CallOpen(RegaliaError):
    """The call has no outcome yet, so there is nothing to prove."""


class SealedElsewhere(RegaliaError):
    """The call's contents are sealed under keys that this host does not have; another one may."""


class Archived(RegaliaError):
    """What was asked for is in an archive of the log that is not attached."""


class LedgerFailed(RegaliaError):
    """The ledger met an error that none of the others names."""
