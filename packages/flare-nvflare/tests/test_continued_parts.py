"""Parts of a job go on with the states that were kept of them."""

from __future__ import annotations

import numpy as np
import pytest

from flare_core import FLModel
from nvflare.apis.dxo import DXO, DataKind
from nvflare.apis.fl_context import FLContext
from nvflare.app_common.abstract.model import make_model_learnable
from nvflare.app_common.app_constant import AppConstants
from nvflare.app_common.widgets.intime_model_selector import IntimeModelSelector
from nvflare.app_common.workflows.base_fedavg import BaseFedAvg
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.app_common.workflows.model_controller import ModelController
from nvflare.fuel.utils import fobs


def handed_over(before, after):
    """Give a part the state of another one, as if it had been on disk."""
    state = before.get_persist_state(FLContext())
    assert state
    after.restore(fobs.loads(fobs.dumps(state)), FLContext())
    return after


def test_a_selector_knows_the_best_value_so_far():
    before = IntimeModelSelector()
    before.best_val_metric = 0.75
    assert handed_over(before, IntimeModelSelector()).best_val_metric == 0.75


def test_an_assembler_of_clusters_goes_on_with_its_counts():
    sklearn = pytest.importorskip("nvflare.app_opt.sklearn.kmeans_assembler", exc_type=ImportError)

    def assemble(assembler, number):
        data = {"site-1": {"center": np.array([[1.0], [5.0 + number]]), "count": np.array([3, number])}}
        context = FLContext()
        context.set_prop(AppConstants.CURRENT_ROUND, number, private=True, sticky=False)
        return assembler.assemble(data, context).data["center"].tolist()

    pytest.importorskip("sklearn")
    undisturbed, before = sklearn.KMeansAssembler(), sklearn.KMeansAssembler()
    for number in range(2):
        assemble(undisturbed, number)
        assemble(before, number)
    after = handed_over(before, sklearn.KMeansAssembler())
    assert assemble(after, 2) == assemble(undisturbed, 2)


def test_an_optimizer_of_pytorch_goes_on_with_its_momentum_and_its_rate():
    torch = pytest.importorskip("torch")
    from nvflare.app_opt.pt.fedopt import PTFedOptModelShareableGenerator

    def made():
        generator = PTFedOptModelShareableGenerator(
            {"path": "torch.optim.SGD", "args": {"lr": 1.0, "momentum": 0.5}},
            {"path": "torch.optim.lr_scheduler.StepLR", "args": {"step_size": 1, "gamma": 0.5}},
            torch.nn.Linear(1, 1, bias=False),
        )
        generator.handle_event("_start_run", context())
        return generator

    def context(weight=0.0):
        from nvflare._host.build import build_component
        from nvflare.apis.fl_context import FLContextManager

        class Builds:
            def build_component(self, entry):
                return build_component(entry, {})

        fl_ctx = FLContextManager(Builds(), "server", "job", {}, {}).new_context()
        learnable = make_model_learnable({"weight": np.full((1, 1), weight, np.float32)}, {})
        fl_ctx.set_prop(AppConstants.GLOBAL_MODEL, learnable, private=True, sticky=False)
        return fl_ctx

    def stepped(generator, weight):
        change = DXO(DataKind.WEIGHT_DIFF, {"weight": np.ones((1, 1), np.float32)}).to_shareable()
        return generator.shareable_to_learnable(change, context(weight))["weights"]["weight"].item()

    before, weight = made(), 0.0
    for _ in range(2):
        weight = stepped(before, weight)
    expected = stepped(before, weight)
    before, weight = made(), 0.0
    for _ in range(2):
        weight = stepped(before, weight)
    assert stepped(handed_over(before, made()), weight) == expected == pytest.approx(weight + 0.25 * 1.75)


def test_a_restored_controller_counts_the_rounds_that_are_left_and_tells_the_sites_all():
    before = FedAvg(num_rounds=5, start_round=2, persistor_id="")
    before.current_round = 3
    before.note_model(FLModel(params={"w": np.ones(2)}, current_round=3))
    before.current_round = 4
    before.best_target_metric_value, before.num_fl_rounds_without_improvement = 0.5, 1
    after = handed_over(before, FedAvg(num_rounds=5, start_round=2, persistor_id=""))
    assert list(range(after.start_round, after.start_round + after.num_rounds)) == [4, 5, 6]
    told = after.as_planned(FLModel(params={}, start_round=after.start_round, total_rounds=after.num_rounds))
    assert (told.start_round, told.total_rounds) == (2, 5)
    assert (after.best_target_metric_value, after.num_fl_rounds_without_improvement) == (0.5, 1)
    after.current_round = 4
    after.note_model(FLModel(params={"w": np.ones(2)}))
    after.current_round = 5
    again = handed_over(after, FedAvg(num_rounds=5, start_round=2, persistor_id=""))
    assert (again.start_round, again.num_rounds, again.planned) == (5, 2, (2, 5))


class Saves(BaseFedAvg):
    def run(self):
        for number in range(self.start_round, self.start_round + self.num_rounds):
            self.current_round = number
            self.note_model(FLModel(params={}))


class Counts(BaseFedAvg):
    def run(self):
        for number in range(self.num_rounds):
            self.current_round = number
            self.note_model(FLModel(params={}))


class HasNoRounds(ModelController):
    def run(self):
        self.note_model(FLModel(params={}))


@pytest.mark.parametrize(("kind", "goes_on"), [(Saves, True), (Counts, False), (HasNoRounds, False)])
def test_only_a_controller_that_follows_the_attributes_has_a_state(kind, goes_on):
    controller = kind(persistor_id="")
    controller.run()
    controller.current_round = 5
    assert bool(controller.get_persist_state(FLContext())) == goes_on


def test_a_controller_that_did_not_store_the_last_model_has_no_state():
    controller = Saves(persistor_id="")
    controller.run()
    controller.current_round = 6
    assert controller.get_persist_state(FLContext()) == {}
