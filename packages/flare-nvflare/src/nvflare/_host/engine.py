"""Engine: one party's components, their events and their messages to other parties."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from flare_core import FlareError
from flare_core.errors import PartyError
from flare_core.service import JobContext
from nvflare._flare.names import not_provided
from nvflare._host.build import build_component
from nvflare.apis.analytix import ANALYTIC_EVENT_TYPE, AnalyticsData
from nvflare.apis.client import Client
from nvflare.apis.dxo import from_shareable
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_component import FLComponent
from nvflare.apis.fl_constant import (
    EventScope,
    FedEventHeader,
    FLContextKey,
    ReservedKey,
    ReturnCode,
)
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import ReservedHeaderKey, Shareable, make_reply
from nvflare.apis.signal import Signal
from nvflare.apis.workspace import Workspace

logger = logging.getLogger("nvflare")

SERVER = "server"
_AUX, _EVENT = "nvflare.aux", "nvflare.event"
_engines: dict[tuple[str, str], Engine] = {}

AuxHandler = Callable[[str, Shareable, FLContext], Shareable]


class PanicError(FlareError):
    """A component has ended the run with :meth:`FLComponent.system_panic`."""


class RunSignal(Signal):
    """Is triggered when the run is over or aborted."""

    def __init__(self, cancelled: threading.Event) -> None:
        super().__init__()
        self._cancelled = cancelled

    @property
    def triggered(self) -> bool:
        """True once the run ends."""
        return self._cancelled.is_set() or super().triggered


class Engine:
    """One party in a run, as its components see it through ``fl_ctx.get_engine()``.

    Args:
        context: the party's part of the run.
        components: the descriptions of the components.
        variables: values for ``{name}`` in their arguments.
        meta: the job's ``meta.json``.
        filtered: the tasks that there are filters for, which fire events of their own, by chain.
    """

    def __init__(
        self,
        context: JobContext,
        components: Sequence[Mapping[str, Any]],
        variables: Mapping[str, Any],
        meta: Mapping[str, Any],
        filtered: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.context = context
        self._filtered = dict(filtered or {})
        self.party = context.party
        self.job_id = job_id_of(context.job_id)
        self.endpoint = context.endpoint
        self.abort_signal = RunSignal(context.cancelled)
        self._aux: dict[str, AuxHandler] = {}
        self._components: dict[str, Any] = {}
        self._handlers: list[FLComponent] = []
        self._firing = threading.RLock()
        self._ended = False
        self.panic: PanicError | None = None
        root = context.folder
        self.workspace = Workspace(str(root), self.party)
        self.variables = {
            "SITE_NAME": self.party,
            "WORKSPACE": str(root),
            "JOB_ID": self.job_id,
            "JOB_CUSTOM_DIR": self.workspace.get_app_custom_dir(self.job_id),
            "JOB_CONFIG_DIR": self.workspace.get_app_config_dir(self.job_id),
            "SECURE_MODE": False,
            "ROOT_URL": "",
            "CP_URL": "",
            "RELAY_URL": "",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
            **variables,
        }
        stickers = {
            FLContextKey.WORKSPACE_ROOT: str(root),
            FLContextKey.WORKSPACE_OBJECT: self.workspace,
            FLContextKey.APP_ROOT: self.workspace.get_app_dir(self.job_id),
            FLContextKey.ARGS: None,
            FLContextKey.SECURE_MODE: False,
            FLContextKey.SIMULATE_MODE: self.job_id == "simulate_job",
            ReservedKey.RUN_ABORT_SIGNAL: self.abort_signal,
            ReservedKey.JOB_META: dict(meta),
            ReservedKey.RUNNER: self,
            ReservedKey.PROCESS_TYPE: "SJ" if self.party == SERVER else "CJ",
            **({} if self.party == SERVER else {ReservedKey.CLIENT_NAME: self.party}),
        }
        self._contexts = FLContextManager(self, self.party, self.job_id, {}, stickers)
        for index, entry in enumerate(components):
            self.add_component(str(entry.get("id", f"component_{index}")), self.build_component(entry))
        self.endpoint.handle(_AUX, self._on_aux)
        self.endpoint.handle(_EVENT, self._on_event)
        _engines[context.job_id, self.party] = self

    @property
    def registered_id(self) -> str:
        """The id of the run as Flare knows it."""
        return self.context.job_id

    def close(self) -> None:
        """Forget the party."""
        _engines.pop((self.context.job_id, self.party), None)

    # Components

    def build_component(self, config_dict: Any) -> Any:
        """Create a component from its description."""
        return build_component(config_dict, self.variables)

    def add_component(self, component_id: str, component: Any) -> None:
        """Add a component, which handles events from now on."""
        self._components[component_id] = component
        self.add_handler(component)

    def add_handler(self, component: Any) -> None:
        """Let a component handle events, if it can."""
        if isinstance(component, FLComponent) and not any(each is component for each in self._handlers):
            self._handlers.append(component)

    def get_component(self, component_id: str) -> Any:
        """Return a component; None if there is none of that id."""
        return self._components.get(component_id)

    def get_all_components(self) -> dict[str, Any]:
        """Return the components by id."""
        return self._components

    def get_widget(self, widget_id: str) -> Any:
        """Return a component; None if there is none of that id."""
        return self._components.get(widget_id)

    # Contexts and events

    def new_context(self) -> FLContext:
        """Return a new context of this party."""
        return self._contexts.new_context()

    def get_workspace(self) -> Workspace:
        """Return the party's folders."""
        return self.workspace

    def fire_event(self, event_type: str, fl_ctx: FLContext) -> None:
        """Let all components handle an event, one after the other; what one of them raises ends the run."""
        with self._firing:
            for each in list(self._handlers):
                each.handle_event(event_type, fl_ctx)
                for handler, arguments in each.get_event_handlers().get(event_type, ()):
                    handler(event_type, fl_ctx, **arguments)
        if self.party != SERVER and event_type in (ANALYTIC_EVENT_TYPE, f"fed.{ANALYTIC_EVENT_TYPE}"):
            self._log(fl_ctx)
        if event_type == EventType.FATAL_SYSTEM_ERROR:
            self._panic(str(fl_ctx.get_prop(FLContextKey.EVENT_DATA)))
        elif fl_ctx.get_prop(FLContextKey.EVENT_SCOPE) == EventScope.FEDERATION:
            data = fl_ctx.get_prop(FLContextKey.EVENT_DATA)
            fl_ctx.set_prop(FLContextKey.EVENT_SCOPE, EventScope.LOCAL, private=True, sticky=False)
            if isinstance(data, Shareable):
                self._send_event(event_type, data, fl_ctx)

    def has_filters(self, chain: str, task: str) -> bool:
        """Return True if a chain, such as ``task_data_filters``, has filters for a task."""
        names = self._filtered.get(chain, ())
        return "*" in names or task in names

    def end(self) -> None:
        """Fire the last events of the run, once."""
        if not self._ended:
            self._ended = True
            for event in (EventType.ABOUT_TO_END_RUN, EventType.CHECK_END_RUN_READINESS, EventType.END_RUN):
                self.fire(event)
            if (pools := sys.modules.get("nvflare.fuel.f3.stats_pool")) is not None:
                pools.StatsPoolManager.end(self.party, Path(self.workspace.get_run_dir(self.job_id)))

    def fire(self, event: str) -> None:
        """Fire an event of the run itself."""
        context = self.new_context()
        context.set_prop(FLContextKey.EVENT_SCOPE, EventScope.LOCAL, private=True, sticky=False)
        self.fire_event(event, context)

    def _log(self, fl_ctx: FLContext) -> None:
        """Record a number that a component of this site has logged."""
        data = fl_ctx.get_prop(FLContextKey.EVENT_DATA)
        if isinstance(data, Shareable):
            logged = AnalyticsData.from_dxo(from_shareable(data))
            if logged is not None and isinstance(logged.value, int | float):
                self.context.log(logged.tag, float(logged.value))

    def _panic(self, reason: str) -> None:
        self.panic = self.panic or PanicError(reason)
        self.abort_signal.trigger(reason)
        self.context.fail(self.panic)

    def _send_event(self, event_type: str, data: Shareable, fl_ctx: FLContext) -> None:
        targets = data.get_header(FedEventHeader.TARGETS) or None
        names = [SERVER] if self.party != SERVER else names_of(targets) or list(self._sites())
        data.set_header(FedEventHeader.EVENT_TYPE, event_type)
        data.set_header(FedEventHeader.ORIGIN, self.party)
        for name in names:
            try:
                self.endpoint.send(name, _EVENT, [event_type, data])
            except PartyError as error:
                if not self.abort_signal.triggered:
                    logger.warning("event %s did not reach %s: %s", event_type, name, error)

    def _on_event(self, sender: str, payload: Any) -> None:
        event_type, data = payload
        context = self.new_context()
        context.set_peer_context(peer_context(sender, self.job_id))
        data.set_peer_props(peer_props(sender, self.job_id))
        context.set_prop(FLContextKey.EVENT_DATA, data, private=True, sticky=False)
        context.set_prop(FLContextKey.EVENT_ORIGIN_SITE, sender, private=True, sticky=False)
        context.set_prop(FLContextKey.EVENT_SCOPE, EventScope.LOCAL, private=True, sticky=False)
        try:
            self.fire_event(event_type, context)
        except Exception as error:
            self.context.fail(error)

    # Other parties

    def _sites(self) -> tuple[str, ...]:
        return tuple(name for name in self.endpoint.parties if name != SERVER)

    def get_clients(self) -> list[Client]:
        """Return the sites of the run."""
        return [Client(name, name) for name in self._sites()]

    def get_client_from_name(self, client_name: str) -> Client | None:
        """Return a site; None if it is not one of the run."""
        return Client(client_name, client_name) if client_name in self._sites() else None

    def validate_targets(self, client_names: Iterable[str]) -> tuple[list[Client], list[str]]:
        """Return those of the names that are sites, and the others."""
        names = list(client_names)
        return [Client(name, name) for name in names if name in self._sites()], [
            name for name in names if name not in self._sites()
        ]

    def get_participating_clients(self) -> dict[str, Client]:
        """Return the sites of the run by name."""
        return {client.name: client for client in self.get_clients()}

    def get_job_clients(self, fl_ctx: FLContext) -> None:
        """Do nothing: the sites of the run are always known."""

    def register_aux_message_handler(self, topic: str, message_handle_func: AuxHandler) -> None:
        """Handle messages of a topic, with a function that returns the reply."""
        self._aux[topic] = message_handle_func

    def send_aux_request(
        self,
        targets: Any = None,
        topic: str = "",
        request: Shareable | None = None,
        timeout: float = 2.0,
        fl_ctx: FLContext | None = None,
        optional: bool = False,
        secure: bool = False,
        **others: Any,
    ) -> Any:
        """Send a message to other parties and return their replies by name.

        Args:
            targets: the parties; the server if left out at a site, all sites if left out at the server.
            topic: what the message is about.
            request: the message.
            timeout: seconds to wait for the replies.
            fl_ctx: the context, whose public properties are sent along.
            optional: whether it does not matter if it fails.
            secure: protect the message on its way; it is anyway.
            others: ignored.
        """
        names = names_of(targets) or ([SERVER] if self.party != SERVER else list(self._sites()))
        return self.multicast_aux_requests(topic, dict.fromkeys(names, request or Shareable()), timeout, fl_ctx)

    def multicast_aux_requests(
        self,
        topic: str,
        target_requests: Mapping[str, Shareable],
        timeout: float = 2.0,
        fl_ctx: FLContext | None = None,
        optional: bool = False,
        secure: bool = False,
    ) -> dict[str, Shareable]:
        """Send a message of its own to each party and return their replies by name."""
        if len(target_requests) == 1:
            return {name: self._request(name, topic, each, timeout, fl_ctx) for name, each in target_requests.items()}
        with ThreadPoolExecutor(max_workers=max(1, min(len(target_requests), 32))) as pool:
            sent = {
                name: pool.submit(self._request, name, topic, each, timeout, fl_ctx)
                for name, each in target_requests.items()
            }
        return {name: each.result() for name, each in sent.items()}

    def fire_and_forget_aux_request(
        self,
        targets: Any = None,
        topic: str = "",
        request: Shareable | None = None,
        fl_ctx: FLContext | None = None,
        optional: bool = False,
        secure: bool = False,
        **others: Any,
    ) -> None:
        """Send a message to other parties without waiting for replies."""
        names = names_of(targets) or ([SERVER] if self.party != SERVER else list(self._sites()))
        for name in names:
            if name == self.party:
                self.dispatch(topic, request or Shareable(), fl_ctx or self.new_context())
            else:
                self.endpoint.send(name, _AUX, [topic, request or Shareable(), _public(fl_ctx)])

    def dispatch(self, topic: str, request: Shareable, fl_ctx: FLContext) -> Shareable:
        """Handle a message here."""
        handler = self._aux.get(topic)
        return make_reply(ReturnCode.TOPIC_UNKNOWN) if handler is None else handler(topic, request, fl_ctx)

    def _request(
        self, name: str, topic: str, request: Shareable, timeout: float, fl_ctx: FLContext | None
    ) -> Shareable:
        if name == self.party:
            return self.dispatch(topic, request, fl_ctx or self.new_context())
        try:
            reply = self.endpoint.request(name, _AUX, [topic, request, _public(fl_ctx)], timeout_s=timeout or None)
        except TimeoutError:
            reply = make_reply(ReturnCode.TIMEOUT)
        except PartyError as error:
            reply = make_reply(ReturnCode.COMMUNICATION_ERROR, {ReservedHeaderKey.ERROR: str(error)})
        if not isinstance(reply, Shareable):
            reply = make_reply(ReturnCode.OK)
        reply.set_peer_props(peer_props(name, self.job_id))
        return reply

    def _on_aux(self, sender: str, payload: Any) -> Any:
        topic, request, props = payload
        context = self.new_context()
        props = {**props, **peer_props(sender, self.job_id)}  # the name is proved, not claimed
        peer = FLContext()
        peer.set_public_props(props)
        context.set_peer_context(peer)
        request.set_peer_props(props)
        request.set_header(ReservedHeaderKey.TOPIC, topic)
        try:
            return self.dispatch(topic, request, context)
        except Exception as error:
            self.context.fail(error)
            return make_reply(ReturnCode.HANDLER_EXCEPTION, {ReservedHeaderKey.ERROR: str(error)})

    # What components ask for, and Flare does itself

    def persist_components(self, fl_ctx: FLContext, completed: bool) -> None:
        """Do nothing: Flare keeps the states of components at the end of each round itself."""

    def restore_components(self, snapshot: Any, fl_ctx: FLContext) -> None:
        """Do nothing: Flare keeps the state of runs itself."""

    def get_cell(self) -> Any:
        """Return the party's access to the others, for what takes a cell."""
        return self

    def get_fqcn(self) -> str:
        """Return the party's address."""
        return self.party

    def stream_objects(self, *arguments: Any, **named: Any) -> Any:
        """Refuse to send objects that a producer makes.

        Raises:
            NotProvidedError: always; says what to use instead.
        """
        raise not_provided(
            "engine.stream_objects()",
            "a ContainerRetriever, a FileRetriever and a FileStreamer send what is large; other objects go through"
            " flare_core.JobEndpoint.open_stream",
        )

    def register_stream_processing(self, *arguments: Any, **named: Any) -> None:
        """Refuse to take objects that a producer makes.

        Raises:
            NotProvidedError: always; says what to use instead.
        """
        self.stream_objects()


