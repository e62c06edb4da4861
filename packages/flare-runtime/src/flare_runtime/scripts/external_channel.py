"""The script's end of :mod:`flare_runtime.scripts.external`: the channel inside a script's own process."""

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

from flare_core import ClientApiError, FLModel, ParamsType, Task
from flare_core.executor import SiteChannel
from flare_runtime.job_code import register
from flare_runtime.scripts.exchange import Exchange
from flare_runtime.scripts.external import ADDRESS_VARIABLE, HOST_VARIABLE, SECRET_VARIABLE, SITE_VARIABLE
from flare_runtime.site.folder import fetch_params
from flare_tensor_downloader import Downloader, DownloadError, Offer, UnknownReferenceError
from flare_tensor_downloader.lazy import RemoteParams
from flare_tensor_downloader.memory import TensorMemory
from flare_tensor_downloader.wire import receive_params, send_params
from flare_transport import Cell, Message, TransportError


def connect(rank: int) -> ExternalChannel:
    """Connect this process to the site that started it.

    Raises:
        ClientApiError: the environment lacks the site's address.
    """
    try:
        names = (ADDRESS_VARIABLE, SECRET_VARIABLE, HOST_VARIABLE, SITE_VARIABLE)
        address, secret, host, site = (os.environ[name] for name in names)
    except KeyError as error:
        raise ClientApiError(
            f"the environment variable {error} is missing; pass the environment on to the process that calls init()"
        ) from None
    return ExternalChannel(address, bytes.fromhex(secret), host, site, rank)


class ExternalChannel(SiteChannel):
    """A script's channel to its site, over a link."""

    def __init__(self, address: str, secret: bytes, host: str, site: str, rank: int) -> None:
        self.site = site
        self._rank = rank
        self._cell = Cell(f"{host}.{site}.rank-{rank}")
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._asked = False
        self._over = False
        self._unread: tuple[Offer, threading.Event] | None = None  # the last reply, until the server has read it
        self._cell.handle("script.task", self._on_task, inline=True)
        self._cell.handle("script.copy", self._on_copy)
        self._cell.on_peer_lost(_site_lost)
        self._downloader = Downloader(self._cell)
        self._host = self._cell.connect(address, secret=secret)
        settings = self._cell.request(self._host, "script.hello", [self.site, rank]).payload
        self.job_id: str = settings["job_id"]
        self.config: dict[str, Any] = settings["config"]
        register(settings["decomposers"])
        # Filters at the site need all tensors, so unchanged ones may be skipped only if there are no filters.
        skips = settings["passes_tensors_on"] and self._downloader.settings.skip_unchanged
        self._memory = TensorMemory() if skips else None
        self._folder = Path(settings["folder"])
        self._taker = threading.main_thread()
        self._watched: set[threading.Thread] = set()  # running threads that have taken tasks
        self._watch(self._taker)
        self._exchange = Exchange(settings["exchange_format"], ParamsType(settings["params_transfer_type"]), self._warn)

    @property
    def ended(self) -> bool:
        """True if the run is over."""
        return self._over

    def next_task(self, timeout_s: float | None = None) -> Task | None:
        if (taker := threading.current_thread()) is not self._taker:
            self._taker = taker
            self._watch(taker)
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while (task := self._next_given(until)) is not None:
            try:
                task.data = self._fetched(task)
                task.data = self._exchange.to_script(task)
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
        if not self._asked:  # after a timeout, the earlier request is still pending
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
        if isinstance(model.params, RemoteParams):
            lazy = model.params
            try:
                model.params = fetch_params(lazy, self._downloader, self._memory, self._folder)
            finally:
                lazy.release()
        return model

    def reply(self, model: FLModel) -> None:
        model = self._exchange.from_script(model, self.site)
        outgoing, offer = send_params(model, self._downloader, memory=self._memory)
        done = threading.Event()
        if offer is not None:
            self._unread = offer, done  # before the reply is sent: the site may ask for a copy at once
            offer.when_released(done.set)
        self._cell.send(self._host, "script.reply", [self.site, outgoing])
        if offer is not None:
            done.wait()
            self._unread = None

    def log(self, key: str, value: Any, *, kind: str, step: int | None) -> None:
        self._cell.send(self._host, "script.log", [self.site, key, value, kind, step])

    def _warn(self, text: str) -> None:
        self._cell.send(self._host, "script.warn", [self.site, text])

    def _watch(self, taker: threading.Thread) -> None:
        """Report the end of the thread that takes tasks, since other threads or children may keep the process alive."""
        if taker in self._watched:
            return
        self._watched.add(taker)

        def wait() -> None:
            taker.join()
            self._watched.discard(taker)
            if self._taker is taker:  # otherwise another thread takes the tasks now
                with contextlib.suppress(TransportError):  # the process is ending, which the site notices
                    self._cell.send(self._host, "script.left", [self.site, self._rank])

        threading.Thread(target=wait, name="flare-taker", daemon=True).start()

    def _on_copy(self, message: Message) -> None:
        """Let the script continue before its reply is read, since another task waits."""
        if (unread := self._unread) is not None:
            offer, done = unread
            offer.copy_arrays()
            done.set()

    def _on_task(self, message: Message) -> None:
        (content,) = message.payload
        if content is None:
            self._tasks.put(None)
        else:
            name, task_id, model = content
            self._tasks.put(Task(name, model, task_id))


def _site_lost(peer: str, error: BaseException | None) -> None:
    """Kill this process and its children: the site is gone, so their results cannot be used."""
    with contextlib.suppress(OSError):  # in a deployment, stderr is a pipe to the process that is gone
        sys.stderr.write(f"flare: the site's process has ended ({error or 'closed'}); this script ends too\n")
        sys.stderr.flush()
    if sys.platform != "win32":
        os.killpg(0, signal.SIGKILL)  # the group of the command that the site has started
    os._exit(1)
