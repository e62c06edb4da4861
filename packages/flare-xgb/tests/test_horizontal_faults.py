"""Sites and servers that are started again, sites that leave, and what a server learns under masks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flare_core import Executor, SiteError, Task
from flare_core.testing import ExecutorConformance, FakeFederation, FakeSite, WorkflowConformance, resumed
from flare_fobs import dumps, loads
from flare_masking import MaskingError
from flare_xgb.data import Table
from flare_xgb.data.sameness import digest
from flare_xgb.engine.train import Trainer, cuts_of, train
from flare_xgb.horizontal import Horizontal, HorizontalExecutor

ROUNDS = 3
PARAMS = {"objective": "binary:logistic", "max_depth": 3, "max_bin": 16}
ADAPTIVE = {"objective": "reg:absoluteerror", "max_depth": 3, "max_bin": 16, "colsample_bynode": 0.6, "subsample": 0.8}
CLASSES = {"objective": "multi:softprob", "num_class": 2, "num_parallel_tree": 2, "max_depth": 2, "max_bin": 8}


class Rows:
    def __init__(self, table):
        self.table = table

    def load_data(self):
        return self.table, self.table.take(slice(0, 10))


def table_of(count=120, seed=0):
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 4)).astype(np.float32)
    features[random.random(features.shape) < 0.1] = np.nan
    return Table.of(features, (np.nan_to_num(features[:, 0]) > random.normal(size=count)).astype(np.float32))


TABLE = table_of()
PARTS = {"site-1": TABLE.take(slice(0, 30)), "site-2": TABLE.take(slice(30, 80)), "site-3": TABLE.take(slice(80, 120))}


class StartedAgain(Executor):
    """A site whose process is started again before some of its tasks, given by their numbers."""

    def __init__(self, table, secure=None, before=()):
        self.table, self.secure, self.before = table, secure, set(before)
        self.done = 0
        self.restarts = 0
        self.executor = None

    def execute(self, task, context):
        if self.executor is None or self.done in self.before:
            self.executor = HorizontalExecutor(Rows(self.table), self.secure)
            self.restarts += 1
        self.done += 1
        return self.executor.execute(task, context)


def federation(secure=None, restarts=None, **faults):
    executors = {site: StartedAgain(part, secure, (restarts or {}).get(site, ())) for site, part in PARTS.items()}
    fed = FakeFederation(executors, travel=lambda data: loads(dumps(data)), **faults)
    fed.executors = executors
    return fed


def workflow(params=PARAMS, min_clients=3, secure=None):
    return Horizontal(params, min_clients=min_clients, num_rounds=ROUNDS, early_stopping_rounds=5, secure=secure)


def model_of(fed):
    return fed.files["model.json"]


def undisturbed(params, secure=None):
    fed = federation(secure)
    fed.run(workflow(params, secure=secure))
    return model_of(fed)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
@given(
    params=st.sampled_from([PARAMS, ADAPTIVE, CLASSES]),
    secure=st.sampled_from([None, "masked"]),
    restarts=st.dictionaries(st.sampled_from(list(PARTS)), st.lists(st.integers(1, 120), max_size=4)),
)
def test_sites_that_are_started_again_at_any_task_change_nothing(params, secure, restarts):
    fed = federation(secure, restarts)
    fed.run(workflow(params, secure=secure))
    assert model_of(fed) == undisturbed(params, secure)


@pytest.mark.parametrize("secure", [None, "masked"])
def test_all_sites_that_are_started_again_at_once_change_nothing(secure):
    for number in range(1, 40, 6):
        fed = federation(secure, {site: [number] for site in PARTS})
        fed.run(workflow(ADAPTIVE, secure=secure))
        assert model_of(fed) == undisturbed(ADAPTIVE, secure)
        assert all(each.restarts == 2 for each in fed.executors.values())


@pytest.mark.parametrize("secure", [None, "masked"])
@pytest.mark.parametrize("params", [PARAMS, ADAPTIVE, CLASSES], ids=lambda params: params["objective"])
def test_a_server_that_is_killed_after_any_step_of_a_tree_goes_on_there(params, secure):
    whole = federation(secure)
    whole.run(workflow(params, secure=secure))
    assert whole.checkpoints > ROUNDS * 2
    for number in range(1, whole.checkpoints + 1):
        fed = federation(secure)
        resumed(lambda: workflow(params, secure=secure), fed, after_checkpoint=number)
        assert model_of(fed) == model_of(whole)
        assert len(grown(fed)) == len(grown(whole)), "a step of a tree was done twice"


def grown(fed):
    """Return the tasks in which the first site computed histograms for the first time."""
    tasks = [task for site, task in fed.tasks if site == "site-1" and task.name == "xgb.do"]
    steps = [
        (arguments["number"], arguments["step"])
        for task in tasks
        for name, arguments in task.data["actions"]
        if name == "histograms"
    ]
    # The first question after the start finds the sites behind, and is asked again.
    return [step for place, step in enumerate(steps) if place == 0 or step != steps[place - 1]]


def test_a_site_that_is_started_again_again_and_again_is_named():
    fed = federation(restarts={"site-2": range(10, 1000)})
    with pytest.raises(SiteError, match="site-2 was started again"):
        fed.run(workflow())


def pooled(*sites):
    return Table.of(*(np.concatenate([getattr(PARTS[site], name) for site in sites]) for name in ("features", "label")))


@pytest.mark.parametrize("secure", [None, "masked"])
@pytest.mark.parametrize("fault", ["leaves", "late"])
def test_a_tree_begins_again_without_a_site_that_is_lost_and_the_next_one_has_it_again(fault, secure):
    fed = federation(secure, **{fault: {"site-2": [1]}})
    fed.run(workflow(min_clients=2, secure=secure))
    cuts = cuts_of(TABLE, 16)
    trainer = Trainer(PARAMS, TABLE, cuts=cuts)
    trainer.round()
    others = Trainer(PARAMS, pooled("site-1", "site-3"), cuts=cuts, model=trainer.model)
    others.round()
    trainer.continue_from(others.model)
    trainer.round()
    found = replace(fed_model(fed), attributes={})
    assert found.to_json() == trainer.model.to_json()
    assert any("site-2 left or was late" in warning for warning in fed.warnings)


def fed_model(fed):
    from flare_xgb.engine.model import Model

    return Model.from_bytes(model_of(fed).encode())


SOME_ROUNDS = st.dictionaries(st.sampled_from(list(PARTS)), st.sets(st.integers(0, ROUNDS - 1)))


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    params=st.sampled_from([PARAMS, ADAPTIVE, CLASSES]),
    secure=st.sampled_from([None, "masked"]),
    restarts=st.dictionaries(st.sampled_from(list(PARTS)), st.lists(st.integers(1, 120), max_size=4)),
    faults=st.fixed_dictionaries({"leaves": SOME_ROUNDS, "late": SOME_ROUNDS, "absent": SOME_ROUNDS}),
)
def test_any_faults_leave_a_whole_model_or_an_error_with_the_name_of_a_site(params, secure, restarts, faults):
    lost = [
        {site for kind in ("leaves", "absent") for site in PARTS if round_ in faults[kind].get(site, ())}
        for round_ in range(ROUNDS)
    ]
    fed = federation(secure, restarts, **faults)
    if too_many := next((each for each in lost if len(each) > 1), None):
        with pytest.raises(SiteError) as raised:
            fed.run(workflow(params, min_clients=2, secure=secure))
        assert raised.value.site in too_many
        return
    fed.run(workflow(params, min_clients=2, secure=secure))
    assert fed_model(fed).num_rounds == ROUNDS
    again = federation(secure, restarts, **faults)
    again.run(workflow(params, min_clients=2, secure=secure))
    assert model_of(again) == model_of(fed)


@pytest.mark.parametrize("fault", ["leaves", "absent", "late"])
def test_a_site_that_never_takes_part_is_left_out(fault):
    fed = federation(**{fault: {"site-3": range(ROUNDS)}})
    fed.run(workflow(min_clients=2))
    wanted, _ = train(PARAMS, pooled("site-1", "site-2"), ROUNDS)
    assert replace(fed_model(fed), attributes={}).to_json() == wanted.to_json()


def test_a_site_that_comes_late_takes_part_in_later_rounds():
    fed = federation(absent={"site-3": [0]})
    fed.run(workflow(min_clients=2))
    cuts = cuts_of(pooled("site-1", "site-2"), 16)
    trainer = Trainer(PARAMS, pooled("site-1", "site-2"), cuts=cuts)
    trainer.round()
    everybody = Trainer(PARAMS, TABLE, cuts=cuts, model=trainer.model)
    everybody.round()
    everybody.round()
    assert replace(fed_model(fed), attributes={}).to_json() == everybody.model.to_json()


def test_under_masks_the_server_gets_nothing_that_depends_on_a_single_sites_rows():
    """Messages of two runs with the same rows share no number, and every bit of them is set half the time."""
    runs = []
    for _ in range(2):
        fed = federation("masked")
        seen = []
        fed.executors["site-1"].execute = recording(fed.executors["site-1"].execute, seen)
        fed.run(workflow(secure="masked"))
        runs.append(seen)
    masked = []
    for seen in runs:
        for name, answer in seen:
            if name == "xgb.describe":
                assert answer["schema"]["rows"] == 1  # not their number
            elif name == "xgb.do" and answer.get("numbers"):
                assert {each.dtype for each in answer["numbers"].values()} == {np.dtype(np.uint64)}
                masked.append(np.concatenate([each.reshape(-1) for each in answer["numbers"].values()]))
            else:
                assert set(answer) <= {"key", "numbers", "is_behind"}
    whole = np.concatenate(masked)
    assert len(np.unique(whole)) == len(whole)  # zeros, of which histograms are full, are hidden too
    share = np.unpackbits(whole.view(np.uint8)).mean()
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt(whole.size * 64)


def recording(execute, seen):
    def record(task, context):
        answer = execute(task, context)
        seen.append((task.name, answer))
        return answer

    return record


def test_a_site_that_is_to_mask_answers_nothing_without_masks():
    site = HorizontalExecutor(Rows(TABLE), "masked")
    context = FakeSite("site-1")
    start = {"learning": PARAMS, "rank": 0, "epoch": 1}
    schema = site.execute(Task("xgb.describe", {"start": start}), context)["schema"]
    actions = [["conform", {"schema": schema}], ["count", {}]]
    asked = Task("xgb.do", {"actions": actions, "epoch": 1})
    assert site.execute(asked, context) == {"is_behind": True}
    key = site.execute(Task("xgb.key", {}), context)["key"]
    with pytest.raises(MaskingError, match="fewer than two parties"):
        site.execute(Task("xgb.keys", {"keys": {"site-1": key}, "session": b""}), context)
    assert site.execute(asked, context) == {"is_behind": True}


class TestHorizontal(WorkflowConformance):
    can_spare = 1

    def make(self):
        return workflow(min_clients=2)

    def federation(self, **faults):
        return federation(**faults)


class TestMasked(TestHorizontal):
    def make(self):
        return workflow(min_clients=2, secure="masked")

    def federation(self, **faults):
        return federation("masked", **faults)


class TestExecutor(ExecutorConformance):
    def make(self):
        return HorizontalExecutor(Rows(TABLE))

    def tasks(self):
        """Return what a site is asked in a run of its own."""
        fed = FakeFederation({"site-1": self.make()})
        fed.run(Horizontal(PARAMS, min_clients=1, num_rounds=1))
        return [task for _, task in fed.tasks]

    def travel(self, data):
        return loads(dumps(data))


def test_a_loss_that_compares_the_rows_of_each_site_is_warned_of():
    fed = federation()
    fed.run(workflow({"objective": "survival:cox", "max_depth": 2}))
    assert any("survival:cox compares each row with those of its own site" in each for each in fed.warnings)
    fed = federation()
    fed.run(workflow(PARAMS))
    assert not fed.warnings


def test_a_model_without_a_split_is_warned_of():
    fed = federation()
    fed.run(workflow({**PARAMS, "gamma": 1e9}))
    (warning,) = fed.warnings
    assert "no tree has a split" in warning


@pytest.mark.parametrize("secure", [None, "masked"])
def test_a_site_that_is_started_again_with_other_rows_is_an_error_that_names_it(secure):
    fed = federation(secure, {"site-2": [20]})
    site, execute = fed.executors["site-2"], fed.executors["site-2"].execute

    def with_others(task, context):
        if site.done == 20:
            site.table = site.table.take(slice(1, None))
        return execute(task, context)

    site.execute = with_others
    with pytest.raises(SiteError, match="site-2: was started again, and its rows to train on are not those"):
        fed.run(workflow(secure=secure))


def test_the_order_of_rows_after_a_restart_does_not_matter():
    order = np.random.default_rng(0).permutation(len(TABLE))
    assert digest(TABLE) == digest(TABLE.take(order))
    other = TABLE.label.copy()
    other[3] = 1 - other[3]
    assert digest(TABLE) != digest(TABLE.with_columns(label=other))
    margins = np.zeros((len(TABLE), 2), np.float32)
    assert digest(TABLE.with_columns(base_margin=margins)) != digest(TABLE.with_columns(base_margin=margins + 1))
    assert digest(TABLE.take(slice(0, 0))) == 0
