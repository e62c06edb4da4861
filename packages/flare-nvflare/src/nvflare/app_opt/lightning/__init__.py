"""Lightning trainers that take part in a run."""

from nvflare._flare.names import lazy

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {"patch": "nvflare.app_opt.lightning.api"},
    {"FLCallback": "use patch(trainer), which adds what a trainer needs"},
)
