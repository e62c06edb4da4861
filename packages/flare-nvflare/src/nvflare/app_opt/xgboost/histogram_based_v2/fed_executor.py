"""FedXGBHistogramExecutor, the sites' part of a federation that XGBFedController leads."""

from __future__ import annotations

from nvflare._flare.trees import TreeExecutor


class FedXGBHistogramExecutor(TreeExecutor):
    """Grows trees with other sites.

    Args:
        data_loader_id: the id of the object that reads the site's data.
        model_file_name: the file of the model in the site's folder.
        metrics_writer_id: without effect: metrics are in the run's record, and go to its trackers.
        per_msg_timeout, tx_timeout, in_process: without effect.
    """

    def __init__(
        self,
        data_loader_id: str,
        per_msg_timeout: float = 60.0,
        tx_timeout: float = 600.0,
        model_file_name: str = "model.json",
        metrics_writer_id: str | None = None,
        in_process: bool = True,
    ) -> None:
        super().__init__()
        self.data_loader_id = data_loader_id
        self.model_file_name = model_file_name
