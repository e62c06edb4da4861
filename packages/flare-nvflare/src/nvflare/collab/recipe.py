"""CollabRecipe: a collaboration as a job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from flare_core import RecipeError
from flare_core.job import ALL_SITES, SERVER
from nvflare._flare.parts import place_of
from nvflare.collab.party import PREPARE, CollabController, CollabExecutor, ModuleFunctions
from nvflare.job_config.api import FedJob
from nvflare.recipe.spec import Recipe


class _LateJob(FedJob):
    """A job that is completed when it is needed.

    Args:
        complete: adds the rest; called once.
    """

    def __init__(self, name: str, min_clients: int, complete: Callable[[], None]) -> None:
        super().__init__(name, min_clients)
        self._complete: Callable[[], None] | None = complete

    @property
    def is_complete(self) -> bool:
        """Nothing can be set any more."""
        return self._complete is None

    def form(self) -> Any:
        complete, self._complete = self._complete, None
        if complete is not None:
            complete()
        return super().form()


class CollabRecipe(Recipe):
    """A collaboration: the server's function ``main`` calls what sites publish, and they may call each other.

    Args:
        job_name: the name of the job.
        server, client: objects with marked functions, or modules; the calling module if they are left out.
        server_objects, client_objects: further objects by name, which are called with ``target=name``.
        sync_task_timeout: ignored, as are the numbers of threads.
        min_clients: the number of sites that must be there.

    Raises:
        RecipeError: a name is taken, or a module has no file.
    """

    def __init__(
        self,
        job_name: str,
        server: Any = None,
        client: Any = None,
        server_objects: Mapping[str, Any] | None = None,
        client_objects: Mapping[str, Any] | None = None,
        sync_task_timeout: float = 60,
        max_call_threads_for_server: int = 100,
        max_call_threads_for_client: int = 100,
        min_clients: int = 1,
        max_inbound_call_threads_for_server: int | None = None,
        max_outbound_call_threads_for_server: int | None = None,
        max_inbound_call_threads_for_client: int | None = None,
        max_outbound_call_threads_for_client: int | None = None,
    ) -> None:
        own = None if server is not None and client is not None else sys.modules[sys._getframe(1).f_globals["__name__"]]
        self._server = {"_server": own if server is None else server, **(server_objects or {})}
        self._client = {"_client": own if client is None else client, **(client_objects or {})}
        self._server_props: dict[str, Any] = {}
        self._client_props: dict[str, Any] = {}
        self._sites: dict[str, dict[str, Any]] = {}
        self._late = _LateJob(job_name, min_clients, self._complete)
        super().__init__(self._late)

    def set_server_prop(self, name: str, value: Any) -> None:
        """Set a property of the server, for ``collab.get_app_prop``.

        Raises:
            RecipeError: the job is made already.
        """
        self._check_open()
        self._server_props[name] = value

    def set_client_prop(self, name: str, value: Any) -> None:
        """Set a property of all sites; errors as those of :meth:`set_server_prop`."""
        self._check_open()
        self._client_props[name] = value

    def set_per_site_config(self, config: dict[str, dict[str, Any]]) -> None:
        """Set properties of single sites, which only they get, and name the sites; errors as above."""
        self._check_open()
        self._sites = {site: dict(values) for site, values in config.items()}

    def configured_sites(self) -> list[str]:
        """Return the sites that have properties of their own."""
        return list(self._sites)

    def _check_open(self) -> None:
        if self._late.is_complete:
            raise RecipeError("the job is made already; set properties before it is executed or exported")

    def _complete(self) -> None:
        job = self._late
        ids = [self._add(each, SERVER, name) for name, each in self._server.items()]
        job.to_server(CollabController(ids, self._server_props))
        for site in self._sites or [ALL_SITES]:
            ids = [self._add(each, site, name) for name, each in self._client.items()]
            props = {**self._client_props, **self._sites.get(site, {})}
            job.to(CollabExecutor(ids, props), site, tasks=[PREPARE])

    def _add(self, target: Any, party: str, name: str) -> str:
        """Add an object or a module to a party, and return its id."""
        if isinstance(target, ModuleType):
            file = getattr(target, "__file__", None)
            if file is None:
                raise RecipeError(f"the module {target.__name__} has no file; give objects as server and client")
            self._late.to(file, party)
            target = ModuleFunctions(".".join(Path(place_of(Path(file))).with_suffix("").parts))
        found: str = self._late.to(target, party, id=name)
        if found != name:
            raise RecipeError(f"{party} has another part that is called {name!r}; choose another name")
        return found
