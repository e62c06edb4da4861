"""Feature election: the sites vote for the features that a model of all uses."""

from nvflare._flare.names import lazy

_HERE = "nvflare.app_opt.feature_election"
_INSTEAD = "make a FedJob of FeatureElectionController and FeatureElectionExecutor, and run it in SimEnv"
__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "FeatureElectionController": f"{_HERE}.controller",
        "FeatureElectionExecutor": f"{_HERE}.executor",
    },
    dict.fromkeys(("FeatureElection", "load_election_results", "quick_election"), _INSTEAD),
)
