"""Run jobs in a federation of processes, on this machine or across sites. Names are imported on first use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flare_deploy.admin import Admin
    from flare_deploy.poc import PocEnv
    from flare_deploy.prod import ProdEnv
    from flare_deploy.server_connection import AdminError

__all__ = ["Admin", "AdminError", "PocEnv", "ProdEnv"]

_MODULES = {"Admin": "admin", "AdminError": "server_connection", "PocEnv": "poc", "ProdEnv": "prod"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'flare_deploy' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"flare_deploy.{_MODULES[name]}"), name)
