"""Names of split learning."""

from nvflare._flare.names import lazy


class SplitNNDataKind:
    """Kinds of data."""

    ACTIVATIONS = "_splitnn_activations_"
    GRADIENT = "_splitnn_gradient_"


class SplitNNConstants:
    """Names."""

    BATCH_INDICES = "_splitnn_batch_indices_"
    DATA = "_splitnn_data_"
    BATCH_SIZE = "_splitnn_batch_size_"
    TARGET_NAMES = "_splitnn_target_names_"
    TASK_INIT_MODEL = "_splitnn_task_init_model_"
    TASK_TRAIN_LABEL_STEP = "_splitnn_task_train_label_step_"
    TASK_VALID_LABEL_STEP = "_splitnn_task_valid_label_step_"
    TASK_TRAIN = "_splitnn_task_train_"
    TASK_LABEL_STEP = "_splitnn_task_label_step_"
    TASK_RESULT = "_splitnn_task_result_"
    TIMEOUT = 60.0


__getattr__, __dir__, _names = lazy(
    __name__,
    {},
    {"SplitNNController": "the sites exchange activations through flare_core.JobEndpoint; see docs/extending.md"},
)
