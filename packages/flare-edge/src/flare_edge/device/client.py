"""The client of a device: joins a gateway, gets tasks, fetches models and reports results."""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from flare_edge.device.connection import Answer, Connection, Link
from flare_edge.device.safetensors import dumps, loads
from flare_edge.errors import EdgeError

log = logging.getLogger(__name__)

Params = dict[str, np.ndarray[Any, Any]]


class RunOver(EdgeError):
    """The run is over: there are no more tasks."""


@dataclass(frozen=True)
class Task:
    """Something to do.

    Args:
        ticket: its number.
        kind: ``train`` or ``evaluate``.
        version: of the model to do it with.
        config: the job's configuration of devices.
        answer_within_s: a later result is refused; None: no limit.
    """

    ticket: int
    kind: str
    version: int
    config: Mapping[str, Any]
    answer_within_s: float | None


class Client:
    """A device's side of the protocol; to be used by one thread, except for :meth:`close`.

    Requests are repeated with growing delays until the gateway answers, so a result whose answer was lost is sent
    again, and counts once.

    Args:
        url: of the gateway.
        device: the device's id.
        token: the device's token.
        sha256: of the gateway's certificate; empty: authorities decide.
        authorities: a PEM file of them; None: the system's.
        patience_s: a gateway that cannot be reached for so long is given up.
    """

    def __init__(
        self,
        url: str,
        device: str,
        token: str,
        *,
        sha256: str = "",
        authorities: Path | None = None,
        patience_s: float = 300.0,
    ) -> None:
        self.device = device
        self._connection = Connection(url, sha256, authorities=authorities, patience_s=patience_s)
        self._connection.token = token
        self._job: dict[str, Any] | None = None
        self._model: tuple[int, str, Params] = -1, "", {}

    @classmethod
    def join(
        cls,
        link: str,
        *,
        name: str | None = None,
        credentials: Path | None = None,
        authorities: Path | None = None,
        patience_s: float = 300.0,
    ) -> Self:
        """Join the gateway of a link, or go on as the device that joined it before.

        Args:
            link: the join link.
            name: the device's own name, of letters, digits, - and _; None: the gateway makes one.
            credentials: a file that keeps the device's token; None: it is kept in memory.
            authorities: a PEM file, for a link without the certificate's digest; None: the system's.
            patience_s: a gateway that cannot be reached for so long is given up.
        Raises:
            EdgeError: the link or the invitation is not valid, or the gateway cannot be reached.
        """
        place = Link.read(link)
        known = _read_credentials(credentials, place.url)
        if known is None:
            known = _register(
                place, name, Connection(place.url, place.sha256, authorities=authorities, patience_s=patience_s)
            )
            if credentials is not None:
                _write_credentials(credentials, known)
        return cls(
            known["url"],
            known["device"],
            known["token"],
            sha256=place.sha256,
            authorities=authorities,
            patience_s=patience_s,
        )

    @property
    def job(self) -> dict[str, Any]:
        """The job: its name, its description, and its configuration of devices.

        Raises:
            EdgeError: see :meth:`next_task`.
        """
        if self._job is None:
            self._job = self._checked(self._connection.request("GET", "/v1/job")).json()
        return self._job

    def next_task(self, wait_s: float = 20.0) -> Task | None:
        """Wait for a task; return None if there is none in time.

        A task that was not answered is returned again, by another client of the same device, too.

        Raises:
            RunOver: the run is over.
            EdgeError: the device's token is not valid any more, or the gateway cannot be reached.
        """
        body = json.dumps({"wait_s": wait_s}).encode()
        answer = self._checked(
            self._connection.request("POST", "/v1/tasks", body, wait_s=wait_s, content_type="application/json")
        )
        if answer.status == 204:
            return None
        values = answer.json()
        config = values.get("config")
        return Task(
            int(values["ticket"]),
            str(values["kind"]),
            int(values["version"]),
            self.job["config"] if config is None else config,
            values.get("answer_within_s"),
        )

    def model(self, version: int) -> Params:
        """Return the parameters of a version of the model; the arrays are the caller's.

        Raises:
            EdgeError: the version is not kept any more, or see :meth:`next_task`.
        """
        known, etag, params = self._model
        if_none_match = etag if known == version else ""
        answer = self._checked(self._connection.request("GET", f"/v1/models/{version}", if_none_match=if_none_match))
        if answer.status != 304:
            try:
                params, _ = loads(answer.body)
            except ValueError as error:
                raise EdgeError(f"version {version} of the model arrived damaged: {error}") from error
            self._model = version, answer.headers.get("etag", ""), params
        return {name: value.copy() for name, value in params.items()}

    def send_update(
        self,
        ticket: int,
        update: Mapping[str, np.ndarray[Any, Any]],
        *,
        num_examples: int,
        metrics: Mapping[str, float] | None = None,
    ) -> bool:
        """Report the result of training: new minus received parameters, in float32, or float64 where the model's are.

        Returns:
            Whether it was accepted; False if the task was withdrawn in the meantime.
        Raises:
            EdgeError: the gateway refuses the result, with the reason; or see :meth:`next_task`.
        """
        metadata = {"num_examples": str(num_examples), "metrics": json.dumps(dict(metrics or {}))}
        return self._send(ticket, dumps(update, metadata), "application/safetensors")

    def send_metrics(self, ticket: int, *, num_examples: int, metrics: Mapping[str, float]) -> bool:
        """Report the result of an evaluation; see :meth:`send_update`."""
        return self._send_json(ticket, {"num_examples": num_examples, "metrics": dict(metrics)})

    def send_error(self, ticket: int, message: str) -> bool:
        """Report that the device cannot do a task; see :meth:`send_update`."""
        return self._send_json(ticket, {"error": message})

    def leave(self) -> None:
        """Leave for good: the device's token is not valid any more."""
        self._checked(self._connection.request("DELETE", "/v1/devices/me"))

    def close(self) -> None:
        """Close the connection; the device can come back."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _send_json(self, ticket: int, values: Mapping[str, Any]) -> bool:
        return self._send(ticket, json.dumps(values).encode(), "application/json")

    def _send(self, ticket: int, body: bytes, content_type: str) -> bool:
        answer = self._connection.request("POST", f"/v1/results/{ticket}", body, content_type=content_type)
        if answer.status == 404 and answer.code == "unknown_ticket":
            log.info("the result of task %s was not wanted any more", ticket)
            return False
        self._checked(answer)
        return True

    def _checked(self, answer: Answer) -> Answer:
        if answer.status < 400:
            return answer
        if answer.status == 410 and answer.code == "over":
            raise RunOver("the run is over")
        raise EdgeError(f"the gateway refuses what device {self.device} asks for: {answer.problem}")


def _register(place: Link, name: str | None, connection: Connection) -> dict[str, str]:
    if not place.invitation:
        raise EdgeError(f"the link to {place.url} has no invitation; get one from its site ('flare edge invite')")
    values = {"invitation": place.invitation, "request": secrets.token_urlsafe(24)}
    if name is not None:
        values["name"] = name
    answer = connection.request("POST", "/v1/devices", json.dumps(values).encode(), content_type="application/json")
    connection.close()
    if answer.status != 201:
        raise EdgeError(f"cannot join the gateway {place.url}: {answer.problem}")
    registered = answer.json()
    return {"url": place.url, "device": str(registered["device"]), "token": str(registered["token"])}


def _read_credentials(path: Path | None, url: str) -> dict[str, str] | None:
    """Return what is known of an earlier visit to the same gateway."""
    if path is None or not path.exists():
        return None
    try:
        known = json.loads(path.read_text())
        return {key: str(known[key]) for key in ("url", "device", "token")} if known["url"] == url else None
    except (ValueError, KeyError, TypeError) as error:
        raise EdgeError(f"{path} does not hold a device's credentials ({error}); delete it to join again") from error


def _write_credentials(path: Path, values: Mapping[str, str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(values, stream)
