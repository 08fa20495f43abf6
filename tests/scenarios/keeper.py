"""Supervisor in a process of its own, so that a test can kill it."""

import asyncio
import sys
from pathlib import Path

from app.supervisor import Child, supervise


async def keep(folder: Path) -> None:
    async with supervise([Child("toy", (str(folder), "waits"), module="tests.scenarios.toy")], logs=folder / "logs"):
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(keep(Path(sys.argv[1])))
