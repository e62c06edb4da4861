"""The names that are not provided, and what to use instead; for a module, also of all names in it."""

HE = "Flare does not encrypt homomorphically; sites can hide what they send under masks, see docs/security.md"
SWARM = "job folders with it run; in a script, use SwarmLearningRecipe or CCWFJob"
STATS = "use FedStatsRecipe, with the same generator of statistics"
MONAI = "use the Client API in a script with MONAI's own trainer, see docs/migration.md"

MISSING = {
    "monai_nvflare": MONAI,
    "nvflare.app_common.homomorphic_encryption": HE,
    "nvflare.app_common.ccwf.swarm_client_ctl": SWARM,
    "nvflare.app_common.ccwf.swarm_server_ctl": SWARM,
    "nvflare.app_opt.pt.fedopt_ctl": "use nvflare.app_opt.pt.recipes.FedOptRecipe",
    "nvflare.app_common.psi": "use DhPSIRecipe, whose parts are Flare's own",
    "nvflare.app_common.executors.statistics": STATS,
    "nvflare.app_common.workflows.statistics_controller": STATS,
    "nvflare.app_opt.confidential_computing": "Flare does not attest machines; see docs/security.md",
    "nvflare.app_opt.he": HE,
    "nvflare.app_opt.job_launcher": "Flare starts a job's processes itself; run its daemons in containers",
    "nvflare.app_opt.monai.monai_algo": MONAI,
    "nvflare.app_opt.pt.recipes.fedavg_he": HE,
    "nvflare.app_opt.pt.recipes.fedce": "use FedAvgRecipe with aggregation_weights, or an aggregator of your own",
    "nvflare.app_opt.psi.dh_psi": "use DhPSIRecipe, whose parts are Flare's own",
    "nvflare.app_opt.xgboost.histogram_based": "use XGBHorizontalRecipe",
    "nvflare.app_opt.xgboost.histogram_based_v2": "use XGBHorizontalRecipe or XGBVerticalRecipe",
    "nvflare.app_opt.xgboost.tree_based": "use XGBBaggingRecipe",
    "nvflare.dashboard": "use 'flare invite' and 'flare join'",
    "nvflare.fuel.hci": "use flare_deploy.Admin",
    "nvflare.ha": "restart the server; runs continue after their last completed round",
    "nvflare.lighter": "provision with 'flare up', or a project file",
    "nvflare.metrics.system_metrics_collector": "read the metrics of a run with flare_core.Observer",
    "nvflare.private": "these are internals of NVIDIA FLARE; use SimEnv, PocEnv or ProdEnv",
    "nvflare.tool": "use the commands 'nvflare' and 'flare'",
}

OF_MONAI = {
    "ClientAlgoExecutor": MONAI,
    "ClientAlgoStatistics": "use FedStatsRecipe with the folder of the images, or with a Statistics of your own",
    "MonaiBundlePersistor": "give FedAvgRecipe the bundle's network, from monai.bundle.ConfigParser, as its model",
    "MonaiDataStatsPersistor": "use FedStatsRecipe, which writes the statistics as JSON and as a report",
    "NVFlareStatsHandler": "give MONAI's TensorBoardStatsHandler a nvflare.client.tracking.SummaryWriter",
}
"""What to use instead of the classes of ``monai_nvflare``, which are in the package and in modules of it."""
