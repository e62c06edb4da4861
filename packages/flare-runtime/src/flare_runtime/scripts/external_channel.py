"""The other end of :mod:`flare_runtime.scripts.external`: the channel inside a script's own process."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from flare_core import ClientApiError, FLModel, ParamsType, SiteChannel, Task
from flare_runtime.job_code import register
from flare_runtime.scripts.exchange import Exchange
from flare_runtime.scripts.external import ADDRESS_VARIABLE, HOST_VARIABLE, SECRET_VARIABLE, SITE_VARIABLE
from flare_runtime.site.folder import RECEIVED
from flare_tensor_downloader import (
    Downloader,
    DownloadError,
    LazyParams,
    TensorMemory,
    UnknownReferenceError,
    receive_params,
    send_params,
)
from flare_transport import Cell, Message, TransportError

__all__ = ["ExternalChannel", "connect"]


def connect(rank: int) -> ExternalChannel:
    """Connect this process to the site that started it.

    Raises:
        ClientApiError: the environment does not say where the site is.
    """
    try:
        names = (ADDRESS_VARIABLE, SECRET_VARIABLE, HOST_VARIABLE, SITE_VARIABLE)
        address, secret, host, site = (os.environ[name] for name in names)
    except KeyError as error:
        raise ClientApiError(
            f"the environment variable {error} is missing: pass the environment on to the process that calls init()"
        ) from None
    return ExternalChannel(address, bytes.fromhex(secret), host, site, rank)


class ExternalChannel(SiteChannel):
    """A script's end of the run, over a link to its site."""

    def __init__(self, address: str, secret: bytes, host: str, site: str, rank: int) -> None:
        self.site = site
        self._rank = rank
        self._cell = Cell(f"{host}.{site}.rank-{rank}")
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._asked = False
        self._over = False
        self._cell.handle("script.task", self._on_task, inline=True)
        self._cell.on_peer_lost(_site_lost)
        self._downloader = Downloader(self._cell)
        self._host = self._cell.connect(address, secret=secret)
        settings = self._cell.request(self._host, "script.hello", [self.site, rank]).payload
        self.job_id: str = settings["job_id"]
        self.config: dict[str, Any] = settings["config"]
        register(settings["decomposers"])
        # What a filter at the site looks at must travel as far as there.
        skips = settings["passes_tensors_on"] and self._downloader.settings.skip_unchanged
        self._memory = TensorMemory() if skips else None
        self._folder = Path(settings["folder"])
        self._taker = threading.main_thread()
        self._watched: set[threading.Thread] = set()  # those that have taken tasks, and have not ended
        self._watch(self._taker)
        self._exchange = Exchange(settings["exchange_format"], ParamsType(settings["params_transfer_type"]), self._warn)

    @property
    def ended(self) -> bool:
        """Whether the run is over."""
        return self._over

    def next_task(self, timeout_s: float | None = None) -> Task | None:
        if (taker := threading.current_thread()) is not self._taker:
            self._taker = taker
            self._watch(taker)
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while (task := self._next_given(until)) is not None:
            try:
                task.model = self._fetched(task)
                task.model = self._exchange.to_script(task)
            except DownloadError as error:
                lost = [self.site, isinstance(error, UnknownReferenceError), str(error)]
                if not self._cell.request(self._host, "script.lost", lost).payload:
                    raise
            else:
                return task
        return None

    def _next_given(self, until: float | None) -> Task | None:
        """Return the next task, or None if the run is over or ``until`` has passed."""
        if self._over:
            return None
        if not self._asked:  # after a timeout, the earlier question still stands
            self._asked = True
            self._cell.send(self._host, "script.next", [self.site, self._rank])
        try:
            task = self._tasks.get(timeout=None if until is None else max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None
        self._asked = False
        self._over = task is None
        return task

    def _fetched(self, task: Task) -> FLModel:
        model = receive_params(task.model, self._cell)
        if self._memory is not None:
            self._memory.begin()
        if isinstance(model.params, LazyParams):
            lazy, limit = model.params, self._downloader.settings.spill_bytes
            spill = self._folder / RECEIVED if limit is not None and lazy.nbytes > limit else None
            try:
                model.params = lazy.materialize(self._memory, spill)
            finally:
                lazy.release()
        return model

    def reply(self, model: FLModel) -> None:
        model = self._exchange.from_script(model, self.site)
        outgoing, offer = send_params(model, self._downloader, memory=self._memory)
        self._cell.send(self._host, "script.reply", [self.site, outgoing])
        if offer is not None:
            fetched = threading.Event()
            offer.when_released(fetched.set)
            fetched.wait()

    def log(self, key: str, value: Any, *, kind: str, step: int | None) -> None:
        self._cell.send(self._host, "script.log", [self.site, key, value, kind, step])

    def _warn(self, text: str) -> None:
        self._cell.send(self._host, "script.warn", [self.site, text])

    def _watch(self, taker: threading.Thread) -> None:
        """Say when the thread that takes the tasks has ended, as others, or children, can keep the process alive."""
        if taker in self._watched:
            return
        self._watched.add(taker)

        def wait() -> None:
            taker.join()
            self._watched.discard(taker)
            if self._taker is taker:  # else another thread takes the tasks now
                with contextlib.suppress(TransportError):  # the process ends just now
                    self._cell.send(self._host, "script.left", [self.site, self._rank])

        threading.Thread(target=wait, name="flare-taker", daemon=True).start()

    def _on_task(self, message: Message) -> None:
        (content,) = message.payload
        if content is None:
            self._tasks.put(None)
        else:
            name, task_id, model = content
            self._tasks.put(Task(name, model, task_id))


def _site_lost(peer: str, error: BaseException | None) -> None:
    """End this process and all that it has started: the site is gone, so nobody would take its results."""
    with contextlib.suppress(OSError):  # in a deployment, it is the site's process that would have read this
        sys.stderr.write(f"flare: the site's process has ended ({error or 'closed'}); this script ends too\n")
        sys.stderr.flush()
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)  # the group is that of the command that the site has started
    os._exit(1)
