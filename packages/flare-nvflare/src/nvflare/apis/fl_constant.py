"""Names of properties, return codes and headers."""

from enum import Enum
from typing import ClassVar


class ReturnCode:
    """Constants: return code."""

    OK = "OK"
    BAD_PEER_CONTEXT = "BAD_PEER_CONTEXT"
    BAD_REQUEST_DATA = "BAD_REQUEST_DATA"
    BAD_TASK_DATA = "BAD_TASK_DATA"
    COMMUNICATION_ERROR = "COMMUNICATION_ERROR"
    TIMEOUT = "TIMEOUT"
    ERROR = "ERROR"
    EXECUTION_EXCEPTION = "EXECUTION_EXCEPTION"
    EXECUTION_RESULT_ERROR = "EXECUTION_RESULT_ERROR"
    HANDLER_EXCEPTION = "HANDLER_EXCEPTION"
    MISSING_PEER_CONTEXT = "MISSING_PEER_CONTEXT"
    RUN_MISMATCH = "RUN_MISMATCH"
    TASK_ABORTED = "TASK_ABORTED"
    TASK_DATA_FILTER_ERROR = "TASK_DATA_FILTER_ERROR"
    TASK_RESULT_FILTER_ERROR = "TASK_RESULT_FILTER_ERROR"
    TASK_UNKNOWN = "TASK_UNKNOWN"
    TASK_UNSUPPORTED = "TASK_UNSUPPORTED"
    TOPIC_UNKNOWN = "TOPIC_UNKNOWN"
    MODEL_UNRECOGNIZED = "MODEL_UNRECOGNIZED"
    VALIDATE_TYPE_UNKNOWN = "VALIDATE_TYPE_UNKNOWN"
    EMPTY_RESULT = "EMPTY_RESULT"
    UNSAFE_JOB = "UNSAFE_JOB"
    EARLY_TERMINATION = "EARLY_TERMINATION"
    SERVER_NOT_READY = "SERVER_NOT_READY"
    SERVICE_UNAVAILABLE = "SERVICE_UNAVAILABLE"


class MachineStatus(Enum):
    """Constants: machine status."""

    STARTING = "starting"
    STARTED = "started"
    STOPPING = "stopping"
    STOPPED = "stopped"


class ReservedKey:
    """Constants: reserved key."""

    MANAGER = "__manager__"
    ENGINE = "__engine__"
    AUX_RUNNER = "__aux_runner__"
    RUN_NUM = "__run_num__"
    IDENTITY_NAME = "__identity_name__"
    FQSN = "__fqsn__"
    IS_LEAF = "__is_leaf__"
    PEER_CTX = "__peer_ctx__"
    RC = "__rc__"
    COOKIE_JAR = "__cookie_jar__"
    WORKSPACE_ROOT = "__workspace_root__"
    APP_ROOT = "__app_root__"
    CLIENT_NAME = "__client_name__"
    CLIENT_TYPE = "__client_type__"
    TASK_NAME = "__task_name__"
    TASK_DATA = "__task_data__"
    TASK_RESULT = "__task_result__"
    TASK_ID = "__task_id__"
    EVENT_ID = "__event_id__"
    AUDIT_EVENT_ID = "__audit_event_id__"
    IS_RESEND = "__is_resend__"
    RUNNER = "__runner__"
    WORKFLOW = "__workflow__"
    REPLY = "__reply__"
    EVENT_ORIGIN = "__event_origin__"
    EVENT_ORIGIN_SITE = "__event_origin_site__"
    EVENT_DATA = "__event_data__"
    EVENT_SCOPE = "__event_scope__"
    RUN_ABORT_SIGNAL = "__run_abort_signal__"
    RUN_ABORT_REQUESTED = "__run_abort_requested__"
    SHAREABLE = "__shareable__"
    SHARED_FL_CONTEXT = "__shared_fl_context__"
    ARGS = "__args__"
    WORKSPACE_OBJECT = "__workspace_object__"
    RANK_NUMBER = "__rank_number__"
    NUM_OF_PROCESSES = "__num_of_processes__"
    FROM_RANK_NUMBER = "__from_rank_number__"
    SECURE_MODE = "__secure_mode__"
    SIMULATE_MODE = "__simulate_mode__"
    JOB_INFO = "__job_info__"
    JOB_META = "__job_meta__"
    CURRENT_JOB_ID = "__current_job_id__"
    JOB_RUN_NUMBER = "__job_run_number__"
    JOB_DEPLOY_DETAIL = "__job_deploy_detail__"
    FATAL_SYSTEM_ERROR = "__fatal_system_error__"
    JOB_IS_UNSAFE = "__job_is_unsafe__"
    CUSTOM_PROPS = "__custom_props__"
    EXCEPTIONS = "__exceptions__"
    PROCESS_TYPE = "__process_type__"
    JOB_PROCESS_ARGS = "__job_process_args__"
    SP_END_POINT = "__sp_end_point__"
    TASK_IS_READY = "__task_is_ready__"


