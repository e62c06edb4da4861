"""FLContext, through which the components of a party share properties.

A *sticky* property is seen by all later contexts of the party; others belong to one context. A *public* property is
sent to the other party with a task or a message; a private one is not.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Mapping
from typing import Any

from nvflare.apis.fl_constant import ReservedKey

V, M = "value", "mask"
_PRIVATE, _STICKY = 1, 2
_lock = threading.RLock()


def is_sticky(mask: int) -> bool:
    """Return True if a property with these attributes is sticky."""
    return bool(mask & _STICKY)


def is_private(mask: int) -> bool:
    """Return True if a property with these attributes is private."""
    return bool(mask & _PRIVATE)


def make_mask(private: bool, sticky: bool) -> int:
    """Return the attributes of a property as a number."""
    return (_PRIVATE if private else 0) | (_STICKY if sticky else 0)


def to_string(mask: int) -> str:
    """Describe the attributes of a property."""
    return f"{'private' if is_private(mask) else 'public'}:{'sticky' if is_sticky(mask) else 'non-sticky'}"


class FLContext:
    """Properties by name."""

    def __init__(self) -> None:
        self.model: Any = None
        self.props: dict[str, dict[str, Any]] = {}
        self.logger = logging.getLogger("nvflare.FLContext")

    def get_prop_keys(self) -> list[str]:
        """Return the names of the properties of this context."""
        return list(self.props)

    def public_key_exists(self, key: str) -> bool:
        """Return True if there is a public property of this name."""
        return key in self.props and not is_private(self.props[key][M])

    def get_all_public_props(self) -> dict[str, Any]:
        """Return the public properties, which other parties are sent."""
        with _lock:
            return {key: self._find(key)[1] for key, prop in list(self.props.items()) if not is_private(prop[M])}

    def set_prop(self, key: str, value: Any, private: bool = True, sticky: bool = True) -> bool:
        """Set a property; return False, without a change, if it exists with other attributes.

        Raises:
            ValueError: ``key`` is not a string.
        """
        if not isinstance(key, str):
            raise ValueError(f"the name of a property must be a string, not a {type(key).__name__}")
        mask = make_mask(private, sticky)
        with _lock:
            known = self.props[key][M] if key in self.props else None
            manager = self._manager()
            if known is None and sticky and manager is not None:
                exists, _, there = manager.check_sticker(key)
                known = there if exists else None
            if known is not None and known != mask:
                self.logger.debug("property %r is %s and cannot become %s", key, to_string(known), to_string(mask))
                return False
            if sticky and manager is not None:
                manager.update_sticker(key, value, mask)
            self.props[key] = {V: value, M: mask}
            return True

    def get_prop(self, key: str, default: Any = None) -> Any:
        """Return a property."""
        with _lock:
            exists, value = self._find(key)
            return value if exists else default

    def get_custom_prop(self, key: str, default: Any = None) -> Any:
        """Return one of the properties that applications set for themselves."""
        return (self.get_prop(ReservedKey.CUSTOM_PROPS) or {}).get(key, default)

    def set_custom_prop(self, key: str, value: Any) -> None:
        """Set one of the properties that applications set for themselves."""
        props = self.get_prop(ReservedKey.CUSTOM_PROPS)
        if props is None:
            props = {}
            self.set_prop(ReservedKey.CUSTOM_PROPS, props, sticky=False, private=True)
        props[key] = value

    def get_prop_detail(self, key: str) -> dict[str, Any] | None:
        """Return a property with its attributes."""
        with _lock:
            if key not in self.props:
                return None
            mask = self.props[key][M]
            return {V: self._find(key)[1], "private": is_private(mask), "sticky": is_sticky(mask)}

    def remove_prop(self, key: str, force_removal: bool = False) -> None:
        """Remove a property of this context; reserved ones only by force."""
        if isinstance(key, str) and (force_removal or not key.startswith("__")):
            with _lock:
                self.props.pop(key, None)

    def get_engine(self, default: Any = None) -> Any:
        """Return the party's engine."""
        return self._own(ReservedKey.ENGINE, default)

    def get_workspace(self) -> Any:
        """Return the party's workspace.

        Raises:
            RuntimeError: the context belongs to no party.
        """
        engine = self.get_engine()
        if engine is None:
            raise RuntimeError("this FLContext belongs to no party, so it has no workspace")
        return engine.get_workspace()

    def get_process_type(self, default: Any = None) -> Any:
        """Return the kind of this process."""
        return self._own(ReservedKey.PROCESS_TYPE, default)

    def get_job_id(self, default: Any = None) -> Any:
        """Return the id of the run."""
        return self._own(ReservedKey.RUN_NUM, default)

    def get_identity_name(self, default: str = "") -> Any:
        """Return the name of the party."""
        return self._own(ReservedKey.IDENTITY_NAME, default)

    def set_job_is_unsafe(self, value: bool = True) -> None:
        """Mark the job as one that must not run."""
        self.set_prop(ReservedKey.JOB_IS_UNSAFE, value, private=True, sticky=True)

    def is_job_unsafe(self) -> bool:
        """Return True if the job must not run."""
        return bool(self.get_prop(ReservedKey.JOB_IS_UNSAFE, False))

    def get_run_abort_signal(self) -> Any:
        """Return the signal that ends the run."""
        return self._own(ReservedKey.RUN_ABORT_SIGNAL, None)

    def set_peer_context(self, ctx: FLContext) -> None:
        """Set the context with the other party's public properties."""
        self.put(ReservedKey.PEER_CTX, ctx, private=True, sticky=False)

    def get_peer_context(self) -> Any:
        """Return the context with the other party's public properties."""
        return self._own(ReservedKey.PEER_CTX, None)

    def set_public_props(self, metadata: Mapping[str, Any]) -> None:
        """Replace the public properties."""
        self.props = {key: prop for key, prop in self.props.items() if is_private(prop[M]) or is_sticky(prop[M])}
        for key, value in metadata.items():
            self.set_prop(key, value, private=False, sticky=False)

    def sync_sticky(self) -> None:
        """Do nothing: sticky properties are always the same in all contexts."""

    def put(self, key: str, value: Any, private: bool, sticky: bool) -> None:
        """Set a property of this context alone, whatever its attributes were."""
        self.props[key] = {V: value, M: make_mask(private, sticky)}

    def clone(self) -> FLContext:
        """Return a context with the same properties."""
        with _lock:
            new = FLContext()
            new.model, new.props = self.model, copy.copy(self.props)
            return new

    def __enter__(self) -> FLContext:
        return self

    def __exit__(self, *error: object) -> None:
        """Do nothing."""

    def __str__(self) -> str:
        return " ".join(f"{key}: {type(prop[V]).__name__}" for key, prop in self.props.items())

    def _own(self, key: str, default: Any) -> Any:
        prop = self.props.get(key)
        return prop[V] if prop else default

    def _manager(self) -> FLContextManager | None:
        manager: FLContextManager | None = self._own(ReservedKey.MANAGER, None)
        return manager

    def _find(self, key: str) -> tuple[bool, Any]:
        prop = self.props.get(key)
        if prop is not None and not is_sticky(prop[M]):
            return True, prop[V]
        manager = self._manager()
        if manager is not None:
            exists, value, mask = manager.check_sticker(key)
            if exists:
                self.props[key] = {V: value, M: mask}
        return (True, self.props[key][V]) if key in self.props else (False, None)


