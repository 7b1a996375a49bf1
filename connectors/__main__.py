"""`python -m connectors`: the edge, until it is told to stop."""

from __future__ import annotations

import sys

from connectors.edge import main

if __name__ == "__main__":
    sys.exit(main())
