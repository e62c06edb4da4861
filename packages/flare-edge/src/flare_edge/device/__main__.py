"""A device of its own: ``python -m flare_edge.device LINK --csv FILE``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from flare_edge.device.client import Client, Task
from flare_edge.device.data import Examples, clusters, plane, read_csv, table_from
from flare_edge.device.filters import Filter, clip_to_norm, gaussian_noise
from flare_edge.device.programs import program_from
from flare_edge.device.run import run_device
from flare_edge.device.work import Answer, ProgramWork, Work
from flare_edge.errors import EdgeError


def main(arguments: list[str] | None = None) -> int:
    """Join a gateway and work until the run is over; return the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        with Client.join(
            options.link, name=options.name, credentials=options.credentials, patience_s=options.patience
        ) as client:
            done = run_device(
                client,
                _work(client.job["config"], options),
                filters=_filters(options),
                max_tasks=options.max_tasks,
                on_answer=_tell,
            )
    except EdgeError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"trained {done.trained} times, evaluated {done.evaluated} times\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m flare_edge.device", description=__doc__)
    parser.add_argument("link", help="the join link of a gateway, of 'flare edge invite'")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--csv", type=Path, help="a file of examples, see the documentation of devices")
    data.add_argument("--generate", type=int, metavar="SEED", help="make up examples, to rehearse")
    parser.add_argument("--rows", type=int, default=100, help="the number of examples to make up; 100 by default")
    parser.add_argument("--name", help="the device's name; the gateway makes one if left out")
    parser.add_argument("--credentials", type=Path, help="a file for the device's token, to go on after a restart")
    parser.add_argument(
        "--patience", type=float, default=300.0, metavar="S", help="seconds to wait for a gateway that is away; 300"
    )
    parser.add_argument("--clip", type=float, help="scale updates down to this L2 norm")
    parser.add_argument("--noise", type=float, help="add normal noise of this standard deviation to updates")
    parser.add_argument("--max-tasks", type=int, help="end after so many tasks")
    return parser


def _work(config: dict[str, object], options: argparse.Namespace) -> Work:
    program = config.get("program")
    if isinstance(program, dict) and program.get("kind") == "executorch":
        if options.csv is None:
            raise EdgeError("an ExecuTorch program does not say what its inputs mean; give --csv")
        from flare_edge.executorch import ExecutorchWork

        return ExecutorchWork(read_csv(options.csv, table_from(config)))
    return ProgramWork(_examples(config, options))


def _examples(config: dict[str, object], options: argparse.Namespace) -> Examples:
    if options.csv is not None:
        return read_csv(options.csv, table_from(config))
    program = program_from(config)
    inputs, outputs = program.layers[0], program.layers[-1]
    if program.loss == "squared_error":
        return plane(options.rows, inputs=inputs, outputs=outputs, seed=options.generate)
    return clusters(options.rows, inputs=inputs, classes=outputs, seed=options.generate)


def _filters(options: argparse.Namespace) -> list[Filter]:
    filters = [] if options.clip is None else [clip_to_norm(options.clip)]
    return filters if options.noise is None else [*filters, gaussian_noise(options.noise)]


def _tell(task: Task, answer: Answer) -> None:
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in answer.metrics.items())
    sys.stdout.write(f"version {task.version}: {task.kind}, {answer.num_examples} examples  {metrics}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