class FLContextKey:
    """Constants: fLContext key."""

    TASK_NAME = "__task_name__"
    TASK_DATA = "__task_data__"
    TASK_RESULT = "__task_result__"
    TASK_ID = "__task_id__"
    EVENT_ID = "__event_id__"
    EVENT_ORIGIN = "__event_origin__"
    EVENT_ORIGIN_SITE = "__event_origin_site__"
    EVENT_DATA = "__event_data__"
    EVENT_SCOPE = "__event_scope__"
    EXCEPTIONS = "__exceptions__"
    CLIENT_NAME = "__client_name__"
    CLIENT_TYPE = "__client_type__"
    WORKSPACE_ROOT = "__workspace_root__"
    CURRENT_RUN = "__run_num__"
    APP_ROOT = "__app_root__"
    PEER_CONTEXT = "__peer_ctx__"
    IS_CLIENT_TASK_RESEND = "__is_resend__"
    RUNNER = "__runner__"
    WORKFLOW = "__workflow__"
    SHAREABLE = "__shareable__"
    RUN_ABORT_SIGNAL = "__run_abort_signal__"
    RUN_ABORT_REQUESTED = "__run_abort_requested__"
    ARGS = "__args__"
    REPLY = "__reply__"
    WORKSPACE_OBJECT = "__workspace_object__"
    RANK_NUMBER = "__rank_number__"
    NUM_OF_PROCESSES = "__num_of_processes__"
    FROM_RANK_NUMBER = "__from_rank_number__"
    SECURE_MODE = "__secure_mode__"
    SIMULATE_MODE = "__simulate_mode__"
    JOB_INFO = "__job_info__"
    JOB_META = "__job_meta__"
    CURRENT_JOB_ID = "__current_job_id__"
    JOB_RUN_NUMBER = "__job_run_number__"
    JOB_DEPLOY_DETAIL = "__job_deploy_detail__"
    CUSTOM_PROPS = "__custom_props__"
    JOB_SCOPE_NAME = "__job_scope_name__"
    EFFECTIVE_JOB_SCOPE_NAME = "__effective_job_scope_name__"
    SCOPE_PROPERTIES = "__scope_props__"
    SCOPE_OBJECT = "__scope_object__"
    FATAL_SYSTEM_ERROR = "__fatal_system_error__"
    COMMUNICATION_ERROR = "Flare_communication_error__"
    UNAUTHENTICATED = "Flare_unauthenticated__"
    CLIENT_RESOURCE_SPECS = "__client_resource_specs"
    RESOURCE_CHECK_RESULT = "__resource_check_result"
    JOB_PARTICIPANTS = "__job_participants"
    JOB_BLOCK_REASON = "__job_block_reason"
    SSID = "__ssid__"
    CLIENT_TOKEN = "__client_token"
    AUTHORIZATION_RESULT = "_authorization_result"
    AUTHORIZATION_REASON = "_authorization_reason"
    DISCONNECTED_CLIENT_NAME = "_disconnected_client_name"
    RECONNECTED_CLIENT_NAME = "_reconnected_client_name"
    SITE_OBJ = "_site_obj_"
    JOB_LAUNCHER = "_job_launcher"
    SNAPSHOT = "job_snapshot"
    CLIENT_REGISTER_DATA = "_client_register_data"
    SECURITY_ITEMS = "_security_items"
    COMMAND_NAME = "_command_name"
    SITE_NAME = "__site_name"
    USER_NAME = "__user_name"
    USER_ORG = "__user_org"
    USER_ROLE = "__user_role"
    SUBMITTER_NAME = "_submitterName"
    SUBMITTER_ORG = "_submitterOrg"
    SUBMITTER_ROLE = "_submitterRole"
    COMPONENT_BUILD_ERROR = "__component_build_error__"
    COMPONENT_CONFIG = "__component_config__"
    COMPONENT_NODE = "__component_node__"
    CONFIG_CTX = "__config_ctx__"
    FILTER_DIRECTION = "__filter_dir__"
    ROOT_URL = "__root_url__"
    NOT_READY_TO_END_RUN = "not_ready_to_end_run__"
    CLIENT_CONFIG = "__client_config__"
    SERVER_CONFIG = "__server_config__"
    CLIENT_SITE_CONFIG = "__client_site_config__"
    SERVER_HOST_NAME = "__server_host_name__"
    PROCESS_TYPE = "__process_type__"
    JOB_PROCESS_ARGS = "__job_process_args__"
    EVENT_PROCESSED = "__event_processed__"
    CELL_MESSAGE = "__cell_message__"
    CLIENT_HIERARCHY = "__client_hierarchy__"
    MIN_GET_TASK_TIMEOUT = "__min_get_task_timeout__"


