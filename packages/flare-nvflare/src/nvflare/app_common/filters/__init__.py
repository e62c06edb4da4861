"""Filters of models."""

from nvflare._flare.names import lazy

_PACKAGE = "nvflare.app_common.filters"

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "DXOBlocker": f"{_PACKAGE}.dxo_blocker",
        "ExcludeVars": f"{_PACKAGE}.exclude_vars",
        "PercentilePrivacy": f"{_PACKAGE}.percentile_privacy",
        "SVTPrivacy": f"{_PACKAGE}.svt_privacy",
    },
)
