"""Build `regalia-verify.pyz`: the verifier as one file that runs wherever Python and `cryptography` are.

The same sources give the same bytes: entries are sorted and stored with a fixed date and mode, so that
anyone can rebuild the file and compare its hash with the published one.
"""

import sys
import zipfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "src"
MAIN = "import sys\n\nfrom regalia_verify.cli import main\n\nsys.exit(main())\n"
EPOCH = (1980, 1, 1, 0, 0, 0)


def main(target: Path) -> None:
    """Write the archive to `target`."""
    files = {"__main__.py": MAIN.encode()}
    for source in sorted((SOURCES / "regalia_verify").glob("*.py")):
        files[source.relative_to(SOURCES).as_posix()] = source.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(".unfinished")
    with unfinished.open("wb") as out:
        out.write(b"#!/usr/bin/env python3\n")
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in files.items():
                info = zipfile.ZipInfo(name, EPOCH)
                info.external_attr = 0o644 << 16
                archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    unfinished.chmod(0o755)
    unfinished.replace(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
