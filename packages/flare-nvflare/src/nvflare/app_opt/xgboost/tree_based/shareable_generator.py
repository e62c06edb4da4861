"""XGBModelShareableGenerator, which sends trees."""

from nvflare._flare.trees import TreePart


class XGBModelShareableGenerator(TreePart):
    """Sends trees; a mark, since flare_xgb does it itself."""
