"""The host: a process that starts Flower's processes of one party, watches them, and takes them along when it ends.

It imports each of Flower's programs once, and forks a process to run the program's own entry point. Started the usual
way, each would spend more than a second on the same imports, a ClientApp in every round anew.

It reads commands from its standard input, a JSON object a line, and writes events to its standard output:

    {"start": name, "argv": [...], "env": {...}}     starts a program, as its console script would
    {"load": program, "packages": [...]}             imports a program that will be started later, and its packages
    {"acquire": address}                             asks a Runtime API for tasks, and starts an app for each
    {"stop": name}                                   kills a program

    {"event": "started", "name": name, "pid": pid}
    {"event": "ended", "name": name, "code": code, "tail": its last output}
    {"event": "acquired", "count": tasks}            the answer to "acquire"
    {"event": "not acquired", "address": address, "error": why it could not ask}

All processes are in the host's group. The end of its standard input, which comes with the end of whoever started it,
kills the group; the death of the host kills its children.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import random
import selectors
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NoReturn

from flare_flower.peers import guard_uvicorn

PROGRAMS = {
    "flower-superlink": "flwr.superlink.cli:flower_superlink",
    "flower-supernode": "flwr.supernode.cli:flower_supernode",
    "flwr-serverapp": "flwr.superlink.cli:flwr_serverapp",
    "flwr-clientapp": "flwr.supernode.cli:flwr_clientapp",
    "flwr": "flwr.cli.app:app",
}
"""The entry points of flwr's console scripts."""

SERVERS = {"flower-superlink", "flower-supernode"}
"""Those that listen."""

FORKABLE = {"numpy", "pandas", "scipy", "sklearn", "torch"}
"""Packages of apps that can be imported before a fork: they start no threads that must go on in the new process."""

TAIL_BYTES = 8000
_PARENT_DEATH_SIGNAL, _NAME = 1, 15  # PR_SET_PDEATHSIG and PR_SET_NAME of prctl(2)


@dataclass(slots=True)
class _Child:
    name: str
    output: int
    tail: bytearray = field(default_factory=bytearray)
    code: int | None = None
    is_drained: bool = False


