"""Settings of a gateway, which belong to the owner of its site: ``edge.json`` in the site's ``local`` folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from flare_edge.errors import EdgeError

FILE = "edge.json"
REGISTRY = "edge-devices.sqlite"


class Limits(BaseModel):
    """How much devices may ask of a gateway.

    Attributes:
        connections: open connections in all, and per address.
        requests_per_s: of one device; as many as ten times that at once.
        refusals_per_s: requests of one address that are refused for their token or invitation; ten times that at once.
        registrations_per_s: of one address; ten times that at once.
        devices: registered devices in all.
        head_timeout_s: until a request's head is complete.
        min_bytes_per_s: of a body, after a grace of ``head_timeout_s``; slower devices are disconnected.
        idle_timeout_s: until a connection without a request is closed.
        max_wait_s: a poll's longest wait for an order.
        body_bytes_in_flight: bodies that are being received, in all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    connections: Annotated[int, Field(ge=1)] = 12_000
    connections_per_address: Annotated[int, Field(ge=1)] = 1_000
    requests_per_s: Annotated[float, Field(gt=0)] = 20.0
    refusals_per_s: Annotated[float, Field(gt=0)] = 10.0
    registrations_per_s: Annotated[float, Field(gt=0)] = 20.0
    devices: Annotated[int, Field(ge=1)] = 100_000
    head_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    min_bytes_per_s: Annotated[float, Field(gt=0)] = 4096.0
    idle_timeout_s: Annotated[float, Field(gt=0)] = 75.0
    max_wait_s: Annotated[float, Field(gt=0)] = 60.0
    body_bytes_in_flight: Annotated[int, Field(ge=1)] = 1 << 28


class GatewaySettings(BaseModel):
    """The decisions of a site's owner about its gateway.

    Attributes:
        listen: host and port; port 0 takes any free one.
        certificate, key: PEM files, relative to the settings' folder; without them the gateway makes a self-signed
            certificate at each start, whose SHA-256 is in the join link.
        public_url: how devices reach the gateway, if not at ``listen``.
        plain_http: no TLS; only on a loopback address.
        invitations: ``open``: each start makes an invitation for any number of devices, in the join link; ``listed``:
            only those of ``flare edge invite``.
        nvflare_routes: serve the routes of NVFlare's devices, too; see :mod:`flare_edge.gateway.nvflare`.
        min_devices_per_sum: sums of fewer devices do not leave the site; a job may want more, but not fewer.
        device_timeout_s: an idle device that has been silent for so long has left.
        limits: see :class:`Limits`.
        registry: the file of invitations and devices; None: in the run's folder, for that run only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    listen: Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\[\]/\s]+):[0-9]{1,5}$")] = "127.0.0.1:0"
    certificate: Path | None = None
    key: Path | None = None
    public_url: Annotated[str | None, Field(pattern=r"^https?://[^\s#?]+$")] = None
    plain_http: bool = False
    invitations: Literal["open", "listed"] = "open"
    nvflare_routes: bool = False
    min_devices_per_sum: Annotated[int, Field(ge=1)] = 1
    device_timeout_s: Annotated[float, Field(gt=0)] = 60.0
    limits: Limits = Limits()
    registry: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key need each other")
        if self.plain_http and (self.host not in ("127.0.0.1", "::1", "localhost") or self.certificate is not None):
            raise ValueError("plain_http is for a loopback address without a certificate only")
        return self

    @property
    def host(self) -> str:
        """The address to listen at, without brackets."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen at; 0 for any."""
        return int(self.listen.rpartition(":")[2])

    @classmethod
    def read(cls, local: Path) -> Self:
        """Read ``edge.json`` in a site's folder of settings; without it, return the defaults.

        Raises:
            EdgeError: it is not valid; names the file and the key.
        """
        path = local / FILE
        try:
            values: Any = json.loads(path.read_text())
        except FileNotFoundError:
            registry = local / REGISTRY
            return cls(registry=registry if registry.exists() else None)
        except ValueError as error:
            raise EdgeError(f"{path} is not valid JSON ({error}); correct it and start the job again") from error
        if not isinstance(values, dict):
            raise EdgeError(f"{path} is not a JSON object; correct it and start the job again")
        values.setdefault("registry", REGISTRY)
        values.setdefault("invitations", "listed")
        for name in ("certificate", "key", "registry"):
            if isinstance(values.get(name), str):
                values[name] = local / values[name]
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"]) or "the settings"
            raise EdgeError(f"{path}: {place}: {first['msg']}; correct the file and start the job again") from error
