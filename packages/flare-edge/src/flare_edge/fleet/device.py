"""One simulated device that connects: its sessions, speed, bandwidth and battery are those of virtual time."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flare_edge.device.safetensors import dumps, loads
from flare_edge.fleet.clock import Clock
from flare_edge.fleet.http import Answer, Connection, Place
from flare_edge.messages import Order
from flare_edge.virtual.phones import Phone

_MAX_DELAY_S = 10.0


@dataclass
class Tally:
    """A count of all that the devices of a process have done.

    Attributes:
        counts: connections, check_ins, tasks, models, results, failures, lost (tasks in which a device vanished), late
            (results that were not wanted any more), vanished (sessions that ended).
        errors: everything that should not happen, by what it was.
        slowest_s: the longest time that a gateway took for an answer, beyond what a poll was to wait.
        is_over: a device was told that the run is over.
    """

    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    is_over: bool = False


class Over(Exception):
    """The run is over."""


class SimulatedDevice:
    """A device with a connection of its own.

    Args:
        phone: how it behaves.
        place: its gateway.
        invitation: for the gateway, valid for all devices.
        wait_s: how long its polls wait for a task, in seconds of the machine.
        clock: the fleet's.
        tally: the fleet's.
    """

    def __init__(self, phone: Phone, place: Place, invitation: str, wait_s: float, clock: Clock, tally: Tally) -> None:
        self._phone = phone
        self._name = phone.device.name.rpartition("/")[2]
        self._place = place
        self._invitation = invitation
        self._wait_s = wait_s
        self._clock = clock
        self._tally = tally
        self._connection: Connection | None = None
        self._token = ""
        self._secret = secrets.token_urlsafe(24)

    async def live(self, after_s: float) -> None:
        """Live through all sessions, or until the run is over; a session ends in the middle of anything."""
        await asyncio.sleep(after_s)
        for start, end in self._phone.sessions:
            await self._clock.until(start)
            try:
                async with asyncio.timeout_at(self._clock.when(end)):
                    await self._take_part()
            except TimeoutError:
                self._tally.counts["vanished"] += 1
            except Over:
                return
            finally:
                self._vanish()

    def _vanish(self) -> None:
        if self._connection is not None:
            self._connection.drop()
            self._connection = None
        if self._phone.order is not None:
            self._phone.stop(self._clock.now)

    async def _take_part(self) -> None:
        if not self._token:
            await self._join()
        poll = json.dumps({"wait_s": self._wait_s}).encode()
        while True:
            await self._clock.until(self._phone.ready_at(self._clock.now))
            answer = await self._request("POST", "/v1/tasks", poll, wait_s=self._wait_s)
            if answer.status == 410:
                self._tally.is_over = True
                raise Over
            if answer.status not in (200, 204):
                self._complain("tasks", answer)
                continue
            self._tally.counts["check_ins"] += 1
            if answer.status == 200:
                await self._work(json.loads(answer.body))

    async def _join(self) -> None:
        body = json.dumps({"invitation": self._invitation, "name": self._name, "request": self._secret}).encode()
        answer = await self._request("POST", "/v1/devices", body)
        if answer.status != 201:
            self._complain("devices", answer)
            raise Over
        self._token = json.loads(answer.body)["token"]

    async def _work(self, task: Mapping[str, Any]) -> None:
        """Do a task, as fast and as well as the device does it."""
        counts = self._tally.counts
        counts["tasks"] += 1
        answer = await self._request("GET", task["model"])
        if answer.status != 200:
            if answer.status != 410:
                self._complain("models", answer)
            await self._report(task, {"error": "the model is not kept any more"})
            return
        counts["models"] += 1
        order = Order(task["ticket"], "", self._name, task["version"], task["kind"])
        work = self._phone.begin(order, self._clock.now, len(answer.body))
        await self._clock.until(work.end)
        self._phone.stop(self._clock.now)
        if work.outcome == "lost":
            counts["lost"] += 1
            self._vanish()
            await asyncio.sleep(task["answer_within_s"] or 0.0)
        elif work.outcome == "failed":
            counts["failures"] += 1
            await self._report(task, {"error": work.reason})
        elif task["kind"] == "evaluate":
            await self._report(task, {"num_examples": 10, "metrics": {"loss": 1.0}})
        else:
            await self._report(task, self._update(answer.body))

    def _update(self, model: bytes) -> bytes:
        """Return an update, small and random, the same for the same device and the same number of tasks."""
        rng = np.random.default_rng([self._phone.device.seed, self._phone.number, self._phone.orders])
        params, _ = loads(model)
        update = {
            name: rng.uniform(-1e-3, 1e-3, value.shape).astype("<f8" if value.dtype == np.float64 else "<f4")
            for name, value in params.items()
        }
        return dumps(update, {"num_examples": "10", "metrics": '{"loss":1.0}'})

    async def _report(self, task: Mapping[str, Any], result: bytes | Mapping[str, Any]) -> None:
        is_update = isinstance(result, bytes)
        body = result if isinstance(result, bytes) else json.dumps(result).encode()
        content_type = "application/safetensors" if is_update else "application/json"
        answer = await self._request("POST", f"/v1/results/{task['ticket']}", body, content_type=content_type)
        if answer.status == 200:
            self._tally.counts["results"] += 1
        elif answer.status == 404:
            self._tally.counts["late"] += 1
        else:
            self._complain("results", answer)

    async def _request(
        self, method: str, path: str, body: bytes = b"", *, content_type: str = "application/json", wait_s: float = 0.0
    ) -> Answer:
        """Send a request until it is answered; a connection that ends by itself is an error."""
        head = f"{method} {path} HTTP/1.1\r\nhost: {self._place.host}\r\ncontent-length: {len(body)}\r\n"
        if body:
            head += f"content-type: {content_type}\r\n"
        if self._token:
            head += f"authorization: Bearer {self._token}\r\n"
        loop = asyncio.get_running_loop()
        delay = 0.1
        while True:
            try:
                if self._connection is None or not self._connection.is_open:
                    self._tally.counts["connections"] += 1
                    self._connection = await Connection.open(self._place)
                sent = loop.time()
                answer = await self._connection.send(f"{head}\r\n".encode() + body)
                self._tally.slowest_s = max(self._tally.slowest_s, loop.time() - sent - wait_s)
                if answer.status not in (429, 503):
                    return answer
                self._complain(path.split("/")[2], answer)
            except OSError as error:
                self._tally.errors[str(error) or type(error).__name__] += 1
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(_MAX_DELAY_S, 2 * delay)

    def _complain(self, what: str, answer: Answer) -> None:
        self._tally.errors[f"{what} {answer.status} {answer.body[:100].decode(errors='replace')}"] += 1