class ProcessType:
    """Constants: process type."""

    SERVER_PARENT = "SP"
    SERVER_JOB = "SJ"
    CLIENT_PARENT = "CP"
    CLIENT_JOB = "CJ"


class ReservedTopic:
    """Constants: reserved topic."""

    END_RUN = "__end_run__"
    ABORT_ASK = "__abort_task__"
    DO_TASK = "__do_task__"
    AUX_COMMAND = "__aux_command__"
    SYNC_RUNNER = "__sync_runner__"
    JOB_HEART_BEAT = "__job_heartbeat__"
    TASK_CHECK = "__task_check__"
    APP_METRICS = "__app_metrics__"
    MSG_ROOT_DELETED = "__msg_root_deleted__"
    STOP_CELLNET = "__stop_cellnet__"


class AdminCommandNames:
    """Constants: admin command names."""

    REGISTER_STUDY = "register_study"
    ADD_STUDY_SITE = "add_study_site"
    REMOVE_STUDY_SITE = "remove_study_site"
    REMOVE_STUDY = "remove_study"
    LIST_STUDIES = "list_studies"
    SHOW_STUDY = "show_study"
    ADD_STUDY_USER = "add_study_user"
    REMOVE_STUDY_USER = "remove_study_user"
    SUBMIT_JOB = "submit_job"
    LIST_JOBS = "list_jobs"
    GET_JOB_META = "get_job_meta"
    LIST_JOB = "list_job"
    DOWNLOAD_JOB = "download_job"
    DOWNLOAD_JOB_COMPONENTS = "download_job_components"
    ABORT_JOB = "abort_job"
    DELETE_JOB = "delete_job"
    CLONE_JOB = "clone_job"
    DELETE_WORKSPACE = "delete_workspace"
    CHECK_RESOURCES = "check_resources"
    DEPLOY_APP = "deploy_app"
    CHECK_STATUS = "check_status"
    ADMIN_CHECK_STATUS = "admin_check_status"
    ABORT = "abort"
    ABORT_TASK = "abort_task"
    REMOVE_CLIENT = "remove_client"
    DISABLE_CLIENT = "disable_client"
    ENABLE_CLIENT = "enable_client"
    SHUTDOWN = "shutdown"
    RESTART = "restart"
    SET_TIMEOUT = "set_timeout"
    SHOW_STATS = "show_stats"
    SHOW_ERRORS = "show_errors"
    RESET_ERRORS = "reset_errors"
    GET_JOB_LOG = "get_job_log"
    AUX_COMMAND = "aux_command"
    SYS_INFO = "sys_info"
    REPORT_RESOURCES = "report_resources"
    REPORT_ENV = "report_env"
    REPORT_VERSION = "report_version"
    SHOW_SCOPES = "show_scopes"
    CALL = "call"
    SHELL_PWD = "pwd"
    SHELL_LS = "ls"
    SHELL_CAT = "cat"
    SHELL_HEAD = "head"
    SHELL_TAIL = "tail"
    SHELL_GREP = "grep"
    APP_COMMAND = "app_command"
    CONFIGURE_JOB_LOG = "configure_job_log"
    CONFIGURE_SITE_LOG = "configure_site_log"