class FLContextManager:
    """Makes the contexts of one party, which share the sticky properties.

    Args:
        engine: the party's engine.
        identity_name: the party's name.
        job_id: the id of the run.
        public_stickers, private_stickers: the first sticky properties.
    """

    def __init__(
        self,
        engine: Any = None,
        identity_name: str = "",
        job_id: str = "",
        public_stickers: Mapping[str, Any] | None = None,
        private_stickers: Mapping[str, Any] | None = None,
    ) -> None:
        self.engine = engine
        self.identity_name = identity_name
        self.job_id = job_id
        self.public_stickers = dict(public_stickers or {})
        self.private_stickers = dict(private_stickers or {})

    def new_context(self) -> FLContext:
        """Return a new context with the sticky properties."""
        ctx = FLContext()
        ctx.put(ReservedKey.MANAGER, self, private=True, sticky=False)
        ctx.put(ReservedKey.ENGINE, self.engine, private=True, sticky=False)
        ctx.put(ReservedKey.RUN_NUM, self.job_id, private=False, sticky=True)
        if self.identity_name:
            ctx.put(ReservedKey.IDENTITY_NAME, self.identity_name, private=False, sticky=False)
        with _lock:
            for key, value in self.public_stickers.items():
                ctx.put(key, value, private=False, sticky=True)
            for key, value in self.private_stickers.items():
                ctx.put(key, value, private=True, sticky=True)
        return ctx

    def check_sticker(self, key: str) -> tuple[bool, Any, int]:
        """Return whether there is a sticky property of this name, its value and its attributes."""
        with _lock:
            if key in self.private_stickers:
                return True, self.private_stickers[key], make_mask(True, True)
            if key in self.public_stickers:
                return True, self.public_stickers[key], make_mask(False, True)
        return False, None, 0

    def update_sticker(self, key: str, value: Any, mask: int) -> None:
        """Set a sticky property."""
        with _lock:
            (self.private_stickers if is_private(mask) else self.public_stickers)[key] = value