class Host:
    """The host's loop. It has one thread, so that it can be forked at any time.

    Args:
        log: descriptor of the file to which the output of all processes is appended.
    """

    def __init__(self, log: int) -> None:
        self._log = log
        self._pid = os.getpid()
        self._children: dict[int, _Child] = {}
        self._commands = b""
        self._selector = selectors.DefaultSelector()
        self._selector.register(0, selectors.EVENT_READ, self._on_input)
        wake, write = os.pipe()
        os.set_blocking(wake, False)
        os.set_blocking(write, False)
        self._wake = wake
        self._own = [wake, write]
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        self._selector.register(wake, selectors.EVENT_READ, self._on_exit)

    def serve(self) -> Callable[[], Any] | None:
        """Serve until the standard input ends; return, in a forked process, the entry point to run."""
        while True:
            for key, _ in self._selector.select():
                entry: Callable[[], Any] | None = key.data()
                if entry is not None:
                    return entry

    def _on_input(self) -> Callable[[], Any] | None:
        piece = os.read(0, 1 << 16)
        if not piece:
            kill_group()
        *lines, self._commands = (self._commands + piece).split(b"\n")
        for line in lines:
            if (entry := self._do(json.loads(line))) is not None:
                return entry
        return None

    def _do(self, command: dict[str, Any]) -> Callable[[], Any] | None:
        match command:
            case {"start": name, "argv": argv, "env": env}:
                return self._start(name, argv, env)
            case {"load": program, "packages": packages}:
                _entry_point(program)
                if program.startswith("flwr-"):
                    importlib.import_module("flwr.supercore.runtime")  # for acquiring its tasks
                for package in FORKABLE.intersection(packages):
                    with suppress(Exception):  # if it fails, it fails again in the app, which tells
                        importlib.import_module(package)
            case {"acquire": address}:
                return self._acquire(address)
            case {"stop": name}:
                for pid, child in self._children.items():
                    if child.name == name and child.code is None:
                        os.kill(pid, signal.SIGKILL)
        return None

    def _acquire(self, address: str) -> Callable[[], Any] | None:
        """Take the tasks that wait at a Runtime API, as a SuperExec does, and start a process for each."""
        count = 0
        try:
            while (task := _next_task(address)) is not None:
                kind, number, token = task
                argv = [kind, "--runtime-api-address", address, "--token", token, "--insecure"]
                argv += ["--parent-pid", str(self._pid)]
                if (entry := self._start(f"{kind} {number}", argv, {})) is not None:
                    return entry
                count += 1
        except Exception as error:  # whatever the service answers, the host must live on to end its processes
            self._tell({"event": "not acquired", "address": address, "error": f"{type(error).__name__}: {error}"})
            return None
        self._tell({"event": "acquired", "count": count})
        return None

    def _start(self, name: str, argv: list[str], env: dict[str, str]) -> Callable[[], Any] | None:
        """Fork; return None in the host, and the entry point in the new process."""
        entry = _entry_point(argv[0])
        output, write = os.pipe()
        pid = os.fork()
        if pid:
            os.close(write)
            os.set_blocking(output, False)
            self._children[pid] = _Child(name, output)
            self._selector.register(output, selectors.EVENT_READ, lambda: self._on_output(pid))
            self._tell({"event": "started", "name": name, "pid": pid})
            return None
        _become_program(
            argv[0], self._pid, write, [*self._own, self._log, output, *(c.output for c in self._children.values())]
        )
        self._selector.close()
        if argv[0] in SERVERS:
            guard_uvicorn()
        os.environ.update(env)
        sys.argv = list(argv)
        return entry

    def _on_output(self, pid: int) -> None:
        """Copy what a process has printed to the log; at the end of its output, close it."""
        child = self._children[pid]
        while not child.is_drained:
            try:
                piece = os.read(child.output, 1 << 16)
            except BlockingIOError:
                return
            if piece:
                self._keep(child, piece)
            else:
                self._close_output(child)
        self._report(pid)

    def _keep(self, child: _Child, piece: bytes) -> None:
        child.tail += piece
        del child.tail[:-TAIL_BYTES]
        with suppress(OSError):  # the disk is full, say; the processes must not block for that
            os.write(self._log, piece)

    def _close_output(self, child: _Child) -> None:
        self._selector.unregister(child.output)
        os.close(child.output)
        child.is_drained = True

    def _on_exit(self) -> None:
        while True:
            try:
                os.read(self._wake, 4096)
            except BlockingIOError:
                break
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self._children:
                self._children[pid].code = os.waitstatus_to_exitcode(status)
                self._on_output(pid)
                self._report(pid)

    def _report(self, pid: int) -> None:
        """Report the end of a process, once. A child of its own may keep its output open, and prints to nobody then."""
        child = self._children.get(pid)
        if child is None or child.code is None:
            return
        if not child.is_drained:
            self._close_output(child)
        del self._children[pid]
        tail = bytes(child.tail).decode(errors="replace")
        self._tell({"event": "ended", "name": child.name, "code": child.code, "tail": tail})

    def _tell(self, event: dict[str, Any]) -> None:
        data = json.dumps(event).encode() + b"\n"
        try:
            while data:
                data = data[os.write(1, data) :]
        except BrokenPipeError:
            kill_group()


def kill_group() -> NoReturn:
    """Kill all processes of the host's group, and so the host."""
    os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _next_task(address: str) -> tuple[str, int, str] | None:
    """Acquire one task; return its type, which names its program, its number and its token."""
    from flwr.proto.runtime_pb2 import AcquireTaskRequest
    from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor
    from flwr.supercore.runtime import RuntimeHttpClient

    client = RuntimeHttpClient.from_server_address(
        address, True, None, [RuntimeVersionHttpInterceptor(component_name="SuperExec")]
    )
    with client:  # closed before a fork
        answer = client.AcquireTask(AcquireTaskRequest(supported_task_types=["flwr-serverapp", "flwr-clientapp"]))
    if not answer.token:
        return None
    return answer.task.type, answer.task.task_id, answer.token


def _entry_point(program: str) -> Callable[[], Any]:
    module, _, name = PROGRAMS[program].partition(":")
    found: Callable[[], Any] = getattr(importlib.import_module(module), name)
    return found


def _become_program(name: str, host: int, output: int, foreign: list[int]) -> None:
    """Turn a forked process into one like any other: its name, descriptors, signals, and generators."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _die_with(host)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_NAME, name.encode(), 0, 0, 0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    for each in {null, output, *foreign} - {0, 1, 2}:
        os.close(each)
    numpy = sys.modules.get("numpy")
    if numpy is not None:  # a new process seeds its generators from the system's entropy
        numpy.random.seed()
    random.seed()


def _die_with(host: int) -> None:
    """Let the system kill this process when its parent dies, where it can."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != host:
            os._exit(1)


def main() -> None:
    """Run the host; its argument is the path of the log."""
    log = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.dup2(log, 2)
    entry = Host(log).serve()
    if entry is not None:  # in a forked process
        try:
            entry()
        except Exception:
            traceback.print_exc()
            sys.exit(1)


if __name__ == "__main__":
    main()
