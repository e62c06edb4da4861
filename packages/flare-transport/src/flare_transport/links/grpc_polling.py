"""Which of gRPC's threads read the sockets."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version

__all__ = ["EXPERIMENTS", "WITHOUT_ENGINE", "one_thread_reads"]

EXPERIMENTS = "GRPC_EXPERIMENTS"
WITHOUT_ENGINE = "-event_engine_client,-event_engine_listener"
_FIRST, _AFTER_LAST = (1, 80), (1, 86)  # the versions of which it is known that this is the other default


@contextmanager
def one_thread_reads() -> Iterator[None]:
    """Within this, ``import grpc`` so that the thread which waits for gRPC's events reads the sockets itself.

    From 1.80 on gRPC for Python reads them on threads of its own, each of which hands what it has read to another: a
    small message takes a third longer, and of the threads there are more the more processes compete for a processor.
    The switch exists as long as gRPC keeps both ways. It is gRPC's for the whole process, read when gRPC is loaded;
    whoever sets it, or loads gRPC first, decides.
    """
    if EXPERIMENTS in os.environ or not _FIRST <= _grpc_version() < _AFTER_LAST:
        yield
        return
    os.environ[EXPERIMENTS] = WITHOUT_ENGINE
    try:
        yield
    finally:  # processes that this one starts may have another gRPC, which warns of names that it does not know
        os.environ.pop(EXPERIMENTS, None)


def _grpc_version() -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in version("grpcio").split(".")[:2])
    except (PackageNotFoundError, ValueError):  # it is not installed, which is told where it is loaded
        return ()
