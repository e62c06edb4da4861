"""The commands together, and how errors become messages and exit codes.

Commands import what is slow to load when they run, so that ``--help`` and completion are quick.
"""

from __future__ import annotations

import sys
from typing import Any

import typer

from flare_deploy.cli import (
    FAILED,
    INTERRUPTED,
    JOB_ABORTED,
    JOB_FAILED,
    federation,
    jobs,
    poc,
    recipes,
    running,
    runs,
    schemas,
)

__all__ = ["app", "run"]

app = typer.Typer(
    name="flare",
    help="Federated learning: many sites train one model while their data stays home.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 well, 1 failed, 2 wrong command line, 3 job failed, 4 job aborted, 130 interrupted.",
)
federation.add_to(app)
running.add_to(app)
app.command()(schemas.schema)
app.add_typer(jobs.app, name="job")
app.add_typer(federation.site_app, name="site")
app.add_typer(runs.app, name="runs")
app.add_typer(poc.app, name="poc")
app.add_typer(recipes.app, name="recipe")


def run() -> int:
    """Run the command line; return the exit code."""
    command: Any = typer.main.get_command(app)
    try:
        code = command.main(standalone_mode=False, prog_name="flare")
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            return _wrong_command_line(error)
        code = _code_of(error)
        if code is None:
            raise
        from flare_runtime.terminal import printable

        print(printable(f"error: {error}"), file=sys.stderr)
        return code


def _wrong_command_line(error: Any) -> int:
    """Show an error of the command line's library, which newer versions of typer bring themselves."""
    error.show()
    return int(error.exit_code)


def _code_of(error: Exception) -> int | None:
    """The exit code for an error that is told by its message alone; None for one that nobody has foreseen."""
    from flare_core.errors import FlareError, JobAborted, JobFailed

    if isinstance(error, JobFailed):
        return JOB_FAILED
    if isinstance(error, JobAborted):
        return JOB_ABORTED
    return FAILED if isinstance(error, FlareError | OSError) else None
