"""Run the examples of NVIDIA FLARE, unmodified, on Flare or on NVIDIA FLARE itself, and print a table.

The examples are those of a checkout that the environment variable NVFLARE_CHECKOUT names; no file of it is changed.
Their data are synthetic, since nothing is downloaded; ``tools/nvflare_shims`` stands in for torchvision and for the
data sets of Keras. Data and results go where the examples look for them, below /tmp/nvflare and /tmp/flare.

Usage: nvflare_examples.py [--python PATH] [--json FILE] [NAME ...]

--python: the interpreter; that of another environment runs the examples there, so that both can be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

VARIABLE = "NVFLARE_CHECKOUT"
SHIMS = Path(__file__).resolve().parent / "nvflare_shims"
RESULTS = Path("/tmp/nvflare/simulation")
LIMIT_S = 300


@dataclass(frozen=True)
class Example:
    """An example: its folder in the checkout, its arguments, and where its result is.

    Attributes:
        folder: below ``examples``.
        job: the name of its job, and so of the folder of its results.
        arguments: of job.py; ``program`` if it is called otherwise.
        prepare: makes its data.
        metric: the key of the final metric, or a pattern in what it prints.
        needs: the packages that it needs.
    """

    folder: str
    job: str
    arguments: tuple[str, ...] = ()
    program: str = "job.py"
    prepare: Callable[[Path], None] | None = None
    metric: str = "accuracy"
    needs: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    before: tuple[str, ...] = ()
    workspace: Path = RESULTS


def heart(folder: Path) -> None:
    import numpy as np

    target = Path("/tmp/flare/dataset/heart_disease_data")
    target.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(5)
    weights = random.normal(size=13)
    for site in range(1, 5):
        for part, rows in (("train", 150), ("test", 50)):
            x = random.normal(size=(rows, 13))
            y = (x @ weights + random.normal(size=rows) > 0).astype(np.float64)[:, None]
            np.save(target / f"site-{site}.{part}.x.npy", x)
            np.save(target / f"site-{site}.{part}.y.npy", y)


def adults(folder: Path) -> None:
    import numpy as np

    random = np.random.default_rng(5)
    for site in (1, 2):
        target = Path(f"/tmp/nvflare/df_stats/data/site-{site}")
        target.mkdir(parents=True, exist_ok=True)
        rows = [
            f"{random.integers(17, 90)}, Private, {random.integers(10000, 400000)}, HS-grad, {random.integers(1, 16)},"
            f" Never-married, Sales, Wife, White, Male, {random.integers(0, 9999)}, {random.integers(0, 999)},"
            f" {random.integers(1, 99)}, United-States, <=50K"
            for _ in range(1000)
        ]
        (target / "data.csv").write_text("\n".join(rows) + "\n")


def csv_of(name: str, where: str) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        import numpy as np
        from sklearn import datasets

        data = getattr(datasets, f"load_{name}")()
        order = np.random.default_rng(0).permutation(len(data.target))
        table = np.column_stack([data.target, data.data])[order]
        Path(where).parent.mkdir(parents=True, exist_ok=True)
        np.savetxt(where, table, delimiter=",")

    return prepare


def higgs(rows: int, where: str) -> Path:
    import numpy as np

    random = np.random.default_rng(5)
    x = random.normal(size=(rows, 28))
    y = (x @ random.normal(size=28) + random.normal(size=rows) * 2 > 0).astype(float)
    Path(where).parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(where, np.column_stack([y, x]), delimiter=",", fmt="%.6g")
    return Path(where)


def higgs_rows(folder: Path) -> None:
    """Make a small file, and put its number of rows in the place of HIGGS' own in the copy of the example."""
    higgs(11000, "/tmp/nvflare/dataset/HIGGS.csv")
    job = folder / "job.py"
    job.write_text(job.read_text().replace("11000000", "11000").replace("1100000", "1100"))


def higgs_splits(sites: int) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        path = higgs(5000, "/tmp/nvflare/dataset/higgs_small.csv")
        index = {"valid": {"start": 0, "end": 1000}}
        each = 4000 // sites
        index |= {f"site-{n + 1}": {"start": 1000 + n * each, "end": 1000 + (n + 1) * each} for n in range(sites)}
        target = Path(f"/tmp/nvflare/dataset/xgboost_higgs_horizontal/{sites}_uniform")
        target.mkdir(parents=True, exist_ok=True)
        for site in range(1, sites + 1):
            content = {"data_path": str(path), "data_index": index}
            (target / f"data_site-{site}.json").write_text(json.dumps(content))

    return prepare


