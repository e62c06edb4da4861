"""Run the benchmarks' commands and collect their measurements."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from measure import BenchError, Measured, measure

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PYTHON = Path(sys.executable)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: the work.
        figures: the formatted measurement by system.
        promise: the project's promise; empty if there is none.
        kept: True if the promise is kept; None if there is none.
    """

    what: str
    figures: dict[str, str]
    promise: str = ""
    kept: bool | None = None


@dataclass(frozen=True)
class Runner:
    """A runner of commands in a separate folder, which reports them on stderr.

    Attributes:
        folder: the folder for the files of runs.
        repeat: number of timings of a pair of commands.
        peers: folders of the existing environments of other systems, by name.
    """

    folder: Path
    repeat: int
    peers: dict[str, Path]

    def run(
        self,
        label: str,
        *command: str | Path | int,
        weigh: bool = False,
        python: Path = PYTHON,
        cwd: Path | None = None,
    ) -> Measured:
        """Run Python with these arguments, once."""
        print(f"  {label}{' (memory)' if weigh else ''} …", end="", file=sys.stderr, flush=True)
        env = {
            "BENCH_DATA": str(self.folder),
            "FLWR_TELEMETRY_ENABLED": "0",
            "RAY_DEDUP_LOGS": "0",
            "PYTHONPATH": str(cwd or HERE / "mlp"),
            "PYTHONDONTWRITEBYTECODE": "",  # keep compiled files, as for users
        }
        words = [python, *(str(word) for word in command)]
        measured = measure(words, folder=cwd or self.folder, env=env, weigh=weigh)
        print(f" {measured.wall:.1f} s", file=sys.stderr)
        return measured

    def pairs(self, ours: Callable[[], Measured], other: Callable[[], Measured]) -> list[tuple[Measured, Measured]]:
        """Run two commands alternately, so that changes in the machine's speed affect both."""
        return [(ours(), other()) for _ in range(self.repeat)]

    def in_peer(
        self, peer: str, label: str, *command: str | Path | int, cwd: Path, weigh: bool = False
    ) -> Measured | None:
        """Run a script in another system's environment; None, with a note, if it fails or is missing."""
        if peer not in self.peers:
            return None
        try:
            python = self.peers[peer] / "bin" / "python"
            return self.run(f"{peer}: {label}", *command, python=python, cwd=cwd, weigh=weigh)
        except BenchError as error:
            print(f" failed\n{error}", file=sys.stderr)
            return None


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> str:
    """Format the median with the minimum and maximum in brackets."""
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"
