"""XGBBaggingAggregator, which collects the trees of all sites."""

from nvflare._flare.trees import TreePart


class XGBBaggingAggregator(TreePart):
    """Collects the trees of all sites; a mark, since flare_xgb does it itself."""