def higgs_columns(folder: Path) -> None:
    import pandas as pd

    path = higgs(3000, "/tmp/nvflare/dataset/higgs_wide.csv")
    table = pd.read_csv(path, header=None)
    table.insert(0, "uid", [f"uid_{n}" for n in range(len(table))])
    for site, columns in (("site-1", list(range(15))), ("site-2", list(range(15, 29)))):
        target = Path(f"/tmp/nvflare/dataset/xgboost_higgs_vertical/{site}")
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        table[["uid", *columns]].sample(frac=0.9, random_state=len(site) + columns[0]).to_csv(
            target / "higgs.data.csv", index=False
        )
    works = Path("/tmp/nvflare/workspace/works")  # where the example looks for what its first job has written
    works.mkdir(parents=True, exist_ok=True)
    link = works / "xgboost_vertical_psi"
    if not link.is_symlink():
        link.symlink_to(RESULTS / "xgboost_vertical_psi")


def emails(folder: Path) -> None:
    shutil.copytree(folder / "data", "/tmp/nvflare/psi/data", dirs_exist_ok=True)


def pictures(folder: Path) -> None:
    Path("/tmp/nvflare/data/cifar-10-batches-py").mkdir(parents=True, exist_ok=True)  # 2.9 looks for it


WORKDIR = Path("/tmp/nvflare/jobs/workdir")
FLOWER = ("--job_name", "hello-flower", "--content_dir", "flwr-pt")


def job_script(folder: str, program: str, *arguments: str) -> Example:
    """Return an example that puts a job together and simulates it."""
    return Example(f"advanced/{folder}", "*", arguments, program, prepare=pictures, workspace=Path("/tmp/nvflare"))


def cifar10(algorithm: str, tf: bool = False) -> Example:
    """Return one of the suite, whose modules lie in a folder beside those of the examples."""
    folder = f"advanced/cifar10/{'tf' if tf else 'pt/cifar10-sim'}/cifar10_{algorithm}"
    arguments = ("--n_clients", "2", "--num_rounds", "2", *(("--epochs", "1") if tf else ("--aggregation_epochs", "1")))
    return Example(
        folder,
        f"cifar10*_{algorithm}*" if algorithm != "custom_aggr" else "cifar10_custom_*",
        arguments,
        prepare=pictures,
    )


