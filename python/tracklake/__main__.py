"""``python -m tracklake``: the program, where its directory is not on the path."""

import os
import sys

from ._child import find

if __name__ == "__main__":
    program = find()
    os.execv(program, [program, *sys.argv[1:]])
