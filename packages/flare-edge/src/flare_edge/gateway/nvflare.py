"""The four POST routes of NVFlare's edge gateway, as a second front: off unless a site's owner sets ``nvflare_routes``.

Requests and answers are JSON; ``status`` is one of OK, RETRY, DONE, ERROR, NO_JOB and INVALID_REQUEST. Devices send
their name in ``X-Flare-Device-ID``, and prove it by the token of ``/v1/devices``: as a bearer, or as ``auth_token`` in
``X-Flare-User-Info`` or in ``user_info``. Models and differences travel as nested lists of numbers, under ``data`` of a
``WEIGHTS`` or ``WEIGHT_DIFF`` object.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from flare_edge.device.safetensors import dumps
from flare_edge.gateway.app import Front, as_json
from flare_edge.gateway.results import Refused, Result, json_result, parsed, train_result, update_dtype
from flare_edge.protocol import MAX_JSON_BYTES

_WAIT_S = 5.0
_BYTES_PER_NUMBER = 32


class NVFlareFront:
    """The routes; they do what those of ``/v1`` do."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._gateway = front.gateway
        self._job = str(self._gateway.job["name"])

    def routes(self) -> list[Route]:
        """Return the routes."""
        handlers = {"/job": self.job, "/task": self.task, "/result": self.result, "/selection": self.selection}
        return [Route(path, self._answering(handler), methods=["POST"]) for path, handler in handlers.items()]

    async def job(self, device: str, request: Request, values: dict[str, Any]) -> dict[str, Any]:
        """Describe the job, if it is the one that the device asks for."""
        if values.get("job_name") not in (None, "", self._job):
            return {"status": "NO_JOB", "job_name": values["job_name"]}
        return {
            "status": "OK",
            "job_id": self._job,
            "job_name": self._job,
            "method": str(self._gateway.config.get("method", "")),
            "job_data": dict(self._gateway.config),
        }

    async def task(self, device: str, request: Request, values: dict[str, Any]) -> dict[str, Any]:
        """Hand out the device's order, or wait a little for one."""
        order = await self._front.order(device, _WAIT_S)
        if order is None:
            return {"status": "RETRY", "job_id": self._job, "retry_wait": 1}
        self._gateway.counts["check_ins"] += 1
        params = self._gateway.model(order.version).params
        data = {name: value.tolist() for name, value in params.items()}
        return {
            "status": "OK",
            "job_id": self._job,
            "task_id": str(order.ticket),
            "task_name": order.kind,
            "task_data": {"data_kind": "WEIGHTS", "data": data, "meta": {"config": dict(self._gateway.config)}},
            "cookie": {"model_version": order.version},
        }

    async def result(self, device: str, request: Request, values: dict[str, Any]) -> dict[str, Any]:
        """Accept a result.

        Raises:
            Refused: the ticket is not the device's, or the result does not fit.
        """
        task = request.query_params.get("task_id") or str(values.get("task_id", ""))
        if not (task.isascii() and task.isdecimal() and len(task) <= 16):
            raise Refused(404, "unknown_ticket", "there is no such task_id")
        await self._front.report(device, int(task), lambda: self._checked(values))
        return {"status": "OK", "task_id": task, "task_name": str(values.get("task_name", "")), "message": "accepted"}

    async def selection(self, device: str, request: Request, values: dict[str, Any]) -> dict[str, Any]:
        """Say whether the device was chosen: the selection has nobody else."""
        order = self._gateway.poll(device)
        name = device.rpartition("/")[2]
        chosen = {} if order is None else {name: str(order.ticket)}
        return {"status": "OK", "job_id": self._job, "task_id": chosen.get(name), "selection": chosen}

    def _checked(self, values: dict[str, Any]) -> Result:
        """Return the result of a report, checked as those of ``/v1`` are."""
        if values.get("status", "OK") != "OK":
            return json_result(_encoded({"error": f"the device reports {values['status']}"}))
        result = values.get("result")
        if not isinstance(result, dict) or not isinstance(result.get("meta", {}), dict):
            raise Refused(422, "fields", "result must be an object with data_kind, data and meta")
        meta = result.get("meta", {})
        if result.get("data_kind") == "METRICS":
            evaluation = {"num_examples": meta.get("num_examples", 1), "metrics": result.get("data")}
            return json_result(_encoded(evaluation))
        if result.get("data_kind") != "WEIGHT_DIFF" or not isinstance(result.get("data"), dict):
            raise Refused(422, "fields", "data_kind must be WEIGHT_DIFF or METRICS, and data an object")
        like = self._gateway.like
        update = {name: _array(name, value, like) for name, value in result["data"].items()}
        metadata = {
            "num_examples": str(meta.get("num_examples", 1)),
            "metrics": json.dumps(meta.get("metrics", {})),
        }
        return train_result(dumps(update, metadata), like, self._gateway.scale)

    def _answering(
        self, handler: Callable[[str, Request, dict[str, Any]], Awaitable[dict[str, Any]]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                device, values = await self._read(request)
                return as_json(await handler(device, request, values))
            except Refused as refused:
                self._gateway.counts[f"refused.{refused.code}"] += 1
                if refused.code == "over":
                    return as_json({"status": "DONE", "job_id": self._job})
                status = "INVALID_REQUEST" if refused.status < 500 else "ERROR"
                headers = {"connection": "close"} if refused.closes else None
                return as_json({"status": status, "message": str(refused)}, refused.status, headers)

        return answer

    async def _read(self, request: Request) -> tuple[str, dict[str, Any]]:
        """Return the device and what it sends.

        Raises:
            Refused: it does not prove its name, or what it sends is not JSON.
        """
        name = request.headers.get("x-flare-device-id", "")
        if not name:
            raise Refused(400, "device_id", "the header X-Flare-Device-ID is missing", closes=True)
        try:
            header = parse_qs(request.headers.get("x-flare-user-info", "")[:4096], max_num_fields=32)
        except ValueError as error:
            raise Refused(400, "malformed", "X-Flare-User-Info has more than 32 fields", closes=True) from error
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        tokens = [bearer.strip() if scheme.lower() == "bearer" else "", *header.get("auth_token", [])]
        token = next(filter(None, tokens), "")
        device = self._front.device_of(token, request) if token else ""
        size = sum(value.size for value in self._gateway.like.values())
        limit = MAX_JSON_BYTES + _BYTES_PER_NUMBER * size if token else MAX_JSON_BYTES
        values = parsed(await self._front.bodies.read(request, limit, device))
        if not token:
            user = values.get("user_info")
            found = user.get("auth_token") if isinstance(user, dict) else None
            device = self._front.device_of(found if isinstance(found, str) else "", request)
        if device.rpartition("/")[2] != name:
            raise Refused(403, "not_yours", "the token is that of another device than X-Flare-Device-ID says")
        return device, values


def _encoded(values: dict[str, Any]) -> bytes:
    return json.dumps(values).encode()


def _array(name: str, value: Any, like: Any) -> np.ndarray[Any, Any]:
    """Return nested lists as an array of the dtype that an update must have."""
    if name not in like:
        raise Refused(422, "names", f"{name[:100]!r} is not a parameter of the model")
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise Refused(422, "shape", f"{name!r} is not a regular array") from error
    if array.dtype.kind not in "fi":
        raise Refused(422, "dtype", f"{name!r} does not hold numbers")
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
        return array.astype(update_dtype(like[name]))