EXAMPLES = {
    "hello-numpy": Example("hello-world/hello-numpy", "hello-numpy", metric="weight_mean"),
    "hello-numpy-diff": Example(
        "hello-world/hello-numpy", "hello-numpy", ("--update_type", "diff"), metric="weight_mean"
    ),
    "hello-numpy-process": Example(
        "hello-world/hello-numpy", "hello-numpy", ("--launch_process",), metric="weight_mean"
    ),
    "hello-pt": Example("hello-world/hello-pt", "hello-pt", prepare=pictures, needs=("torch",)),
    "hello-pt-cse": Example(
        "hello-world/hello-pt", "hello-pt", ("--cross_site_eval",), prepare=pictures, needs=("torch",)
    ),
    "hello-tf": Example("hello-world/hello-tf", "hello-tf_fedavg", needs=("tensorflow",)),
    "hello-cyclic": Example("hello-world/hello-cyclic", "cyclic", needs=("tensorflow",)),
    "hello-lightning": Example(
        "hello-world/hello-lightning", "*fedavg", prepare=pictures, metric="val_acc_epoch", needs=("pytorch_lightning",)
    ),
    "hello-lr": Example("hello-world/hello-lr", "lr_fedavg", prepare=heart, metric="site-1/accuracy"),
    "hello-numpy-cross-val": Example(
        "hello-world/hello-numpy-cross-val",
        "hello-numpy-cse",
        metric="server_model_1/accuracy",
        before=("generate_pretrain_models.py",),
    ),
    "hello-numpy-cross-val-training": Example(
        "hello-world/hello-numpy-cross-val", "hello-numpy-train-cse", ("--mode", "training"), metric="weight_mean"
    ),
    "hello-tabular-stats": Example(
        "hello-world/hello-tabular-stats", "stats_df", prepare=adults, metric="", needs=("pandas",)
    ),
    "sklearn-linear": Example(
        "advanced/sklearn-linear", "sklearn_linear", ("--num_rounds", "5"), prepare=higgs_rows, metric="AUC"
    ),
    "sklearn-kmeans": Example(
        "advanced/sklearn-kmeans",
        "sklearn_kmeans",
        prepare=csv_of("iris", "/tmp/nvflare/dataset/sklearn_iris.csv"),
        metric="metrics",
    ),
    "sklearn-svm": Example(
        "advanced/sklearn-svm",
        "sklearn_svm",
        prepare=csv_of("breast_cancer", "/tmp/nvflare/dataset/cancer.csv"),
        metric="AUC",
    ),
    "xgboost-histogram": Example(
        "advanced/xgboost/fedxgb", "higgs_2_histogram_uniform_split", ("--round_num", "10", "--nthread", "1"),
        prepare=higgs_splits(2), metric="validation-auc", needs=("xgboost",),
    ),
    "xgboost-bagging": Example(
        "advanced/xgboost/fedxgb", "higgs_5_bagging_uniform_split_uniform", ("--nthread", "1"), "job_tree.py",
        prepare=higgs_splits(5), metric="validation-auc", needs=("xgboost",),
    ),
    "xgboost-cyclic": Example(
        "advanced/xgboost/fedxgb", "higgs_5_cyclic_uniform_split_uniform",
        ("--nthread", "1", "--training_algo", "cyclic", "--round_num", "2"), "job_tree.py",
        prepare=higgs_splits(5), metric="validation-auc", needs=("xgboost",),
    ),
    "xgboost-vertical": Example(
        "advanced/xgboost/fedxgb", "xgboost_vertical",
        ("--run_psi", "--run_training", "--round_num", "5", "--nthread", "1"), "job_vertical.py",
        prepare=higgs_columns, metric="validation-auc", needs=("xgboost",),
    ),
    "psi": Example(
        "advanced/psi/user_email_match",
        "user_email_match",
        prepare=emails,
        metric="",
        workspace=Path("/tmp/nvflare/psi"),
    ),
    "df-stats": Example("advanced/federated-statistics/df_stats", "stats_df", prepare=adults, metric=""),
    "tensorboard": Example("advanced/experiment-tracking/tensorboard", "fedavg_tensorboard", prepare=pictures,
        workspace=WORKDIR),
    "cifar10-fedavg": cifar10("fedavg"),
    "cifar10-fedprox": cifar10("fedprox"),
    "cifar10-fedopt": cifar10("fedopt"),
    "cifar10-scaffold": cifar10("scaffold"),
    "cifar10-custom-aggr": cifar10("custom_aggr"),
    "cifar10-tf-fedavg": cifar10("fedavg", tf=True),
    "cifar10-tf-fedprox": cifar10("fedprox", tf=True),
    "cifar10-tf-fedopt": cifar10("fedopt", tf=True),
    "cifar10-tf-scaffold": cifar10("scaffold", tf=True),
    "hello-dp": Example("hello-world/hello-dp", "hello-dp", prepare=pictures),
    "hello-lightning-eval": Example(
        "hello-world/hello-lightning-eval", "eval", prepare=pictures, before=("generate_pretrain_models.py",)
    ),
    "streaming-dict": job_script("streaming", "simple_dict_streaming_job.py"),
    "streaming-file": job_script("streaming", "simple_file_streaming_job.py"),
    "mlflow-pt": Example(
        "advanced/experiment-tracking/mlflow/hello-pt-mlflow", "fedavg_mlflow", prepare=pictures, workspace=WORKDIR
    ),
    "mlflow-pt-client": Example(
        "advanced/experiment-tracking/mlflow/hello-pt-mlflow-client", "*", prepare=pictures, workspace=WORKDIR
    ),
    "hello-flower": Example("hello-world/hello-flower", "hello-flower", FLOWER, metric=""),
    "kaplan-meier": Example("advanced/kaplan-meier-he", "KM", metric=""),
    "job-api-fedavg": job_script("job_api/pt", "fedavg_script_runner_cifar10.py"),
    "job-api-cse": job_script("job_api/pt", "fedavg_script_runner_xsite_val_cifar10.py"),
    "job-api-filter": job_script("job_api/pt", "fedavg_script_runner_dp_filter_cifar10.py"),
    "job-api-lightning": job_script("job_api/pt", "fedavg_script_runner_lightning_cifar10.py"),
    "job-api-cyclic": job_script("job_api/pt", "cyclic_cc_script_runner_cifar10.py"),
    "job-api-swarm": job_script("job_api/pt", "swarm_script_runner_cifar10.py"),
    "job-api-tf": job_script("job_api/tf", "tf_fl_script_runner_cifar10.py", "--epochs", "1", "--num_rounds", "2"),
    "p2p-consensus": job_script("distributed_optimization/1-consensus", "launcher.py"),
    "p2p-two-moons-dgd": job_script("distributed_optimization/2-two_moons", "launcher_dgd.py"),
    "p2p-two-moons-gt": job_script("distributed_optimization/2-two_moons", "launcher_gt.py"),
    "p2p-two-moons-gtadam": job_script("distributed_optimization/2-two_moons", "launcher_gtadam.py"),
    "tensor-stream": Example("advanced/tensor-stream", "hello-tensor-stream"),
}  # fmt: skip


