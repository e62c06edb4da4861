from nvflare._flare.missing import MONAI
from nvflare._flare.names import lazy

__getattr__, __dir__, __all__ = lazy(__name__, {}, {"MonaiTrainer": MONAI})
