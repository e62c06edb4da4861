"""The results of a run where NVIDIA FLARE's tools and READMEs look for them, beside Flare's own record.

<folder>/summary.json, metrics.jsonl, log.txt                                  Flare's record of the run
<folder>/server/simulate_job/app_server/FL_global_model.pt, best_…             PyTorch: {"model": state dict, …}
<folder>/server/simulate_job/app_server/tf_model.weights.h5                    Keras
<folder>/server/simulate_job/app_server/model_param.joblib                     scikit-learn
<folder>/server/simulate_job/models/server.npy                                 a model that is one array
<folder>/server/simulate_job/cross_site_val/cross_val_results.json             {site of the data: {model: metrics}}; {}
                                                                               without an evaluation
<folder>/<party>/simulate_job/meta.json                                        the job's name and its sites
<folder>/<party>/simulate_job/app_<party>/                                     the party's part of the job
<folder>/<party>/log.txt, log.json, error_log.txt, …                           its logs
<folder>/server/simulate_job/tb_events/<party>/                                TensorBoard
<folder>/<site>/simulate_job/                                                  what the site's script has written

What a run has written stays in the run's own folder; ``<folder>`` holds links to the newest run's, also if it failed.
Whatever else is at the place of a link, such as results of NVIDIA FLARE itself, is renamed.

The result of a job that ran elsewhere is the run's folder itself, with two more folders:

<run>/job/<name>/                                                              the job
<run>/workspace/                                                               what is in server/simulate_job above, and
                                                                               the logs of the server and of the sites
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from flare_core import Job, Run
from flare_core.job import SERVER
from nvflare._flare.app_folders import link_app, meta_of, write_job
from nvflare._flare.log_forms import LOGS, write_logs

logger = logging.getLogger(__name__)

JOB = "simulate_job"
_SWARM = "flare_core.workflows.Swarm"
_HISTOGRAMS = "flare_xgb.horizontal.Horizontal"
_RECORD = ("summary.json", "metrics.jsonl", "events.jsonl", "log.txt")


@dataclass(frozen=True, slots=True)
class Outputs:
    """The names of a recipe's results.

    Attributes:
        write: writes the model's files: given the run, the name of a checkpoint, and the folders of the app and of the
            server's job.
        server_model: the name of the global model in the results of cross-site evaluation.
        best_model: the name of the best model there.
        at_sites: names of files of the server that are to be found in the sites' folders, too.
    """

    write: Callable[[Run, str, Path, Path], None] | None = None
    server_model: str = "server"
    best_model: str = "best_server"
    at_sites: tuple[str, ...] = ()


def lay_out(run: Run, folder: Path, outputs: Outputs, job: Job) -> None:
    """Write the results of a simulated run into its folder, in the form described above, and link ``folder`` to it."""
    run_folder = run.get_result(raise_on_failure=False)
    target = _write(run, run_folder, outputs, write_job(job, run_folder, weights=False))
    folder.mkdir(parents=True, exist_ok=True)
    for each in (*target.iterdir(), *(run_folder / name for name in _RECORD)):
        _make_way(folder / each.name, run_folder.name)
        _link(folder / each.name, each)


def lay_out_download(run: Run | None, run_folder: Path, outputs: Outputs, job: Path | None) -> None:
    """Add ``workspace`` to the folder of a run that was fetched from a server.

    Args:
        run: the run, to convert its models.
        run_folder: its folder.
        outputs: the names of the results.
        job: the folder of the job.
    """
    target = _write(run, run_folder, outputs, job)
    workspace = target / SERVER / JOB
    for party in target.iterdir():
        place = workspace if party.name == SERVER else workspace / party.name
        place.mkdir(exist_ok=True)
        for name in LOGS:
            _link(place / name, party / name)
    (run_folder / "workspace").symlink_to(workspace, target_is_directory=True)


def _write(run: Run | None, run_folder: Path, outputs: Outputs, job_folder: Path | None) -> Path:
    """Write the results of a run into its folder, and return the folder with one for each party."""
    target = run_folder / "nvflare"
    summary = json.loads((run_folder / "summary.json").read_text(encoding="utf-8"))
    meta = meta_of(job_folder, summary)
    found = (run_folder / "sites").glob("*")  # one that has neither printed nor written anything has no folder
    sites = sorted({*(summary.get("sites") or ()), *(each.name for each in found)})
    for party in (SERVER, *sites):
        app = target / party / JOB / f"app_{party}"
        app.mkdir(parents=True)
        if job_folder is not None:
            link_app(job_folder, party, app)
    _write_server(run, run_folder, target / SERVER / JOB, outputs, str(summary.get("job_id") or JOB))
    for site in sites:
        _link_site(run_folder / "sites" / site, target / site, run_folder, outputs)
    for party in (SERVER, *sites):
        _write_meta(target / party / JOB, meta)
    write_logs(run_folder, target, sites, summary.get("started"))
    return target


def _write_server(run: Run | None, run_folder: Path, job: Path, outputs: Outputs, id_: str) -> None:
    app = job / "app_server"
    for name in ("global", "best") if run is not None and outputs.write is not None else ():
        if (run_folder / "server" / f"{name}_model.safetensors").is_file():
            assert run is not None
            assert outputs.write is not None
            outputs.write(run, name, app, job)
    _cross_site(run_folder / "server" / "cross_site_evaluation.json", job, outputs)
    _link(job / "tb_events", run_folder / "server" / "tensorboard")
    for name in (JOB, id_):  # written by components of NVIDIA FLARE's, in a simulation and elsewhere
        _merge(run_folder / "server" / name, job)
    for each in (run_folder / "server").iterdir():
        for place in (job, app) if each.name not in (JOB, id_) else ():
            if not (place / each.name).exists():
                _link(place / each.name, each)


def _link_site(site: Path, target: Path, run_folder: Path, outputs: Outputs) -> None:
    own = target / JOB
    _merge(site / JOB, own)
    _merge(site, own, without=JOB)
    if (site / JOB).is_dir():  # an executor of NVIDIA FLARE's has the site's folder as its working folder
        _merge(site, target, without=JOB)
    for name in outputs.at_sites:
        _link(own / name, run_folder / "server" / name)
    _link(own / site.name, site)  # where some of its parts write their files


def outputs_of(job: Job) -> Outputs:
    """Return the results of a job that was read from a folder."""
    paths = {each.class_path for each in job.server.workflows}
    if _SWARM in paths:
        persistor = job.server.components.get("persistor")
        is_torch = persistor is not None and persistor.class_path.startswith("flare_recipes_pt")
        return of_a_swarm(torch_outputs() if is_torch else array_outputs())
    return Outputs(at_sites=("model.json",) if _HISTOGRAMS in paths else ())


def of_a_swarm(outputs: Outputs) -> Outputs:
    """Return the results of a swarm, whose evaluation has other names for the models that all sites hold."""
    names = (outputs.server_model, outputs.best_model)
    server, best = (f"GLOBAL_{name.removeprefix('SRV_')}" for name in names)
    return replace(outputs, server_model=server, best_model=best)


def torch_outputs(global_name: str = "FL_global_model.pt", best_name: str = "best_FL_global_model.pt") -> Outputs:
    """Return the results of a recipe for PyTorch, whose files have these names."""

    def write(run: Run, name: str, app: Path, job: Path) -> None:
        import torch

        path = app / (global_name if name == "global" else best_name)
        torch.save(
            {"model": run.load_model(name, raise_on_failure=False), "train_conf": {"train": {"model": "model"}}}, path
        )

    return Outputs(write, f"SRV_{global_name}", f"SRV_{best_name}")


def array_outputs() -> Outputs:
    """Return the results of a recipe whose model is a single array."""

    def write(run: Run, name: str, app: Path, job: Path) -> None:
        params = run.load_model(name, raise_on_failure=False)
        if list(params) == ["numpy_key"]:
            (job / "models").mkdir(exist_ok=True)
            np.save(job / "models" / ("server.npy" if name == "global" else "best_server.npy"), params["numpy_key"])

    return Outputs(write, "SRV_server", "SRV_best_server")


def joblib_outputs() -> Outputs:
    """Return the results of a recipe for scikit-learn."""

    def write(run: Run, name: str, app: Path, job: Path) -> None:
        import joblib  # comes with scikit-learn

        joblib.dump(
            run.load_model(name, raise_on_failure=False),
            app / f"{'' if name == 'global' else 'best_'}model_param.joblib",
        )

    return Outputs(write)


def _cross_site(source: Path, job: Path, outputs: Outputs) -> None:
    if not source.is_file() and outputs.write is None:
        return
    text = source.read_text(encoding="utf-8") if source.is_file() else "{}"
    results: dict[str, dict[str, Any]] = json.loads(text)
    names = {"global": outputs.server_model, "best": outputs.best_model}
    renamed = {
        site: {names.get(model, model): metrics for model, metrics in by_model.items()}
        for site, by_model in results.items()
    }
    (job / "cross_site_val").mkdir()
    (job / "cross_site_val" / "cross_val_results.json").write_text(json.dumps(renamed) + "\n", encoding="utf-8")


def _write_meta(job: Path, text: str) -> None:
    if not (job / "meta.json").exists():
        (job / "meta.json").write_text(text, encoding="utf-8")


def _merge(source: Path, target: Path, without: str | None = None) -> None:
    """Link what is in a folder into another one, and into its folders of the same names."""
    for each in source.iterdir() if source.is_dir() else ():
        place = target / each.name
        if each.is_dir() and place.is_dir() and not place.is_symlink():
            _merge(each, place)
        elif each.name != without:
            _link(place, each)


def _link(place: Path, target: Path) -> None:
    """Make ``place`` a link to ``target``, if that exists; replace an older link."""
    if not target.exists():
        return
    if place.is_symlink():
        place.unlink()
    place.symlink_to(target.resolve(), target_is_directory=target.is_dir())


def _make_way(place: Path, run_id: str) -> None:
    """Rename what lies where a link is to be, such as results of NVIDIA FLARE itself."""
    if place.exists() and not place.is_symlink():
        kept = place.with_name(f"{place.name}.before-{run_id}")
        place.rename(kept)
        logger.warning("%s was in the way of the results, and is %s now", place, kept.name)
