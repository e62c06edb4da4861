"""Calls between the parties of a collaboration: proxies, groups of them, and results."""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from flare_core import FlareError

if TYPE_CHECKING:
    from nvflare.collab.party import Party

DEFAULT_TIMEOUT_S = 60.0


class ContextKey:
    """Names of properties of a call."""

    RESULT = "result"


class CollabCallError(FlareError):
    """A call of a function at another party has failed.

    Args:
        site: the party.
        func_name: the function.
        cause: the error.
    """

    def __init__(self, site: str, func_name: str, cause: BaseException) -> None:
        super().__init__(f"{site}: the call of {func_name} failed: {cause}")
        self.site = site
        self.func_name = func_name
        self.cause = cause
        self.cause_type = type(cause).__name__


@dataclass
class Call:
    """A call that a party handles.

    Attributes:
        party: the party.
        caller: who called.
        callee: the party's name, and that of the object if it is not the main one.
        props: properties, as long as the call lasts.
    """

    party: Party
    caller: str
    callee: str
    props: dict[str, Any] = field(default_factory=dict)


_current: contextvars.ContextVar[Call] = contextvars.ContextVar("nvflare_collab_call")


def current() -> Call:
    """Return the call that is handled.

    Raises:
        FlareError: there is none.
    """
    found = _current.get(None)
    if found is None:
        raise FlareError("collab is known only while a function of a collaboration runs, such as one with @collab.main")
    return found


def handled(call: Call, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a function as the current call."""
    token = _current.set(call)
    try:
        return function(*args, **kwargs)
    finally:
        _current.reset(token)


@dataclass(frozen=True)
class Options:
    """How functions are called; see :meth:`Proxies.__call__`."""

    expect_result: bool = True
    blocking: bool = True
    timeout: float | None = DEFAULT_TIMEOUT_S
    target: str | None = None
    parallel: int = 0


@dataclass(frozen=True)
class Response:
    """A response, as a callback sees it: the party and the function."""

    target_name: str
    func_name: str


class Stream:
    """Results of calls as they come: pairs of a site and a value.

    Attributes:
        failures: by site, what has failed so far.
    """

    def __init__(self, futures: Mapping[Future[Any], str]) -> None:
        self._futures = futures
        self.failures: dict[str, CollabCallError] = {}

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        for each in as_completed(self._futures):
            try:
                yield self._futures[each], each.result()
            except CollabCallError as error:
                self.failures[error.site] = error


class Results(list[tuple[str, Any]]):
    """Results of calls: pairs of a site and a value, in the order of the sites.

    Attributes:
        failures: by site, what has failed.
    """

    failures: dict[str, CollabCallError]


class Proxy:
    """Another party; its published functions are methods.

    Args:
        party: this party.
        name: the other.
        options: how functions are called.
    """

    def __init__(self, party: Party, name: str, options: Options | None = None) -> None:
        self._party = party
        self.name = name
        self._options = options or Options()

    def __call__(self, **options: Any) -> Proxy:
        """Return the party with other options; see :meth:`Proxies.__call__`."""
        return Proxy(self._party, self.name, replace(self._options, **_known(options)))

    def __getattr__(self, function: str) -> Callable[..., Any]:
        if function.startswith("_"):
            raise AttributeError(function)

        def method(*args: Any, **kwargs: Any) -> Any:
            return self._party.call(self.name, function, args, kwargs, self._options)

        return method

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Proxy) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Proxies:
    """Other parties, whose published functions are called all at once.

    They can be indexed and iterated, but are no Sequence, whose ``count`` and ``index`` would hide functions of sites.

    Args:
        party: this party.
        proxies: the others.
        options: how functions are called.
        callback: handles each response, see :meth:`__call__`.
    """

    def __init__(
        self,
        party: Party,
        proxies: Sequence[Proxy],
        options: Options | None = None,
        callback: Callable[[Response, Any], Any] | None = None,
    ) -> None:
        self._party = party
        self._proxies = list(proxies)
        self._options = options or Options()
        self._callback = callback

    def __getitem__(self, index: Any) -> Any:
        return self._proxies[index]

    def __len__(self) -> int:
        return len(self._proxies)

    def __iter__(self) -> Iterator[Proxy]:
        return iter(self._proxies)

    def __call__(
        self,
        process_resp_cb: Callable[..., Any] | None = None,
        secure: bool = False,
        optional: bool = False,
        **options: Any,
    ) -> Proxies:
        """Return the same parties with other options.

        Args:
            process_resp_cb: called with a :class:`Response`, the value and further arguments as each comes, on any
                thread; returns the value to use instead.
            secure, optional: ignored: all messages are secure.
            options: ``expect_result`` (False: do not wait), ``blocking`` (False: return a :class:`Stream`),
                ``timeout`` in seconds, ``target`` (the name of the object to call), ``parallel`` (how many calls at a
                time; 0 for all), and further arguments for ``process_resp_cb``.
        """
        known = {name: value for name, value in options.items() if name in Options.__dataclass_fields__}
        more = {name: value for name, value in options.items() if name not in known}
        callback = None if process_resp_cb is None else lambda response, value: process_resp_cb(response, value, **more)
        if more and callback is None:
            _known(more)
        return Proxies(self._party, self._proxies, replace(self._options, **known), callback)

    def __getattr__(self, function: str) -> Callable[..., Any]:
        if function.startswith("_"):
            raise AttributeError(function)

        def method(*args: Any, **kwargs: Any) -> Any:
            return self._call(function, args, kwargs)

        return method

    def _call(self, function: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Results | Stream | None:
        def one(name: str) -> Any:
            value = self._party.call(name, function, args, kwargs, self._options)
            if self._callback is None or not self._options.expect_result:
                return value
            answer = Call(self._party, name, self._party.name)
            return handled(answer, self._callback, Response(name, function), value)

        pool = ThreadPoolExecutor(self._options.parallel or max(1, len(self._proxies)))
        context = contextvars.copy_context()
        futures = {pool.submit(context.copy().run, one, each.name): each.name for each in self._proxies}
        pool.shutdown(wait=False)
        stream = Stream(futures)
        if self._options.expect_result and not self._options.blocking:
            return stream
        by_site = dict(stream)
        if not self._options.expect_result:
            return None
        found = Results((each.name, by_site[each.name]) for each in self._proxies if each.name in by_site)
        found.failures = stream.failures
        return found


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return options of a call.

    Raises:
        TypeError: one is unknown.
    """
    kept = {name: value for name, value in options.items() if name not in ("secure", "optional")}
    if unknown := sorted(kept.keys() - Options.__dataclass_fields__.keys()):
        known = ", ".join(Options.__dataclass_fields__)
        raise TypeError(f"a call has no option {unknown[0]!r}; there are {known}")
    return kept
