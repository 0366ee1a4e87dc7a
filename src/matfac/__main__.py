"""`python -m matfac`: the command line."""

from __future__ import annotations

import sys

from matfac.cli import main

if __name__ == "__main__":
    sys.exit(main())
