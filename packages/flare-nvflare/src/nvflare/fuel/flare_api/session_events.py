"""The handlers of an administrator's kit, which hear of the events of its sessions.

<kit>/local/resources.json    {"handlers": [{"id": …, "path": "module.Class", "args": {…}}]}
<kit>/local/custom/           their code
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from flare_core import JobError
from nvflare._host.build import build_component
from nvflare.fuel.flare_api.api_spec import InternalError
from nvflare.fuel.hci.client.event import EventContext, EventHandler, EventPropKey


class SessionEvents:
    """Fires the events of a session.

    Args:
        session: the session.
        kit: the folder of the kit.
        user: the administrator.
    Raises:
        InternalError: a handler cannot be made; names the file and the reason.
    """

    def __init__(self, session: Any, kit: str, user: str) -> None:
        self._props = {EventPropKey.API: session, EventPropKey.USER_NAME: user}
        local = Path(kit) / "local"
        path = local / "resources.json"
        self._handlers = [self._made(entry, path) for entry in _entries(path, local / "custom")]

    def fire(self, event: str, **props: Any) -> dict[str, Any]:
        """Let all handlers handle an event, and return the properties that they want to travel with the command.

        Args:
            event: the event.
            props: further properties.
        """
        context = EventContext({**self._props, **props})
        for each in self._handlers:
            each.handle_event(event, context)
        return dict(context.get_prop(EventPropKey.CUSTOM_PROPS) or {})

    @staticmethod
    def _made(entry: Any, path: Path) -> EventHandler:
        try:
            found = build_component(entry, {})
        except JobError as error:
            raise InternalError(f"{path}: {error}") from error
        if not isinstance(found, EventHandler):
            raise InternalError(f"{path}: the handler {entry!r} is a {type(found).__name__}, no EventHandler")
        return found


def _entries(path: Path, code: Path) -> list[dict[str, Any]]:
    """Return the descriptions of the handlers, whose code is importable from now on."""
    if not path.is_file():
        return []
    try:
        entries = json.loads(path.read_text(encoding="utf-8")).get("handlers") or []
    except (OSError, ValueError, AttributeError) as error:
        raise InternalError(f"{path} is no JSON object ({error}); correct it") from error
    if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
        raise InternalError(f"{path}: 'handlers' is {entries!r}; write a list of objects with 'path' and 'args'")
    if entries and code.is_dir() and str(code) not in sys.path:
        sys.path.append(str(code))
    return [dict(each) for each in entries if not each.get("disabled")]
