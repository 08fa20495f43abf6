"""Child process for tests of the supervisor: it writes its number, and ends as its arguments say."""

import os
import signal
import sys
import time
from pathlib import Path

from app.child import watch


def main() -> None:
    folder, manner = Path(sys.argv[1]), sys.argv[2]
    watch(sys.stdin.fileno())
    # Written aside and renamed, so that nobody reads half a number.
    draft = folder / f".{os.getpid()}"
    draft.write_text(str(os.getpid()))
    draft.rename(folder / f"born-{time.monotonic_ns()}")
    if manner == "fails":
        sys.exit("the port is taken")
    signal.pause()


if __name__ == "__main__":
    main()
