"""ScriptExecutor: runs a training script, which does the tasks by calling the Client API."""

from __future__ import annotations

import ast
import builtins
import sys
import traceback
import types
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from flare_core import ParamsType, RecipeError
from flare_runtime.errors import ScriptError
from flare_runtime.scripts.exchange import Exchange
from flare_runtime.scripts.external import run_external

if TYPE_CHECKING:
    from flare_runtime.scripts.task_queue import TaskQueue


class ScriptExecutor:
    """Runs one script for the whole run; the script receives the tasks and sends the replies.

    Args:
        script: the script's path within the job's code, or the absolute path of a script installed at the site.
        args: its command-line arguments.
        launch_external_process: run it in a process of its own.
        command: the command that starts such a process.
        params_transfer_type: FULL or DIFF.
        exchange_format: the type of the script's arrays: ``numpy``, ``pytorch`` or ``tensorflow``.

    Raises:
        RecipeError: ``args`` or ``command`` is a string instead of a list.
    """

    def __init__(
        self,
        *,
        script: str,
        args: Sequence[str] = (),
        launch_external_process: bool = False,
        command: Sequence[str] = ("python3", "-u"),
        params_transfer_type: str = ParamsType.FULL,
        exchange_format: str = "numpy",
    ) -> None:
        if isinstance(args, str) or isinstance(command, str):
            raise RecipeError("args and command of a ScriptExecutor are lists of strings, one for each argument")
        self.script = script
        self.args = list(args)
        self.launch_external_process = launch_external_process
        self.command = list(command)
        self.params_transfer_type = ParamsType(params_transfer_type)
        self.exchange_format = exchange_format

    def run(self, queue: TaskQueue) -> None:
        """Run the script until it ends.

        Raises:
            ScriptError: it failed, or ended before the run; carries its traceback or exit code.
        """
        path = self._locate(queue)
        if self.launch_external_process:
            settings = {
                "exchange_format": self.exchange_format,
                "params_transfer_type": self.params_transfer_type.value,
            }
            run_external(queue, [*self.command, *self._program(path), *self.args], settings, [path.parent])
        else:
            queue.exchange = Exchange(self.exchange_format, self.params_transfer_type, queue.context.warn)
            self._run_here(queue, path)
        if queue.owes_reply():
            raise ScriptError(
                f"{queue.site}: {self.script} returned {queue.progress} before the run was over; keep it in its"
                " 'while flare.is_running():' loop until that is false",
                site=queue.site,
            )

    def _locate(self, queue: TaskQueue) -> Path:
        path = Path(self.script)
        if not path.is_absolute():
            return queue.context.code.locate(self.script)
        if not path.is_file():
            raise ScriptError(
                f"{queue.site}: {path} is not installed here; the job expects it at every site, so install it, or give"
                " the recipe a local file, which is sent with the job",
                site=queue.site,
            )
        return path

    def _program(self, path: Path) -> list[str]:
        """Return the command's arguments for the script: its file, or ``-m`` and its module if it needs a package."""
        place = PurePosixPath(self.script)
        if len(place.parts) > 1 and not place.is_absolute() and place.suffix == ".py" and _imports_relatively(path):
            return ["-m", ".".join(place.with_suffix("").parts)]
        return [str(path)]

    def _run_here(self, queue: TaskQueue, path: Path) -> None:
        main = _main_module(path, self.script)
        queue.state.start_script(path, self.args, main)
        try:
            exec(_compiled(path), main.__dict__)
        except SystemExit as error:
            self._check_exit(queue, error)
        except BaseException as error:
            name = type(error).__name__
            raise ScriptError(
                f"{queue.site}: {self.script} failed {queue.progress} with {name}: {error}{_remedy(error, queue)}",
                site=queue.site,
                details=_traceback_of(error),
            ) from error
        finally:
            sys.stdout.flush()
            sys.stderr.flush()

    def _check_exit(self, queue: TaskQueue, error: SystemExit) -> None:
        code = error.code
        if code is None or code == 0:
            return  # equivalent to returning
        if queue.ended and isinstance(code, int):
            raise ScriptError(f"{queue.site}: {self.script} ended with exit code {code} after the run", site=queue.site)
        raise ScriptError(
            f"{queue.site}: {self.script} called sys.exit({code!r}) {queue.progress};"
            f" what it printed before is in the run's sites/{queue.site}/log.txt",
            site=queue.site,
            details=_traceback_of(error),
        ) from error


@lru_cache(maxsize=64)
def _compiled(path: Path) -> types.CodeType:
    return compile(path.read_bytes(), str(path), "exec", dont_inherit=True)


def _imports_relatively(path: Path) -> bool:
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return False  # the script's own process reports it
    return any(isinstance(node, ast.ImportFrom) and node.level > 0 for node in ast.walk(tree))


def _main_module(path: Path, script: str) -> types.ModuleType:
    module = types.ModuleType("__main__")
    package = "" if path.is_absolute() and str(path) == script else ".".join(PurePosixPath(script).parent.parts)
    attributes: dict[str, Any] = {
        "__file__": str(path),
        "__builtins__": builtins,
        "__package__": package or None,  # lets "from . import x" work in a script of a subfolder
        "__spec__": None,
    }
    module.__dict__.update(attributes)
    return module


def _remedy(error: BaseException, queue: TaskQueue) -> str:
    """Return advice for common errors."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return (
            f". Install it at {queue.site}, if it is a package; a module of the job's own is sent along if it is beside"
            " the script, or added with recipe.add_client_file(…)"
        )
    name = error.filename if isinstance(error, FileNotFoundError) else None
    if isinstance(name, str) and name and not PurePosixPath(name).is_absolute():
        return (
            f". Scripts run in the folder of their site, {queue.context.folder}; give absolute paths for data at the"
            " site, and find files beside the script with Path(__file__).parent"
        )
    if isinstance(error, EOFError) and "reading a line" in str(error):
        return ". Scripts have no terminal for input; pass values with train_args"
    return ""


def _traceback_of(error: BaseException) -> str:
    """Return the traceback without the frames that started the script."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return "".join(traceback.format_exception(type(error), error, trace)).rstrip()
