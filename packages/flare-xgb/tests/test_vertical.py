"""Vertical training in one process, compared with training on the joined table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xgboost
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flare_core import SiteError, Task
from flare_core.testing import ExecutorConformance, FakeFederation, WorkflowConformance, resumed
from flare_fobs import dumps, loads
from flare_xgb.data import ROW_COLUMNS, DataError, Table
from flare_xgb.engine.cuts import Cuts
from flare_xgb.engine.model import Model
from flare_xgb.engine.train import cuts_of, train
from flare_xgb.result import for_any_version
from flare_xgb.vertical import ModelPart, Vertical, VerticalExecutor

NAMES = ("age", "income", "town", "visits", "basket", "colour", "height")
OBJECTIVES: dict[str, dict[str, Any]] = {
    "reg:squarederror": {},
    "reg:absoluteerror": {},
    "binary:logistic": {"scale_pos_weight": 2},
    "multi:softprob": {"num_class": 3},
    "count:poisson": {},
    "reg:gamma": {},
    "reg:tweedie": {},
    "reg:quantileerror": {"quantile_alpha": [0.3, 0.8]},
}


@dataclass
class Given:
    """A loader of tables."""

    train: Any
    validation: Any = None

    def load_data(self) -> tuple[Any, Any]:
        return self.train, self.validation


@dataclass(frozen=True)
class Problem:
    """A joined table, parameters, and the columns of each site."""

    train: Table
    validation: Table | None
    params: dict[str, Any]
    columns: dict[str, list[int]]
    label_owner: str
    rounds: int = 3


def labels(rng: np.random.Generator, objective: str, signal: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    noisy = signal + rng.normal(size=len(signal)) * 0.3
    match objective:
        case "binary:logistic":
            return np.asarray(noisy > 0, np.float32)
        case "multi:softprob":
            return np.digitize(noisy, [-0.5, 0.5]).astype(np.float32)
        case "count:poisson" | "reg:tweedie":
            return rng.poisson(np.exp(np.clip(noisy, -2, 2))).astype(np.float32)
        case "reg:gamma":
            return np.exp(np.clip(noisy, -2, 2)).astype(np.float32)
    return noisy.astype(np.float32)


def problem(seed: int) -> Problem:
    """Draw rows, columns, their owners, and parameters."""
    rng = np.random.default_rng(seed)
    rows, width = int(rng.integers(2, 300)), int(rng.integers(2, 8))
    features = rng.normal(size=(rows, width)).astype(np.float32)
    kinds = rng.choice(["float", "int", "c"], width, p=[0.6, 0.2, 0.2])
    categories = {}
    for at in np.flatnonzero(kinds != "float").tolist():
        count = int(rng.integers(1, 20))
        features[:, at] = rng.integers(0, count, rows)
        if kinds[at] == "c":
            categories[at] = [f"{NAMES[at]}-{number}" for number in range(count)]
    signal = np.nan_to_num(features[:, 0]) + features[:, width // 2] * np.sign(features[:, -1])
    features[rng.random(features.shape) < rng.choice([0, 0.2, 0.9])] = np.nan
    objective = str(rng.choice(list(OBJECTIVES)))
    params: dict[str, Any] = {
        "objective": objective,
        **OBJECTIVES[objective],
        "max_depth": int(rng.integers(1, 6)),
        "min_child_weight": float(rng.choice([0, 1, 3])),
        "reg_lambda": float(rng.choice([0, 1])),
        "alpha": float(rng.choice([0, 0, 0.7])),
        "gamma": float(rng.choice([0, 0, 0.1])),
        "max_bin": int(rng.choice([4, 16, 256])),
        "grow_policy": str(rng.choice(["depthwise", "lossguide"])),
        "max_leaves": int(rng.choice([0, 0, 5, 9])),
        "max_cat_to_onehot": int(rng.choice([1, 4, 12])),
        "eta": float(rng.choice([0.3, 1])),
        "seed": int(rng.integers(0, 1000)),
        "seed_per_iteration": bool(rng.random() < 0.2),
        "num_parallel_tree": int(rng.choice([1, 1, 1, 2])),
    }
    if rng.random() < 0.3:
        params["monotone_constraints"] = {NAMES[at]: int(rng.integers(-1, 2)) for at in range(width) if at % 2}
    if rng.random() < 0.3 and width > 2:
        params["interaction_constraints"] = [[NAMES[0], NAMES[1]], [NAMES[1], NAMES[2]]]
    for name in ("subsample", "colsample_bytree", "colsample_bylevel", "colsample_bynode"):
        if rng.random() < 0.2:
            params[name] = float(rng.choice([0.3, 0.6, 0.9]))
    extra: dict[str, Any] = {}
    if rng.random() < 0.3:
        extra["weight"] = rng.choice(np.float32([0.5, 1, 3]), rows)
    outputs = {"multi:softprob": 3, "reg:quantileerror": 2}.get(objective, 1)
    if rng.random() < 0.2:
        extra["base_margin"] = rng.normal(size=(rows, outputs)).astype(np.float32)
    joined = Table.of(
        features, labels(rng, objective, signal), names=NAMES[:width], types=list(kinds), categories=categories, **extra
    )
    sites = [f"site-{number}" for number in range(1, int(rng.integers(2, min(width, 4) + 1)) + 1)]
    ends = [0, *sorted(rng.choice(np.arange(1, width), len(sites) - 1, replace=False).tolist()), width]
    columns = {site: list(range(ends[at], ends[at + 1])) for at, site in enumerate(sites)}
    held_out = int(rng.integers(0, rows // 2)) if rows > 20 else 0
    validation = joined.take(slice(0, held_out)) if held_out else None
    return Problem(joined.take(slice(held_out, rows)), validation, params, columns, str(rng.choice(sites)))


def part(table: Table, columns: Sequence[int], *, has_label: bool) -> Table:
    """Return some columns of a table, with or without its labels, weights and margins."""
    made = replace(
        table,
        features=np.ascontiguousarray(table.features[:, list(columns)]),
        names=tuple(table.names[at] for at in columns),
        types=tuple(table.types[at] for at in columns),
        categories={new: table.categories[old] for new, old in enumerate(columns) if old in table.categories},
    )
    return made if has_label else replace(made, **dict.fromkeys(ROW_COLUMNS))


def executors(drawn: Problem, **arguments: Any) -> dict[str, VerticalExecutor]:
    made = {}
    for site, columns in drawn.columns.items():
        tables = [
            None if each is None else part(each, columns, has_label=site == drawn.label_owner)
            for each in (drawn.train, drawn.validation)
        ]
        made[site] = VerticalExecutor(Given(*tables), drawn.params, **arguments)
    return made


def federation(drawn: Problem, sites: Any = None, **arguments: Any) -> FakeFederation:
    given = sites if sites is not None else executors(drawn, **arguments)
    return FakeFederation(given, travel=lambda data: loads(dumps(data)))


def workflow(drawn: Problem, **arguments: Any) -> Vertical:
    return Vertical(drawn.label_owner, drawn.params, **{"num_rounds": drawn.rounds, **arguments})


def trained(drawn: Problem, secure: str = "plain") -> tuple[Model, FakeFederation]:
    fed = federation(drawn, secure=secure, joined_model=True)
    fed.run(workflow(drawn))
    return Model.from_bytes(fed.files["model.json"].encode()), fed


def unweighted_elsewhere(drawn: Problem) -> Cuts:
    """Return the bins that result if only the label owner knows the weights."""
    max_bin = int(drawn.params.get("max_bin", 256))
    cuts = [cuts_of(drawn.train, max_bin), cuts_of(replace(drawn.train, weight=None), max_bin)]
    edges: list[Any] = []
    for at in range(drawn.train.num_features):
        found = cuts[0 if at in drawn.columns[drawn.label_owner] else 1]
        edges.append(len(found.edges(at)) if found.categorical[at] else (found.edges(at), found.minimums[at]))
    return Cuts.from_edges(edges)


@pytest.mark.parametrize("secure", ["plain", "masked"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_trees_and_metrics_are_those_of_training_on_the_joined_table(secure: str, seed: int) -> None:
    drawn = problem(seed)
    evals = {"train": drawn.train} | ({} if drawn.validation is None else {"validation": drawn.validation})
    cuts = unweighted_elsewhere(drawn) if secure == "masked" else None
    expected, history = train(drawn.params, drawn.train, drawn.rounds, evals=evals, cuts=cuts)
    model, fed = trained(drawn, secure)
    assert model.to_json() == for_any_version(expected).to_json()
    found = {metric.key: [] for metric in fed.metrics}
    for metric in fed.metrics:
        found[metric.key].append(metric.value)
    assert found == {f"{table}-{name}": each for table, named in history.items() for name, each in named.items()}


def typical(**params: Any) -> Problem:
    rng = np.random.default_rng(7)
    features = rng.normal(size=(300, 5)).astype(np.float32)
    features[rng.random(features.shape) < 0.1] = np.nan
    features[:, 2] = rng.integers(0, 4, 300)
    label = np.asarray(np.nan_to_num(features[:, 0] * features[:, 3]) + (features[:, 2] == 1) > 0.3, np.float32)
    joined = Table.of(
        features,
        label,
        names=NAMES[:5],
        types=["float", "float", "c", "float", "float"],
        categories={2: ["A", "B", "C", "D"]},
    )
    columns = {"bank": [0, 1], "shop": [2], "clinic": [3, 4]}
    given_params = {"objective": "binary:logistic", "max_depth": 3, "eta": 0.5, "subsample": 0.8, **params}
    return Problem(joined.take(slice(50, 300)), joined.take(slice(0, 50)), given_params, columns, "shop")


def test_stock_xgboost_opens_the_joined_model_and_predicts_the_same() -> None:
    drawn = typical()
    model, _ = trained(drawn)
    booster = xgboost.Booster(model_file=bytearray(model.to_json()))
    types = ["c" if kind == "c" else "float" for kind in drawn.train.types]
    matrix = xgboost.DMatrix(
        drawn.train.features, feature_names=list(drawn.train.names), feature_types=types, enable_categorical=True
    )
    np.testing.assert_allclose(booster.predict(matrix), model.predict(drawn.train.features), rtol=1e-6)


@pytest.mark.parametrize("secure", ["plain", "masked"])
def test_a_label_owner_without_features_leads_as_well(secure: str) -> None:
    drawn = replace(typical(), columns={"hospital": [], "bank": [0, 1], "shop": [2, 3, 4]}, label_owner="hospital")
    expected, _ = train(drawn.params, drawn.train, drawn.rounds)
    assert trained(drawn, secure)[0].to_json() == expected.to_json()


@pytest.mark.parametrize("secure", ["plain", "masked"])
@pytest.mark.parametrize(
    "objective", ["rank:ndcg", "rank:pairwise", "survival:cox", "survival:aft", "reg:pseudohubererror", "binary:hinge"]
)
def test_objectives_that_look_at_several_rows_train_as_on_the_joined_table(objective: str, secure: str) -> None:
    drawn = typical(objective=objective, subsample=1.0)
    table, rng = drawn.train, np.random.default_rng(4)
    assert table.label is not None
    if objective.startswith("rank"):
        weight = rng.choice(np.float32([0.5, 1, 2]), 25)
        table = replace(table, qid=np.repeat(np.arange(25), 10), label=np.round(table.label * 3), weight=weight)
    elif objective == "survival:cox":
        table = replace(table, label=(table.label + 1) * rng.exponential(size=250).astype(np.float32))
    elif objective == "survival:aft":
        low = np.exp(table.label + rng.normal(size=250)).astype(np.float32)
        high = np.where(rng.random(250) < 0.3, np.float32(np.inf), low)
        table = replace(table, label=None, label_lower_bound=low, label_upper_bound=high)
    drawn = replace(drawn, train=table, validation=None)
    cuts = unweighted_elsewhere(drawn) if secure == "masked" else None
    expected, _ = train(drawn.params, table, drawn.rounds, cuts=cuts)
    assert trained(drawn, secure)[0].to_json() == expected.to_json()


def test_features_without_names_are_numbered_through_all_sites() -> None:
    drawn = typical(monotone_constraints=[0, 0, 0, 1, -1], interaction_constraints=[[0, 3], [1, 2, 4]])
    sites = executors(drawn, joined_model=True)
    for executor in sites.values():
        loader = executor.data_loader
        loader.train, loader.validation = (replace(each, names=()) for each in (loader.train, loader.validation))
    fed = federation(drawn, sites)
    fed.run(workflow(drawn))
    expected, _ = train(drawn.params, replace(drawn.train, names=()), drawn.rounds)
    assert fed.files["model.json"].encode() == expected.to_json()


def test_training_ends_early_by_the_last_metric_of_the_rows_to_validate_with() -> None:
    drawn = typical(eval_metric=["error", "logloss"], eta=3.0)
    fed = federation(drawn, joined_model=True)
    fed.run(workflow(drawn, num_rounds=40, early_stopping_rounds=2))
    expected, _ = train(drawn.params, drawn.train, 40, evals={"validation": drawn.validation}, early_stopping_rounds=2)
    assert fed.files["model.json"].encode() == expected.to_json()
    assert fed.completed == expected.num_rounds < 40


@pytest.mark.parametrize("secure", ["plain", "masked"])
def test_parts_that_stay_at_the_sites_predict_as_the_joined_model_does(secure: str, tmp_path: Any) -> None:
    drawn = typical()
    expected, _ = train(drawn.params, drawn.train, drawn.rounds)
    sites, parts = executors(drawn, secure=secure), {}
    fed = federation(drawn, sites)
    fed.run(workflow(drawn))
    assert not fed.files
    for site in sites:
        parts[site] = ModelPart.load(fed._sites._contexts[site].folder / "model.json")
    assert [site for site, each in parts.items() if each.model is not None] == ["shop"]
    assert not parts["shop"].model.trees[0].categories  # of no site
    rows = Table.of(  # other values, a category that nobody knew, and the same categories with other codes
        np.random.default_rng(1).normal(size=(77, 5)).astype(np.float32) * 10,
        names=NAMES[:5],
    )
    codes = np.random.default_rng(2).integers(0, 5, 77).astype(np.float32)
    rows.features[:, 2] = codes
    known = replace(rows, types=("float", "float", "c", "float", "float"), categories={2: ("D", "new", "A", "C", "B")})
    sides = {site: each.sides(part(known, drawn.columns[site], has_label=False)) for site, each in parts.items()}
    rows.features[:, 2] = np.float32([3, np.inf, 0, 2, 1])[codes.astype(int)]
    rows.features[codes == 1, 2] = 9  # to XGBoost, too, a category beyond the known ones
    np.testing.assert_array_equal(parts["shop"].predict(sides, 77), expected.predict(rows.features))


# Failures before training


def broken(drawn: Problem, site: str, change: Any) -> dict[str, VerticalExecutor]:
    made = executors(drawn)
    loader = made[site].data_loader
    loader.train = change(loader.train)
    return made


def without_label(table: Table) -> Table:
    return replace(table, label=None)


def with_label(table: Table) -> Table:
    return replace(table, label=np.zeros(len(table), np.float32))


@pytest.mark.parametrize(
    ("site", "change", "message"),
    [
        ("bank", lambda table: table.take(slice(1, None)), r"bank: has 249 rows to train on, but shop has 250"),
        ("shop", without_label, r"shop: .*label"),
        ("bank", with_label, r"bank: .*label"),
        (
            "clinic",
            lambda table: replace(table, names=("age", "basket")),
            r"clinic: has a column 'age', and so has bank",
        ),
        ("bank", lambda table: replace(table, names=()), r"bank: .*names"),
        ("bank", lambda table: replace(table, weight=np.ones(len(table), np.float32)), r"bank: .*weight"),
    ],
)
def test_what_does_not_fit_ends_before_training_with_the_names_of_site_and_column(
    site: str, change: Any, message: str
) -> None:
    drawn = replace(typical(), validation=None)
    fed = federation(drawn, broken(drawn, site, change))
    with pytest.raises(Exception, match=message):
        fed.run(workflow(drawn))
    assert not any(task.name == "xgb.lead" for _, task in fed.tasks)


def test_rows_to_validate_with_are_needed_everywhere_or_nowhere() -> None:
    sites = executors(typical())
    sites["clinic"].data_loader.validation = None
    with pytest.raises(DataError, match="clinic: has no rows to validate with, but shop has 50"):
        federation(typical(), sites).run(workflow(typical()))


@pytest.mark.parametrize(("question", "key"), [("bins", "sizes"), ("divide", "bits"), ("propose", "proposals")])
def test_answers_that_do_not_fit_fail_the_run_with_the_name_of_the_site(question: str, key: str) -> None:
    class Wrong(VerticalExecutor):
        def _answer(self, data: Mapping[str, Any]) -> dict[str, Any]:
            assert self._owner is not None
            (channel,) = self._channels.values()
            answer, for_server = self._owner.answer(data["question"], channel.open(data["step"], data["data"]))
            if data["question"] == question:
                if key == "proposals":
                    answer[key][0][1]["feature"] += 3
                else:
                    answer[key] = answer[key][1:]
            return {"data": channel.seal(data["step"], answer), **for_server}

    drawn = typical()
    sites = executors(drawn)
    sites["bank"] = Wrong(sites["bank"].data_loader, drawn.params)
    with pytest.raises(SiteError, match=r"shop: .*bank: "):
        federation(drawn, sites).run(workflow(drawn))


def with_ids(table: Table, ids: Sequence[Any], *, as_numbers: bool = False) -> Table:
    """Return a table with a column of ids before the others."""
    column = np.asarray(ids if as_numbers else np.arange(len(ids)), np.float32)
    return replace(
        table,
        features=np.column_stack([column, table.features]),
        names=("id", *table.names),
        types=("int" if as_numbers else "c", *table.types),
        categories={at + 1: each for at, each in table.categories.items()} | ({} if as_numbers else {0: tuple(ids)}),
    )


def test_rows_are_aligned_by_their_ids() -> None:
    drawn = replace(typical(), validation=None)
    rng, ids = np.random.default_rng(3), [f"patient {number:03}" for number in range(250)]
    sites = executors(drawn, id_column="id", joined_model=True)
    for executor in sites.values():
        order = rng.permutation(250)
        executor.data_loader.train = with_ids(executor.data_loader.train.take(order), [ids[at] for at in order])
    fed = federation(drawn, sites)
    fed.run(workflow(drawn))
    expected, _ = train(drawn.params, drawn.train, drawn.rounds)
    assert fed.files["model.json"].encode() == expected.to_json()


@pytest.mark.parametrize(
    ("ids", "as_numbers", "message"),
    [
        ([*range(249), 248], True, r"bank: column 'id' has the id '248' twice"),
        ([*range(249), 999], True, r"shop: the ids of its rows to train on are not those of|bank: the ids of its rows"),
        ([*range(249), 1 << 24], True, r"bank: column 'id' has the id 16777216 in row 249"),
        ([*range(249), np.nan], True, r"bank: column 'id' has no id in row 249"),
    ],
)
def test_ids_that_are_not_those_of_the_label_owner_end_before_training(
    ids: list[Any], as_numbers: bool, message: str
) -> None:
    drawn = replace(typical(), validation=None)
    sites = executors(drawn, id_column="id")
    for site, executor in sites.items():
        own = ids if site == "bank" else list(range(250))
        executor.data_loader.train = with_ids(executor.data_loader.train, own, as_numbers=as_numbers)
    with pytest.raises(Exception, match=message):
        federation(drawn, sites).run(workflow(drawn))


# Crashes


@pytest.mark.parametrize("secure", ["plain", "masked"])
@pytest.mark.parametrize("victim", ["bank", "shop", "clinic"])
def test_sites_that_are_started_again_anywhere_change_nothing(secure: str, victim: str) -> None:
    drawn = typical(num_class=3, objective="multi:softprob") if victim == "bank" else typical(num_parallel_tree=2)
    undisturbed = federation(drawn, secure=secure, joined_model=True)
    undisturbed.run(workflow(drawn))
    count = sum(site == victim for site, _ in undisturbed.tasks)
    for killed_before in np.linspace(1, count - 1, 5).astype(int).tolist():
        sites = executors(drawn, secure=secure, joined_model=True)
        sites[victim] = DyingExecutor(drawn, victim, {killed_before}, secure)
        fed = federation(drawn, sites)
        fed.run(workflow(drawn))
        assert fed.files == undisturbed.files
        assert [(each.key, each.value) for each in fed.metrics] == [
            (each.key, each.value) for each in undisturbed.metrics
        ]


class DyingExecutor(VerticalExecutor):
    """An executor that forgets everything before some of its tasks, as when its process is started again."""

    def __init__(self, drawn: Problem, site: str, before: set[int], secure: str) -> None:
        self._fresh = lambda: executors(drawn, secure=secure, joined_model=True)[site]
        self._inner, self._before, self._count = self._fresh(), before, 0

    def execute(self, task: Task, context: Any) -> Any:
        if self._count in self._before:
            self._inner = self._fresh()
        self._count += 1
        return self._inner.execute(task, context)


def test_a_site_that_comes_back_with_other_rows_ends_the_run_with_its_name() -> None:
    drawn = typical()
    sites = executors(drawn)
    sites["clinic"] = DyingExecutor(drawn, "clinic", {9}, "plain")
    fewer = replace(drawn, train=drawn.train.take(slice(1, None)))
    sites["clinic"]._fresh = lambda: executors(fewer)["clinic"]
    with pytest.raises(DataError, match="clinic: its rows or columns are not those that the run began with"):
        federation(drawn, sites).run(workflow(drawn))


@pytest.mark.parametrize("secure", ["plain", "masked"])
def test_a_server_that_is_started_again_after_any_tree_changes_nothing(secure: str) -> None:
    drawn = typical(num_parallel_tree=2, seed_per_iteration=True)
    undisturbed = federation(drawn, secure=secure, joined_model=True)
    undisturbed.run(workflow(drawn, early_stopping_rounds=2))
    for number in range(1, undisturbed.checkpoints + 1):
        fed = federation(drawn, secure=secure, joined_model=True)
        resumed(lambda: workflow(drawn, early_stopping_rounds=2), fed, after_checkpoint=number)
        assert fed.files == undisturbed.files


def test_trees_that_were_sealed_with_another_key_are_refused_with_the_name_of_the_site() -> None:
    drawn = typical()
    first, second = federation(drawn), federation(drawn)
    begun = workflow(drawn, num_rounds=1)
    first.run(begun)
    following = workflow(drawn)
    following.restore(begun.state())
    with pytest.raises(SiteError, match=r"shop: the trees so far cannot be opened"):
        second.run(following)


class TestVertical(WorkflowConformance):
    def make(self) -> Vertical:
        return workflow(typical(), early_stopping_rounds=3)

    def federation(self, **faults: Any) -> FakeFederation:
        return FakeFederation(executors(typical(), joined_model=True), travel=lambda data: loads(dumps(data)), **faults)


class TestVerticalExecutor(ExecutorConformance):
    def make(self) -> VerticalExecutor:
        return executors(typical())["bank"]

    def tasks(self) -> list[Task]:
        return [Task("xgb.describe", {"rank": 0}), Task("xgb.answer", {"session": b"of another process", "step": 1})]
