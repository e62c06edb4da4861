"""Controllers of algorithms in which sites exchange values with their neighbours."""

from nvflare.app_opt.p2p.controllers.dist_opt_controller import DistOptController

__all__ = ["DistOptController"]
