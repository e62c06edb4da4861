"""The commands of ``flare``, and the conversion of errors to messages and exit codes.

Commands import slow modules when they run, so that ``--help`` and completion are fast. Installed packages add commands
in the entry-point group ``flare.commands``. Such a package is imported when its command runs; until then, the package's
summary is shown as the command's help.
"""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Any

import typer
from typer.core import TyperGroup

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

GROUP = "flare.commands"


class _Commands(TyperGroup):
    """The commands below, and those that packages add, which never replace one of them."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        added = entry_points(group=GROUP)  # flare_core.extensions would import numpy, for which --help should not wait
        self._added = {entry.name: entry for entry in added if entry.name not in self.commands}
        for name, entry in sorted(self._added.items()):
            summary = None if entry.dist is None else entry.dist.metadata["Summary"]
            self.add_command(_command(lambda: None, name, help=summary or f"From {entry.module}."))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is about to run, if a package adds it."""
        if args[0] in self._added:
            from flare_core.extensions import find, load

            self.add_command(_command(load(find(GROUP, args[0])), args[0]))
        return super().resolve_command(ctx, args)


def _command(made_of: Any, name: str, **settings: Any) -> Any:
    """Return the command for a function or a typer.Typer."""
    holder = typer.Typer(add_completion=False)
    if isinstance(made_of, typer.Typer):
        holder.add_typer(made_of, name=name)
        return typer.main.get_group(holder).commands[name]
    holder.command(name, **settings)(made_of)
    return typer.main.get_command(holder)


app = typer.Typer(
    name="flare",
    cls=_Commands,
    help="Federated learning: many sites train one model while their data stays home.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 success, 1 failure, 2 wrong command line, 3 job failed, 4 job aborted, 130 interrupted.",
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
    """Show an error of click, which newer versions of typer contain a copy of."""
    error.show()
    return int(error.exit_code)


def _code_of(error: Exception) -> int | None:
    """Return the exit code for an error whose message is enough; None for one that needs a traceback."""
    from flare_core.errors import FlareError, JobAborted, JobFailed

    if isinstance(error, JobFailed):
        return JOB_FAILED
    if isinstance(error, JobAborted):
        return JOB_ABORTED
    return FAILED if isinstance(error, FlareError | OSError) else None
