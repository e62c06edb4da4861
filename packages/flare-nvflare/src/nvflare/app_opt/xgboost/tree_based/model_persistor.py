"""XGBModelPersistor, which stores trees."""

from __future__ import annotations

from nvflare._flare.trees import TreePart


class XGBModelPersistor(TreePart):
    """Names the file of the trees.

    Args:
        save_name: the file's name.
        load_as_dict: without effect.
    """

    def __init__(self, save_name: str = "xgboost_model.json", load_as_dict: bool = True) -> None:
        super().__init__()
        self.save_name = save_name