class ServerCommandNames:
    """Constants: server command names."""

    GET_RUN_INFO = "get_run_info"
    GET_TASK = "get_task"
    SUBMIT_UPDATE = "submit_update"
    AUX_COMMUNICATE = "aux_communicate"
    HEARTBEAT = "heartbeat"
    GET_CLIENTS = "get_clients"
    AUX_SEND = "aux_send"
    SHOW_STATS = "show_stats"
    GET_ERRORS = "get_errors"
    RESET_ERRORS = "reset_errors"
    UPDATE_RUN_STATUS = "update_run_status"
    HANDLE_DEAD_JOB = "handle_dead_job"
    SERVER_STATE = "server_state"
    APP_COMMAND = "app_command"


class ServerCommandKey:
    """Constants: server command key."""

    COMMAND = "command"
    DATA = "data"
    FL_CONTEXT = "fl_context"
    PEER_FL_CONTEXT = "__peer_ctx__"
    SHAREABLE = "shareable"
    TASK_NAME = "task_name"
    TASK_ID = "task_id"
    LAST_TASK_ID = "last_task_id"
    FL_CLIENT = "fl_client"
    TOPIC = "topic"
    AUX_REPLY = "aux_reply"
    JOB_ID = "job_id"
    CLIENTS = "clients"
    COLLECTOR = "collector"
    TURN_TO_COLD = "__turn_to_cold__"
    REASON = "reason"
    MIN_GET_TASK_TIMEOUT = "min_get_task_timeout"


class FedEventHeader:
    """Constants: fed event header."""

    TIMESTAMP = "_timestamp"
    EVENT_ID = "_event_id"
    EVENT_TYPE = "_event_type"
    DIRECTION = "_direction"
    ORIGIN = "_origin"
    TARGETS = "_targets"


class EventScope:
    """Constants: event scope."""

    FEDERATION = "federation"
    LOCAL = "local"


class NonSerializableKeys:
    """Constants: non serializable keys."""

    KEYS: ClassVar[list[str]] = [
        "__engine__",
        "__manager__",
        "__runner__",
        "__scope_props__",
        "__scope_object__",
        "__workspace_object__",
        "__task_data__",
        "__shareable__",
    ]


class LogMessageTag:
    """Constants: log message tag."""

    DEBUG = "log/debug"
    ERROR = "log/error"
    EXCEPTION = "log/exception"
    INFO = "log/info"
    WARNING = "log/warning"
    CRITICAL = "log/critical"
    LOG_RECORD = "log_record"


class SnapshotKey:
    """Constants: snapshot key."""

    FL_CONTEXT = "fl_context"
    SERVER_RUNNER = "_Server_Runner"
    WORKSPACE = "_workspace"
    JOB_INFO = "_job_info"
    JOB_ID = "_job_id"
    JOB_CLIENTS = "_job_clients"


class RunProcessKey:
    """Constants: run process key."""

    LISTEN_PORT = "_listen_port"
    CONNECTION = "_conn"
    JOB_HANDLE = "_job_launcher"
    STATUS = "_status"
    JOB_ID = "_job_id"
    PARTICIPANTS = "_participants"
    PROCESS_FINISHED = "_process_finished"
    PROCESS_EXE_ERROR = "_process_exe_error"
    PROCESS_RETURN_CODE = "_process_return_code"


class SystemComponents:
    """Constants: system components."""

    JOB_SCHEDULER = "job_scheduler"
    JOB_MANAGER = "job_manager"
    JOB_RUNNER = "job_runner"
    SERVER_RUNNER = "server_runner"
    CLIENT_RUNNER = "client_runner"
    CHECK_RESOURCE_PROCESSOR = "check_resource_processor"
    CANCEL_RESOURCE_PROCESSOR = "cancel_resource_processor"
    RESOURCE_MANAGER = "resource_manager"
    RESOURCE_CONSUMER = "resource_consumer"
    APP_DEPLOYER = "app_deployer"
    DEFAULT_APP_DEPLOYER = "default_app_deployer"
    JOB_META_VALIDATOR = "job_meta_validator"
    FED_CLIENT = "fed_client"
    RUN_MANAGER = "run_manager"


