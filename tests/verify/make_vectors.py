"""Write the sample log that the manual's commands run on: `python tests/verify/make_vectors.py FOLDER`.

Everything but the ML-DSA-44 signatures, which are randomised, is the same each time.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from verify.paper_log import sample_log

OLD_SIZE = 5


def write(folder: Path) -> None:
    """A log of 16 entries, its policy, the receipt of one call, an older checkpoint."""
    log = sample_log(7)
    call = log.calls[3]
    log.publish().write(folder / "log")
    for name, content in {
        "policy.txt": log.policy_text().encode(),
        "receipt.tlog-proof": log.receipt(call).encode(),
        "request.json": call.request,
        "response.json": call.response,
        "another-request.json": log.calls[2].request,
        "checkpoint.old": log.signed(OLD_SIZE).encode(),
    }.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
