"""Commands of the benchmarks, and how often each is run."""

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
        figures: by system, what was measured, ready to print.
        promise: what the project holds itself to; empty if nothing.
        kept: whether it does; None if nothing was promised.
    """

    what: str
    figures: dict[str, str]
    promise: str = ""
    kept: bool | None = None


@dataclass(frozen=True)
class Runner:
    """Runs commands in a folder of their own and says on stderr which one.

    Attributes:
        folder: for what the runs write.
        repeat: how many times a pair of commands is timed.
        peers: folders of other systems' environments by name; those that were made.
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
            "PYTHONDONTWRITEBYTECODE": "",  # compiled files are kept, as they are where users work
        }
        words = [python, *(str(word) for word in command)]
        measured = measure(words, folder=cwd or self.folder, env=env, weigh=weigh)
        print(f" {measured.wall:.1f} s", file=sys.stderr)
        return measured

    def pairs(self, ours: Callable[[], Measured], other: Callable[[], Measured]) -> list[tuple[Measured, Measured]]:
        """Run two commands in turn, so that a machine that slows down does so for both."""
        return [(ours(), other()) for _ in range(self.repeat)]

    def in_peer(
        self, peer: str, label: str, *command: str | Path | int, cwd: Path, weigh: bool = False
    ) -> Measured | None:
        """Run a script in another system's environment; None, with a note, if it fails or was not made."""
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
    """The median, and in brackets the least and the most."""
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"
