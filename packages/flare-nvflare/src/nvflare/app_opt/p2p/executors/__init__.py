"""Executors of algorithms in which sites exchange values with their neighbours."""

from nvflare._flare.names import lazy

_PACKAGE = "nvflare.app_opt.p2p.executors"

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "BaseDistOptExecutor": f"{_PACKAGE}.base_dist_opt_executor",
        "ConsensusExecutor": f"{_PACKAGE}.consensus",
        "DGDExecutor": f"{_PACKAGE}.distributed_gradient_descent",
        "GTADAMExecutor": f"{_PACKAGE}.gtadam",
        "GTExecutor": f"{_PACKAGE}.gradient_tracking",
        "SyncAlgorithmExecutor": f"{_PACKAGE}.sync_executor",
    },
)
