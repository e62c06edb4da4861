"""PSIExecutor, the sites' part of an intersection."""

from nvflare._flare.intersections import IntersectingExecutor


class PSIExecutor(IntersectingExecutor):
    """Intersects the ids of a site with those of others.

    Args:
        psi_algo_id: the id of the :class:`~nvflare.app_opt.psi.dh_psi.dh_psi_task_handler.DhPSITaskHandler`.
    """

    def __init__(self, psi_algo_id: str) -> None:
        super().__init__()
        self.psi_algo_id = psi_algo_id