class JobConstants:
    """Constants: job constants."""

    SERVER_JOB_CONFIG = "config_fed_server.json"
    CLIENT_JOB_CONFIG = "config_fed_client.json"
    META_FILE = "meta.json"
    META = "meta"
    SITES = "sites"
    JOB_IMAGE = "image"
    JOB_ID = "job_id"
    JOB_LAUNCHER = "job_launcher"


class WorkspaceConstants:
    """Constants: workspace constants."""

    STARTUP_FOLDER_NAME = "startup"
    SITE_FOLDER_NAME = "local"
    CUSTOM_FOLDER_NAME = "custom"
    LOGGING_CONFIG = "log_config.json"
    DEFAULT_LOGGING_CONFIG = "log_config.json.default"
    AUDIT_LOG = "audit.log"
    LOG_FILE_NAME = "log.txt"
    ERROR_LOG_FILE_NAME = "error_log.txt"
    STATS_POOL_SUMMARY_FILE_NAME = "stats_pool_summary.json"
    STATS_POOL_RECORDS_FILE_NAME = "stats_pool_records.csv"
    RESTART_FILE = "restart.fl"
    SHUTDOWN_FILE = "shutdown.fl"
    WORKSPACE_PREFIX = ""
    APP_PREFIX = "app_"
    SERVER_STARTUP_CONFIG = "fed_server.json"
    CLIENT_STARTUP_CONFIG = "fed_client.json"
    ADMIN_STARTUP_CONFIG = "fed_admin.json"
    SERVER_APP_CONFIG = "config_fed_server.json"
    CLIENT_APP_CONFIG = "config_fed_client.json"
    JOB_META_FILE = "meta.json"
    AUTHORIZATION_CONFIG = "authorization.json"
    DEFAULT_AUTHORIZATION_CONFIG = "authorization.json.default"
    RESOURCES_CONFIG = "resources.json"
    DEFAULT_RESOURCES_CONFIG = "resources.json.default"
    PRIVACY_CONFIG = "privacy.json"
    SAMPLE_PRIVACY_CONFIG = "privacy.json.sample"
    JOB_RESOURCES_CONFIG = "job_resources.json"
    STUDY_REGISTRY_CONFIG = "study_registry.json"
    RESOURCE_FILE_NAME_PATTERN = "*__resources.json"
    JOB_RESOURCE_FILE_NAME_PATTERN = "*__j_resources.json"
    PARENT_RESOURCE_FILE_NAME_PATTERN = "*__p_resources.json"
    ENV_VAR_RESULT_ROOT = "NVFL_RESULT_ROOT"
    ENV_VAR_LOG_ROOT = "NVFL_LOG_ROOT"
    ENV_VAR_AUDIT_ROOT = "NVFL_AUDIT_ROOT"


class SiteType:
    """Constants: site type."""

    SERVER = "server"
    SERVER_PARENT = "server_parent"
    CLIENT = "client"
    ALL = "@ALL"


class SystemConfigs:
    """Constants: system configs."""

    STARTUP_CONF = "start_config"
    RESOURCES_CONF = "resources_config"
    APPLICATION_CONF = "application_config"


class SecureTrainConst:
    """Constants: secure train const."""

    SSL_ROOT_CERT = "ssl_root_cert"
    SSL_CERT = "ssl_cert"
    PRIVATE_KEY = "ssl_private_key"


class FLMetaKey:
    """Constants: fLMeta key."""

    NUM_STEPS_CURRENT_ROUND = "NUM_STEPS_CURRENT_ROUND"
    PROCESSED_ALGORITHM = "PROCESSED_ALGORITHM"
    PROCESSED_KEYS = "PROCESSED_KEYS"
    INITIAL_METRICS = "initial_metrics"
    FILTER_HISTORY = "filter_history"
    CONFIGS = "configs"
    VALIDATE_TYPE = "validate_type"
    START_ROUND = "start_round"
    CURRENT_ROUND = "current_round"
    TOTAL_ROUNDS = "total_rounds"
    JOB_ID = "job_id"
    SITE_NAME = "site_name"
    PROCESS_RC_FILE = "_process_rc.txt"
    SUBMIT_MODEL_NAME = "submit_model_name"
    AUTH_TOKEN = "auth_token"
    AUTH_TOKEN_SIGNATURE = "auth_token_signature"