def run(name: str, example: Example, checkout: Path, python: str) -> dict[str, object]:
    """Run one example in a copy of its folder."""
    source = checkout / "examples" / example.folder
    if not source.is_dir():
        return {"example": name, "outcome": "not in this checkout"}
    with tempfile.TemporaryDirectory() as place:
        top = source.parents[0 if "tf" in source.parts else 1] if "cifar10" in source.parts else source
        shutil.copytree(top, Path(place) / top.name)
        folder = Path(place) / top.name / source.relative_to(top)
        if example.prepare is not None:
            example.prepare(folder)
        results = example.workspace / example.job
        for older in results.parent.glob(results.name) if example.job != "*" else ():
            shutil.rmtree(older)
        environment = {
            **os.environ,
            **example.environment,
            "PYTHONPATH": os.pathsep.join(map(str, [folder, Path(place) / top.name / "src", SHIMS])),
        }
        environment |= {"PYTHONWARNINGS": "default::DeprecationWarning:__main__", "TF_CPP_MIN_LOG_LEVEL": "3"}
        for each in example.before:
            subprocess.run([python, each], cwd=folder, env=environment, check=True, capture_output=True)
        began = time.monotonic()
        try:
            done = subprocess.run(
                [python, example.program, *example.arguments],
                cwd=folder, env=environment, capture_output=True, text=True, timeout=LIMIT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return {"example": name, "outcome": "hangs", "seconds": LIMIT_S}
        seconds = round(time.monotonic() - began, 1)
    row: dict[str, object] = {"example": name, "outcome": "runs", "seconds": seconds}
    results = next(results.parent.glob(results.name), results) if example.job != "*" else _newest(results.parent)
    row["metric"] = _metric(example, results, done.stdout + done.stderr)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip() and not line.startswith((" ", "Traceback"))]
        row |= {
            "outcome": "refused",
            "reason": next((each for each in reversed(lines) if "Error" in each or "Failed" in each), lines[-1])[:300]
            if lines
            else f"exit code {done.returncode}",
        }
        row["output"] = (done.stdout + done.stderr)[-6000:]
    elif not list(results.parent.glob(results.name)):
        row |= {"outcome": "no results", "reason": f"{results} was not made", "output": done.stderr[-3000:]}
    return row


def _newest(workspace: Path) -> Path:
    """Return the folder of the newest results below a folder."""
    found = [path for depth in ("*", "*/*", "*/*/*") for path in workspace.glob(f"{depth}/summary.json")]
    return max(found, key=lambda path: path.stat().st_mtime).parent if found else workspace


def _metric(example: Example, results: Path, text: str) -> str:
    """Return the final metric, from Flare's summary or from what was printed."""
    if not example.metric:
        return ""
    summary = results / "summary.json"
    if summary.is_file():
        value = json.loads(summary.read_text()).get("metrics", {}).get(example.metric)
        if value is not None:
            return f"{example.metric} {value:.4f}"
    found = re.findall(rf"{re.escape(example.metric)}['\"]?\s*[:=]\s*(?:np\.float64\()?([0-9.]+)", text)
    return f"{example.metric} {float(found[-1].rstrip('.')):.4f} (printed)" if found else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EXAMPLES)}")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if VARIABLE not in os.environ:
        raise SystemExit(f"set {VARIABLE} to the folder of a checkout, which has a folder 'examples'")
    checkout = Path(os.environ[VARIABLE])
    rows = []
    for name in given.names or EXAMPLES:
        row = run(name, EXAMPLES[name], checkout, given.python)
        rows.append(row)
        print(
            f"| {name} | {row['outcome']} | {row.get('metric', '')} | {row.get('seconds', '')} s"
            f" | {row.get('reason', '')} |"
        )
        sys.stdout.flush()
    if given.json:
        given.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
