"""FedXGBTreeExecutor, which grows trees from the rows of its site."""

from __future__ import annotations

from flare_core import RecipeError
from nvflare._flare.trees import TreeExecutor


class FedXGBTreeExecutor(TreeExecutor):
    """Grows trees from the rows of its site, with :class:`flare_xgb.XGBBaggingRecipe`.

    Args:
        training_mode: ``bagging`` or ``cyclic``.
        lr_scale: what the learning rate is multiplied by, if ``lr_mode`` is ``scaled``.
        data_loader_id: the id of the object that reads the site's rows.
        num_local_parallel_tree: the number of trees in a round.
        local_subsample: the fraction of the rows that a tree grows from.
        num_client_bagging, local_model_path, global_model_path, train_task_name, use_gpus: without effect.
    Raises:
        RecipeError: ``lr_mode`` is neither ``uniform`` nor ``scaled``.
    """

    def __init__(
        self,
        training_mode: str,
        lr_scale: float,
        data_loader_id: str,
        num_client_bagging: int = 1,
        lr_mode: str = "uniform",
        local_model_path: str = "model.json",
        global_model_path: str = "model_global.json",
        learning_rate: float = 0.1,
        objective: str = "binary:logistic",
        num_local_parallel_tree: int = 1,
        local_subsample: float = 1,
        max_depth: int = 8,
        eval_metric: str = "auc",
        nthread: int = 16,
        tree_method: str = "hist",
        train_task_name: str = "train",
        use_gpus: bool = False,
    ) -> None:
        super().__init__()
        if lr_mode not in ("uniform", "scaled"):
            raise RecipeError(f"lr_mode is {lr_mode!r}; write 'uniform' or 'scaled'")
        self.training_mode = training_mode
        self.lr_scale = lr_scale
        self.lr_mode = lr_mode
        self.data_loader_id = data_loader_id
        self.xgb_params = {
            "num_parallel_tree": num_local_parallel_tree,
            "subsample": local_subsample,
            "eta": learning_rate,
            "objective": objective,
            "max_depth": max_depth,
            "eval_metric": eval_metric,
            "tree_method": tree_method,
            "nthread": nthread,
        }
