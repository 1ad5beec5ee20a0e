"""`python -m batchchat`, and what the console script calls."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and leave with its exit status; an interrupt during the imports is one too."""
    try:
        from batchchat.cli.app import entry

        status = entry()
    except KeyboardInterrupt:
        status = 130
    sys.exit(status)


if __name__ == "__main__":
    main()
