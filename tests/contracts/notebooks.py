"""Run of every notebook with its outputs stored: `python -m tests.contracts.notebooks` after changing one.

Readers on the web see the outputs; a test runs the notebooks again and compares, so that they do not go stale.
"""

import asyncio
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.contracts.measures import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
_NB: Any = nbformat
"""The package's own functions carry no types."""
_VARIABLE = re.compile(
    r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"  # ids
    r"|\b[0-9a-f]{12,64}\b"  # digests
    r"|(?<=-)[0-9a-f]{6}\b"  # names that are made up for one run
    r"|\d{4}-\d\d-\d\d[T ][\d:.+]*Z?"
)


def read(path: Path) -> Any:
    """Return a notebook as stored."""
    return _NB.read(path, as_version=4)


async def execute(path: Path, folder: Path, environment: Mapping[str, str] | None = None) -> Any:
    """Return a notebook after its cells ran from top to bottom, with a folder for the kernel's own files."""
    notebook = read(path)
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(ROOT / "notebooks")}})
    own = {"JUPYTER_RUNTIME_DIR": str(folder), "IPYTHONDIR": str(folder), **(environment or {})}
    await client.async_execute(env={**os.environ, **own})
    for cell in notebook.cells:
        # Times of execution would make every run another file.
        cell.get("metadata", {}).pop("execution", None)
    return notebook


def printed(notebook: Any) -> list[str]:
    """Return what each code cell shows, with ids, digests and times left out."""
    return [
        _VARIABLE.sub("*", "".join(map(_text, cell.get("outputs", []))))
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def _text(output: Any) -> str:
    if "data" in output:
        return str(output["data"].get("image/svg+xml") or output["data"].get("text/plain", ""))
    return str(output.get("text") or output.get("ename", ""))


def main() -> None:
    """Run and store every notebook."""
    for path in NOTEBOOKS:
        with tempfile.TemporaryDirectory() as folder:
            notebook = asyncio.run(execute(path, Path(folder)))
        _NB.write(notebook, path)


if __name__ == "__main__":
    main()
