"""`python -m matfac`: the command line."""

import sys

from matfac.cli import main

if __name__ == "__main__":
    sys.exit(main())
