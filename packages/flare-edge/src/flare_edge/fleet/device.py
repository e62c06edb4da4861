"""One simulated device: joins, polls, works, reports, vanishes and comes back."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from flare_edge.device.safetensors import dumps, loads
from flare_edge.fleet.behaviour import Behaviour, Character
from flare_edge.fleet.http import Answer, Connection, Place

_MAX_DELAY_S = 10.0


@dataclass
class Tally:
    """What the devices of a process have done.

    Attributes:
        counts: check_ins, tasks, models, results, late (results that were not wanted any more), vanished, reconnects.
        errors: everything that should not happen, by what it was.
        slowest_s: the longest time that a gateway took for an answer, beyond what a poll was to wait.
    """

    counts: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


class Over(Exception):
    """The run is over."""


class Device:
    """A device with a connection of its own."""

    def __init__(self, number: int, place: Place, invitation: str, behaviour: Behaviour, tally: Tally) -> None:
        self._name = f"sim-{number:06d}"
        self._place = place
        self._invitation = invitation
        self._behaviour = behaviour
        self._character = Character(behaviour, number)
        self._tally = tally
        self._connection: Connection | None = None
        self._token = ""

    async def live(self) -> None:
        """Live until the run is over."""
        await asyncio.sleep(self._character.arrives_s)
        while True:
            vanishes_s = self._character.stays_s()
            try:
                async with asyncio.timeout(None if vanishes_s > 1e6 else vanishes_s):
                    await self._work()
            except TimeoutError:
                self._tally.counts["vanished"] += 1
            except Over:
                return
            finally:
                if self._connection is not None:
                    self._connection.drop()
                    self._connection = None
            await asyncio.sleep(self._character.away_s())

    async def _work(self) -> None:
        if not self._token:
            await self._join()
        poll = json.dumps({"wait_s": self._behaviour.wait_s}).encode()
        while True:
            answer = await self._request("POST", "/v1/tasks", poll, wait_s=self._behaviour.wait_s)
            if answer.status == 410:
                raise Over
            if answer.status not in (200, 204):
                self._complain("tasks", answer)
                continue
            self._tally.counts["check_ins"] += 1
            if answer.status == 200:
                await self._do(json.loads(answer.body))

    async def _join(self) -> None:
        body = json.dumps({"invitation": self._invitation, "name": self._name}).encode()
        answer = await self._request("POST", "/v1/devices", body)
        if answer.status == 201:
            self._token = json.loads(answer.body)["token"]
        elif answer.status == 409:  # it vanished before the answer came, and nobody has the token
            self._name += "x"
            await self._join()
        else:
            self._complain("devices", answer)
            raise TimeoutError

    async def _do(self, task: dict[str, object]) -> None:
        self._tally.counts["tasks"] += 1
        answer = await self._request("GET", str(task["model"]))
        if answer.status == 410:
            await self._report(task, b'{"error":"the model is not kept any more"}', "application/json")
            return
        if answer.status != 200:
            self._complain("models", answer)
            return
        self._tally.counts["models"] += 1
        model, _ = loads(answer.body)
        await asyncio.sleep(self._character.work_s())
        if task["kind"] == "evaluate":
            body = json.dumps({"num_examples": 10, "metrics": {"loss": 1.0}}).encode()
            await self._report(task, body, "application/json")
            return
        update = {
            name: self._character.update(value.shape, np.dtype("<f8" if value.dtype == np.float64 else "<f4"))
            for name, value in model.items()
        }
        body = dumps(update, {"num_examples": "10", "metrics": '{"loss":1.0}'})
        await self._report(task, body, "application/safetensors")

    async def _report(self, task: dict[str, object], body: bytes, content_type: str) -> None:
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
                self._tally.errors[f"{path.split('/')[2]} {answer.status}"] += 1
            except OSError as error:
                self._tally.errors[str(error) or type(error).__name__] += 1
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(_MAX_DELAY_S, 2 * delay)

    def _complain(self, what: str, answer: Answer) -> None:
        self._tally.errors[f"{what} {answer.status} {answer.body[:100].decode(errors='replace')}"] += 1
