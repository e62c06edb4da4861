"""The vocabulary of federated learning: models, tasks, workflows, aggregation, jobs, recipes, and the Client API."""

from importlib.metadata import PackageNotFoundError, version

from flare_core.aggregation import Aggregator, WeightedMean
from flare_core.callbacks import BestModel, Callback, EarlyStopping, ServerEvaluation
from flare_core.endpoint import JobEndpoint, Stream
from flare_core.environment import Run, RunStatus
from flare_core.errors import (
    ClientApiError,
    DtypeMismatchError,
    EmptyRoundError,
    FlareError,
    JobAborted,
    JobError,
    JobFailed,
    ModelError,
    ModelTypeError,
    NonFiniteError,
    PartyError,
    RecipeError,
    ShapeMismatchError,
    SiteError,
    UnknownArgumentError,
    UnknownKeyError,
    WeightError,
)
from flare_core.evaluator import Evaluator
from flare_core.executor import Executor, SiteContext
from flare_core.filters import Filter, FilterContext, TensorFilter
from flare_core.job import Job
from flare_core.job_folder import load_job
from flare_core.model import FLModel, MetaKey, ParamsType, updated
from flare_core.observer import ObservedRun, Observer
from flare_core.recipe import Recipe
from flare_core.service import JobContext, Service
from flare_core.task import Reply, Sample, Task
from flare_core.workflow import Conversation, Federation, TrainingFederation, Workflow

try:
    __version__ = version("flare-core")
except PackageNotFoundError:  # a source tree that was not installed
    __version__ = "0+source"

__all__ = [
    "Aggregator",
    "BestModel",
    "Callback",
    "ClientApiError",
    "Conversation",
    "DtypeMismatchError",
    "EarlyStopping",
    "EmptyRoundError",
    "Evaluator",
    "Executor",
    "FLModel",
    "Federation",
    "Filter",
    "FilterContext",
    "FlareError",
    "Job",
    "JobAborted",
    "JobContext",
    "JobEndpoint",
    "JobError",
    "JobFailed",
    "MetaKey",
    "ModelError",
    "ModelTypeError",
    "NonFiniteError",
    "ObservedRun",
    "Observer",
    "ParamsType",
    "PartyError",
    "Recipe",
    "RecipeError",
    "Reply",
    "Run",
    "RunStatus",
    "Sample",
    "ServerEvaluation",
    "Service",
    "ShapeMismatchError",
    "SiteContext",
    "SiteError",
    "Stream",
    "Task",
    "TensorFilter",
    "TrainingFederation",
    "UnknownArgumentError",
    "UnknownKeyError",
    "WeightError",
    "WeightedMean",
    "Workflow",
    "load_job",
    "updated",
]
