"""`python -m regalia_verify`, and what `regalia-verify.pyz` runs."""

import sys

from regalia_verify.cli import main

if __name__ == "__main__":
    sys.exit(main())
