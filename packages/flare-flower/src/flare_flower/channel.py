"""Flare's Client API inside a ClientApp: the site's name and settings, and its log of metrics.

A ClientApp that calls ``flare_core.client.init()`` gets this channel. It has no tasks, since Flower brings the app its
messages; ``receive`` and ``send`` say so.
"""

from __future__ import annotations

import json
import os
import urllib.request
from typing import Any

from flare_core.errors import ClientApiError
from flare_core.executor import SiteChannel
from flare_core.model import FLModel
from flare_core.task import Task

SETTINGS_VARIABLE = "FLARE_FLOWER_SITE"
LOG_PATH = "/flare/log"


class FlowerChannel(SiteChannel):
    """The channel of a ClientApp.

    Args:
        settings: the site's port, name, job and settings.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self.site = settings["site"]
        self.job_id = settings["job_id"]
        self.config = settings["config"]
        self._address = settings["address"]

    def next_task(self, timeout_s: float | None = None) -> Task | None:
        raise ClientApiError(
            "a ClientApp gets its messages from Flower; of flare_core.client it can use init(), get_site_name(),"
            " get_job_id(), get_config(), system_info() and log()"
        )

    @property
    def ended(self) -> bool:
        return False

    def reply(self, model: FLModel) -> None:
        self.next_task()

    def log(self, key: str, value: Any, *, kind: str, step: int | None) -> None:
        body = json.dumps([key, value, str(kind), step]).encode()
        with urllib.request.urlopen(f"http://{self._address}{LOG_PATH}", body, timeout=60):
            pass


def connect(rank: int) -> FlowerChannel:
    """Return the channel of this process, which a site has started."""
    return FlowerChannel(json.loads(os.environ[SETTINGS_VARIABLE]))
