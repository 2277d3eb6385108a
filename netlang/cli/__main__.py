"""`python -m netlang.cli`: the command line where the script `netlang` is not on the path."""

import sys

from netlang.cli.entry import main

if __name__ == "__main__":
    sys.exit(main())
