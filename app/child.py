"""Child process that ends with its parent; the supervisor starts every child through this module.

The parent holds the other end of our standard input and never writes: the end of that stream is the end of the
parent, however it died. No signal is needed for this, so it also works after SIGKILL and on every system.
"""

import os
import signal
import sys
import threading
import time

PATIENCE_SECONDS = 10.0
"""How long an orphan may take to end in order before it just ends."""


def main() -> None:
    """Run the command line of our arguments for as long as the parent lives."""
    watch(sys.stdin.fileno())
    from app.cli import main as command

    command()


def watch(stream: int) -> None:
    """Ask this process to end as soon as `stream` ends."""
    threading.Thread(target=_wait, args=(stream,), name="parent watch", daemon=True).start()


def _wait(stream: int) -> None:
    while os.read(stream, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
