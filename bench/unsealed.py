"""`regalia` whose ledger keeps contents in the clear, as before there was a vault. For benchmarks only.

The product has no such switch. This program replaces, in its own ledger process, what seals a row; that
process is this program again, with the descriptor of its socket.
"""

import socket
import subprocess
import sys

from regalia.cli import main
from regalia.ledger import Entry, ledger, process
from regalia.ledger.contents import PLAIN, ContentRow, Contents
from regalia.ledger.contents import _encode as encode

LEDGER = "--ledger"


def _plain(_: Contents, index: int, entry: Entry) -> ContentRow:
    return index, PLAIN, entry.call, entry.phase, 0, b"", encode(entry.parts)


def _spawn(connection: socket.socket) -> subprocess.Popen[bytes]:
    descriptor = connection.fileno()
    return subprocess.Popen(
        [sys.executable, __file__, LEDGER, str(descriptor)],
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )


if __name__ == "__main__":
    if sys.argv[1] == LEDGER:
        setattr(Contents, "row", _plain)  # noqa: B010 - typed as a method, replaced by a function
        process.main(int(sys.argv[2]))
    else:
        setattr(ledger, "_spawn", _spawn)  # noqa: B010 - likewise
        main()
