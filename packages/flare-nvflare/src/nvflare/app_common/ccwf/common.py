"""Names of algorithms in which sites have control."""


class Constant:
    """Names and times; the times have no effect, since Flare knows whether sites work."""

    TN_PREFIX_CYCLIC = "cyclic"
    TN_PREFIX_SWARM = "swarm"
    TN_PREFIX_CROSS_SITE_EVAL = "cse"
    CONFIG_TASK_TIMEOUT = 300
    START_TASK_TIMEOUT = 10
    END_WORKFLOW_TIMEOUT = 2.0
    TASK_CHECK_INTERVAL = 0.5
    JOB_STATUS_CHECK_INTERVAL = 2.0
    PER_CLIENT_STATUS_REPORT_TIMEOUT = 90.0
    WORKFLOW_PROGRESS_TIMEOUT = 3600.0
    LEARN_TASK_CHECK_INTERVAL = 1.0
    LEARN_TASK_ACK_TIMEOUT = 10
    LEARN_TASK_ABORT_TIMEOUT = 5.0
    FINAL_RESULT_ACK_TIMEOUT = 10
    GET_MODEL_TIMEOUT = 10
    MAX_TASK_TIMEOUT = 3600


class CyclicOrder:
    """Orders of the sites."""

    FIXED = "fixed"
    RANDOM = "random"


class ModelType:
    """Kinds of models."""

    LOCAL = "local"
    GLOBAL = "global"


class ResultType:
    """Kinds of results."""

    BEST = "best"
    LAST = "last"