class StreamCtxKey:
    """Constants: stream ctx key."""

    JOB_ID = "job_id"
    CLIENT_NAME = "client_name"
    LOG_TYPE = "log_type"


class FilterKey:
    """Constants: filter key."""

    IN = "in"
    OUT = "out"
    INOUT = "inout"
    DELIMITER = "/"


class ConfigVarName:
    """Constants: config var name."""

    RUNNER_SYNC_TIMEOUT = "runner_sync_timeout"
    MAX_RUNNER_SYNC_TIMEOUT = "max_runner_sync_timeout"
    TASK_CHECK_TIMEOUT = "task_check_timeout"
    TASK_CHECK_INTERVAL = "task_check_interval"
    JOB_HEARTBEAT_INTERVAL = "job_heartbeat_interval"
    END_RUN_READINESS_TIMEOUT = "end_run_readiness_timeout"
    END_RUN_READINESS_CHECK_INTERVAL = "end_run_readiness_check_interval"
    GET_TASK_TIMEOUT = "get_task_timeout"
    SUBMIT_TASK_RESULT_TIMEOUT = "submit_task_result_timeout"
    RM_MAX_REQUEST_WORKERS = "rm_max_request_workers"
    RM_QUERY_INTERVAL = "rm_query_interval"
    DEAD_CLIENT_GRACE_PERIOD = "dead_client_grace_period"
    DEAD_CLIENT_CHECK_LEAD_TIME = "dead_client_check_lead_time"
    STRICT_START_JOB_REPLY_CHECK = "strict_start_job_reply_check"
    SYNC_CLIENT_JOBS_REQUIRE_PREVIOUS_REPORT = "sync_client_jobs_require_previous_report"
    CLIENT_OUTCOME_WAIT_TIMEOUT = "client_outcome_wait_timeout"
    DECOMPOSER_MODULE = "nvflare_decomposers"
    CELL_WAIT_TIMEOUT = "cell_wait_timeout"
    MAX_REG_DURATION = "max_reg_duration"
    NOTIFY_CP_MSG_TIMEOUT = "notify_cp_msg_timeout"
    NOTIFY_CP_RETRY_TIMEOUT = "notify_cp_retry_timeout"
    STREAMING_PER_REQUEST_TIMEOUT = "streaming_per_request_timeout"
    DOWNLOAD_CHUNK_SIZE = "download_chunk_size"
    MIN_DOWNLOAD_TIMEOUT = "min_download_timeout"
    MIN_FILE_SIZE_FOR_STREAMING = "min_file_size_for_streaming"


class SystemVarName:
    """Constants: system var name."""

    SITE_NAME = "SITE_NAME"
    WORKSPACE = "WORKSPACE"
    JOB_ID = "JOB_ID"
    ROOT_URL = "ROOT_URL"
    CP_URL = "CP_URL"
    RELAY_URL = "RELAY_URL"
    SECURE_MODE = "SECURE_MODE"
    JOB_CUSTOM_DIR = "JOB_CUSTOM_DIR"
    JOB_CONFIG_DIR = "JOB_CONFIG_DIR"
    PYTHONPATH = "PYTHONPATH"


class RunnerTask:
    """Constants: runner task."""

    INIT = "init"
    TASK_EXEC = "task_exec"
    END_RUN = "end_run"


class ConnPropKey:
    """Constants: conn prop key."""

    FQCN = "fqcn"
    IDENTITY = "identity"
    AUTH_IDENTITY = "auth_identity"
    AUTH_IDENTITY_MAP = "auth_identity_map"
    URL = "url"
    SCHEME = "scheme"
    ADDRESS = "address"
    CONNECTION_SECURITY = "connection_security"
    RELAY_CONFIG = "relay_config"
    CP_CONN_PROPS = "cp_conn_props"
    RELAY_CONN_PROPS = "relay_conn_props"
    ROOT_CONN_PROPS = "root_conn_props"


class ConnectionSecurity:
    """Constants: connection security."""

    CLEAR = "clear"
    TLS = "tls"
    MTLS = "mtls"
