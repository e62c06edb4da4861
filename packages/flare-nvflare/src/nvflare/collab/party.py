"""Party: one end of the calls of a collaboration, and the parts of a job that run it."""

from __future__ import annotations

import importlib
import inspect
import threading
from collections.abc import Callable, Mapping
from typing import Any

from flare_core import FlareError
from flare_core.errors import PartyError
from nvflare.apis.controller_spec import Task
from nvflare.apis.event_type import EventType
from nvflare.apis.executor import Executor
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.collab.calls import Call, CollabCallError, ContextKey, Options, handled
from nvflare.collab.facade import KIND

_CALL, _TELL, PREPARE = "nvflare.collab.call", "nvflare.collab.tell", "collab_prepare"
MAIN = ("_client", "_server", "client", "server")


class ModuleFunctions:
    """The functions of a module, in the place of an object.

    Args:
        module_name: the module.
    """

    def __init__(self, module_name: str) -> None:
        self.module_name = module_name

    def functions(self) -> dict[str, Callable[..., Any]]:
        """Return the module's functions by name."""
        return dict(inspect.getmembers(importlib.import_module(self.module_name), inspect.isfunction))


class Party:
    """One end of the calls.

    Args:
        engine: the party's engine.
        objects: by name, the objects whose functions others call; the main one is ``""``.
        props: properties.
    """

    def __init__(self, engine: Any, objects: Mapping[str, Any], props: Mapping[str, Any]) -> None:
        self.engine = engine
        self.name: str = engine.party
        self.props = dict(props)
        self._objects = dict(objects)
        engine.endpoint.handle(_CALL, self._on_call)
        engine.endpoint.handle(_TELL, self._on_tell)

    @property
    def sites(self) -> list[str]:
        """The names of the sites."""
        return [client.name for client in self.engine.get_clients()]

    def call(self, to: str, function: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], options: Options) -> Any:
        """Call a function at a party, which may be this one.

        Raises:
            CollabCallError: it failed there, is not published, or did not return in time.
        """
        payload = [options.target or "", function, list(args), dict(kwargs)]
        try:
            if not options.expect_result:
                if to == self.name:
                    self._on_tell(to, payload)
                else:
                    self.engine.endpoint.send(to, _TELL, payload)
                return None
            if to == self.name:
                return self._on_call(to, payload)
            return self.engine.endpoint.request(to, _CALL, payload, timeout_s=options.timeout)
        except (PartyError, TimeoutError) as error:
            raise CollabCallError(to, function, error) from error
        except Exception as error:
            if to != self.name:
                raise
            raise CollabCallError(to, function, error) from error

    def run(self, kind: str, props: dict[str, Any] | None = None) -> list[Any]:
        """Run the marked functions of all objects, one after the other, and return what they return.

        Args:
            kind: ``init``, ``main`` or ``final``.
            props: properties of the call, where each finds the result of the one before.
        """
        results = []
        props = {} if props is None else props
        for name, each in self._objects.items():
            for function in _functions(each, kind).values():
                results.append(handled(Call(self, self.name, self._callee(name), props), function))
                props[ContextKey.RESULT] = results[-1]
        return results

    def has(self, kind: str) -> bool:
        """Return True if some object has a function of a kind."""
        return any(_functions(each, kind) for each in self._objects.values())

    def _callee(self, name: str) -> str:
        return f"{self.name}.{name}" if name else self.name

    def _on_call(self, sender: str, payload: Any) -> Any:
        target, name, args, kwargs = payload
        target = "" if target in MAIN else target
        if target not in self._objects:
            known = ", ".join(each or "client" for each in self._objects)
            raise FlareError(f"{self.name} has no object {target!r}; it has {known}")
        function = _functions(self._objects[target], "publish").get(name)
        if function is None:
            kind = type(self._objects[target]).__name__
            raise FlareError(f"{self.name}: {kind} publishes no {name!r}; mark the function with @collab.publish")
        return handled(Call(self, sender, self._callee(target)), function, *args, **kwargs)

    def _on_tell(self, sender: str, payload: Any) -> None:
        def answer() -> None:
            try:
                self._on_call(sender, payload)
            except Exception as error:
                self.engine.context.fail(error)

        threading.Thread(target=answer, name="collab-call", daemon=True).start()


class CollabController(Controller):
    """Runs ``main`` at the server, once all sites are prepared.

    Args:
        objects: the ids of the components whose functions are called, the main one first.
        props: properties of the server.
    """

    def __init__(self, objects: list[str], props: Mapping[str, Any]) -> None:
        super().__init__()
        self.objects = objects
        self.props = props

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Accept calls."""
        self._party = _party(fl_ctx.get_engine(), self.objects, self.props)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Prepare, run ``main``, and finish.

        Raises:
            FlareError: there is no ``main``.
        """
        if not self._party.has("main"):
            raise FlareError("the server has no function to run; mark one with @collab.main")
        self._party.run("init")
        prepare = Task(PREPARE, Shareable())
        self.broadcast_and_wait(prepare, fl_ctx, min_responses=len(self._party.sites), abort_signal=abort_signal)
        props: dict[str, Any] = {}
        self._party.run("main", props)
        self._party.run("final", props)

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Do nothing: the functions have ended."""


class CollabExecutor(Executor):
    """Answers calls at a site; arguments as for :class:`CollabController`."""

    def __init__(self, objects: list[str], props: Mapping[str, Any]) -> None:
        super().__init__()
        self.objects = objects
        self.props = props

    def handle_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Accept calls from the start of the run, and finish at its end."""
        if event_type == EventType.START_RUN:
            self._party = _party(fl_ctx.get_engine(), self.objects, self.props)
        elif event_type == EventType.END_RUN:
            self._party.run("final")

    def execute(self, task_name: str, shareable: Shareable, fl_ctx: FLContext, abort_signal: Signal) -> Shareable:
        """Prepare."""
        self._party.run("init")
        return make_reply(ReturnCode.OK)


def _party(engine: Any, objects: list[str], props: Mapping[str, Any]) -> Party:
    names = ["", *objects[1:]]
    return Party(engine, {name: engine.get_component(id_) for name, id_ in zip(names, objects, strict=True)}, props)


def _functions(target: Any, kind: str) -> dict[str, Callable[..., Any]]:
    """Return the functions of an object that are marked, by name, in the order in which they are defined."""
    if isinstance(target, ModuleFunctions):
        return {name: each for name, each in target.functions().items() if getattr(each, KIND, None) == kind}
    names = dict.fromkeys(name for cls in reversed(type(target).__mro__) for name in vars(cls))
    marked = [name for name in names if getattr(getattr(type(target), name, None), KIND, None) == kind]
    return {name: getattr(target, name) for name in marked}
