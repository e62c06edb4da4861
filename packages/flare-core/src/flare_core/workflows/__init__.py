"""The server's side of the algorithms that need no framework."""

from flare_core.workflows.cyclic import Cyclic
from flare_core.workflows.distribution import Distribution
from flare_core.workflows.evaluation import CrossSiteEval, FedEval
from flare_core.workflows.fedavg import FedAvg
from flare_core.workflows.fedopt import FedOpt
from flare_core.workflows.scaffold import Scaffold
from flare_core.workflows.swarm import Swarm
from flare_core.workflows.swarm_evaluation import SwarmEval

__all__ = ["CrossSiteEval", "Cyclic", "Distribution", "FedAvg", "FedEval", "FedOpt", "Scaffold", "Swarm", "SwarmEval"]
