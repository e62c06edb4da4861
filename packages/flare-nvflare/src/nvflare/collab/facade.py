"""``collab``: marks functions of a collaboration, and knows the call that is handled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from flare_core import FlareError
from nvflare._host.engine import SERVER
from nvflare.collab.calls import ContextKey, Proxies, Proxy, current

KIND = "_collab_kind"
Function = TypeVar("Function", bound=Callable[..., Any])


def _marks(kind: str) -> Callable[[Function], Function]:
    def mark(function: Function) -> Function:
        setattr(function, KIND, kind)
        return function

    return mark


class Collab:
    """Marks functions of a collaboration, and knows the call that is handled."""

    publish = staticmethod(_marks("publish"))
    init = staticmethod(_marks("init"))
    main = staticmethod(_marks("main"))
    final = staticmethod(_marks("final"))

    @property
    def site_name(self) -> str:
        """This party's name."""
        return current().party.name

    @property
    def caller(self) -> str:
        """The name of the party that called."""
        return current().caller

    @property
    def callee(self) -> str:
        """The name of what was called: this party, and the object if it is not the main one."""
        return current().callee

    @property
    def call_info(self) -> str:
        """A text with both."""
        return f"{self.site_name}:{self.caller}=>{self.callee}"

    @property
    def server(self) -> Proxy:
        """The server."""
        return Proxy(current().party, SERVER)

    @property
    def clients(self) -> Proxies:
        """All sites."""
        return self.get_clients(current().party.sites)

    @property
    def leaf_clients(self) -> Proxies:
        """All sites; none is below another."""
        return self.clients

    @property
    def other_clients(self) -> Proxies:
        """All sites but this one."""
        return self.get_clients([name for name in current().party.sites if name != self.site_name])

    def get_clients(self, names: Sequence[str]) -> Proxies:
        """Return sites by their names.

        Raises:
            FlareError: there is none of a name.
            TypeError: a single name is given instead of a list.
        """
        party = current().party
        if isinstance(names, str):
            raise TypeError(f"get_clients() takes a list of names; write [{names!r}]")
        if unknown := [name for name in names if name not in party.sites]:
            raise FlareError(f"there is no site {unknown[0]!r}; the sites are {', '.join(party.sites)}")
        return Proxies(party, [Proxy(party, name) for name in names])

    @property
    def is_aborted(self) -> bool:
        """The run is over or aborted."""
        return bool(current().party.engine.abort_signal.triggered)

    @property
    def workspace(self) -> Any:
        """This party's folders."""
        return current().party.engine.get_workspace()

    @property
    def fl_ctx(self) -> Any:
        """A context of the run."""
        return current().party.engine.new_context()

    @staticmethod
    def get_app_prop(name: str, default: Any = None) -> Any:
        """Return a property of this party, as the recipe or :meth:`set_app_prop` has set it."""
        return current().party.props.get(name, default)

    @staticmethod
    def set_app_prop(name: str, value: Any) -> None:
        """Set a property of this party, until the run ends."""
        current().party.props[name] = value

    @staticmethod
    def get_prop(name: str, default: Any = None) -> Any:
        """Return a property of the call."""
        return current().props.get(name, default)

    @staticmethod
    def set_prop(name: str, value: Any) -> None:
        """Set a property of the call."""
        current().props[name] = value

    def get_result(self, default: Any = None) -> Any:
        """Return the result of the function ``main`` before this one."""
        return self.get_prop(ContextKey.RESULT, default)


collab = Collab()
