"""Run the command as `python -m imgpkg`."""

import sys

from imgpkg.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