def engine_of(job_id: str, party: str) -> Engine | None:
    """Return the engine of a party in a run that this process serves; None if it has none."""
    return _engines.get((job_id, party))


def job_id_of(job_id: str) -> str:
    """Return the id of a run as components see it: that of a simulation is the same in all of them."""
    return "simulate_job" if "/" in job_id else job_id


def names_of(targets: Any) -> list[str]:
    """Return the names of targets that are given as one or several names or clients."""
    if targets is None:
        return []
    each = [targets] if isinstance(targets, str | Client) else list(targets)
    return [one.name if isinstance(one, Client) else str(one) for one in each]


def peer_props(sender: str, job_id: str) -> dict[str, Any]:
    """Return the public properties that every party has."""
    return {ReservedKey.IDENTITY_NAME: sender, ReservedKey.RUN_NUM: job_id}


def peer_context(sender: str, job_id: str) -> FLContext:
    """Return the context of another party."""
    context = FLContext()
    context.set_public_props(peer_props(sender, job_id))
    return context


def _public(fl_ctx: FLContext | None) -> dict[str, Any]:
    plain = (str, int, float, bool, type(None))
    props = {} if fl_ctx is None else fl_ctx.get_all_public_props()
    return {key: value for key, value in props.items() if isinstance(value, plain)}
