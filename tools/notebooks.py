"""Run notebooks from the first cell to the last, in a copy of their folder and a kernel of their own.

`check_examples.py` compares what their cells print with the outputs that they hold, as it does with README files. The
outputs are stored anew by

    python tools/notebooks.py examples/tutorials/job_recipe.ipynb

Needs nbclient and ipykernel.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

TIMEOUT_S = 300  # of a cell
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


class CellFailedError(Exception):
    """A cell has raised an exception; the message has the cell and the traceback."""


def read(path: Path) -> Any:
    """Return the notebook as it is."""
    import nbformat

    return nbformat.read(path, as_version=4)


def executed(path: Path) -> Any:
    """Return the notebook with the outputs of a run.

    Raises:
        CellFailedError: a cell failed.
    """
    import nbclient

    notebook = read(path)
    with tempfile.TemporaryDirectory() as elsewhere:
        place = Path(elsewhere, path.parent.name)
        copytree(path.parent, place, ignore=ignore_patterns("flare-runs", "__pycache__"))
        client = nbclient.NotebookClient(
            notebook,
            timeout=TIMEOUT_S,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(place)}},
        )
        environment = {key: value for key, value in os.environ.items() if not key.startswith("FLARE_")}
        try:
            client.execute(env={**environment, "OMP_NUM_THREADS": "1"})
        except nbclient.exceptions.CellExecutionError as error:
            raise CellFailedError(str(error)) from error
    return notebook


def printed(cell: Any) -> str:
    """Return what a cell has printed, and the value of its last line, as text."""
    texts = []
    for output in cell.get("outputs", ()):
        text = output["text"] if output["output_type"] == "stream" else output["data"].get("text/plain", "")
        texts.append(text if text.endswith("\n") else f"{text}\n")
    return "".join(texts)


def store(path: Path) -> None:
    """Run a notebook, and write it with the outputs."""
    import nbformat

    notebook = executed(path)
    notebook.metadata = nbformat.from_dict(METADATA)
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        store(Path(argument).resolve())
