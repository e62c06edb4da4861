"""WorkflowRecipe: a job with a custom workflow and custom executors."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_core.code import calling_folder, collect_code
from flare_core.components import Component, import_class
from flare_core.errors import RecipeError
from flare_core.executor import Executor
from flare_core.job import ClientApp, CodeBundle, ExecutorEntry, Job, ServerApp
from flare_core.recipe import Recipe, check_component
from flare_core.workflow import Workflow


@dataclass(kw_only=True, eq=False, repr=False)
class WorkflowRecipe(Recipe):
    """A job with your own workflow at the server and your own executors at the sites.

    The modules of their classes, and the modules that these import, are sent with the job if they are in the folder of
    the file that creates the recipe or below it; others must be installed everywhere. Outside the simulator, the
    classes cannot be defined in that file itself.

    Args:
        workflow: an object, of which each run gets a copy, or ``{"class_path", "args"}``.
        executors: the executors of every site, by the name of the task; ``*`` means all other tasks.
        round_deadline_s: seconds after which a conversation continues without sites that have not replied, if its
            quorum has. None waits for all.
        reconnect_grace_s: seconds to wait while too few sites are connected before the run fails.
        seed: seeds ``fed.random``.

    Raises:
        RecipeError: an argument is unusable; names it, its value and the remedy.

    Example:
        recipe = WorkflowRecipe(
            min_clients=2,
            workflow=Survey(questions=3),
            executors={"ask": Answer()},
        )
    """

    name: str = "workflow"
    workflow: Any
    executors: Mapping[str, Any]
    round_deadline_s: float | None = None
    reconnect_grace_s: float | None = None
    seed: int = 0

    def _check(self) -> None:
        super()._check()
        self._folder = calling_folder()
        self._workflow, _ = check_component(self.workflow, "workflow", Workflow)
        if not isinstance(self.executors, Mapping) or not self.executors:
            raise RecipeError(f"executors is {self.executors!r}; give a dict of Executors by task name")
        made = {
            id(each): check_component(each, f"executors[{task!r}]", Executor)[0]
            for task, each in self.executors.items()
        }
        self._entries = [
            ExecutorEntry(tuple(task for task, each in self.executors.items() if id(each) == identity), component)
            for identity, component in made.items()
        ]
        self._entries.sort(key=lambda entry: "*" in entry.tasks)

    def build(self) -> Job:
        parts = [self._workflow, *(entry.executor for entry in self._entries)]
        files = list(dict.fromkeys(file for part in parts if (file := module_file(part, self._folder)) is not None))
        return Job(
            name=self.name,
            min_clients=self.min_clients,
            server=ServerApp(workflows=[self._workflow]),
            client=ClientApp(executors=list(self._entries)),
            code=collect_code(files, self._folder) if files else CodeBundle(self._folder),
            seed=self.seed,
        )


def module_file(part: Component, folder: Path) -> Path | None:
    """Return the file of a component's module if it is below ``folder`` and not the file that runs.

    Args:
        part: the component.
        folder: the folder of the file that makes the recipe.
    """
    cls = type(part.instance) if part.instance is not None else import_class(part.class_path)
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    path = None if file is None or cls.__module__ == "__main__" else Path(file).resolve()
    is_own = path is not None and path.is_relative_to(folder) and not {"site-packages"} & set(path.parts)
    return path if is_own else None
