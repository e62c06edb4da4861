"""Components of NVIDIA FLARE's kinds in jobs of Flare: events, filters, messages, streams, models."""

import json
import textwrap

import numpy as np
import pytest
from nvflare_folders import CLIENT, SERVER, write_job

from flare_core import FLModel, JobFailed
from flare_core.filters import FilterContext, FilterPoint
from flare_runtime import SimEnv
from nvflare._host.jobs import load_job_folder
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_constant import FLMetaKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.aggregators.model_aggregator import ModelAggregator
from nvflare.app_common.filters.exclude_vars import ExcludeVars
from nvflare.app_common.utils.fl_model_utils import FLModelUtils
from nvflare.app_common.workflows.fedavg import FedAvg
from nvflare.fuel.utils import fobs


def run(folder, tmp_path, count=2):
    return SimEnv(num_clients=count, workspace_root=tmp_path / "runs").deploy(load_job_folder(folder))


RECORDER = """
    from pathlib import Path
    from nvflare.apis.fl_component import FLComponent
    from nvflare.apis.fl_constant import FLContextKey

    class Recorder(FLComponent):
        def handle_event(self, event_type, fl_ctx):
            run = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
            with (run / "events.txt").open("a") as file:
                file.write(f"{event_type} {fl_ctx.get_prop(FLContextKey.TASK_NAME) or ''}\\n".strip() + "\\n")
"""


def test_events_are_fired_in_the_documented_order_at_both_ends(tmp_path):
    recorder = {"id": "recorder", "path": "recorder.Recorder"}
    server = {**SERVER, "rounds": 1, "components": [*SERVER["components"], recorder]}
    client = {**CLIENT, "components": [recorder]}
    folder = run(write_job(tmp_path / "job", server, client, {"recorder.py": RECORDER}), tmp_path).get_result()
    at_site = (folder / "sites" / "site-1" / "simulate_job" / "events.txt").read_text().splitlines()
    assert at_site == [
        "_about_to_start_run",
        "_start_run",
        "_swap_in train",
        "_before_pull_task train",
        "_after_pull_task train",
        "_before_task_data_filter train",
        "_after_task_data_filter train",
        "_before_task_execution train",
        "_after_task_execution train",
        "_before_task_result_filter train",
        "_after_task_result_filter train",
        "_before_send_task_result train",
        "_after_send_task_result train",
        "_about_to_end_run",
        "_check_end_run_readiness",
        "_end_run",
    ]
    at_server = [
        line.split()[0] for line in (folder / "server" / "simulate_job" / "events.txt").read_text().splitlines()
    ]
    once = [each for each in dict.fromkeys(at_server) if "filter" not in each and "submission" not in each]
    assert once == [
        "_start_run",
        "_initial_model_loaded",
        "_start_workflow",
        "_training_started",
        "_round_started",
        "_before_process_task_request",
        "_before_train_task",
        "_after_process_task_request",
        "_before_contribution_accept",
        "_after_contribution_accept",
        "_before_aggregation",
        "_after_aggregation",
        "_before_model_update",
        "_after_model_update",
        "_before_save_model",
        "_after_save_model",
        "_round_done",
        "_end_workflow",
        "_about_to_end_run",
        "_check_end_run_readiness",
        "_end_run",
    ]


def test_a_filter_of_a_config_based_job_changes_results(tmp_path):
    code = """
        from nvflare.apis.dxo_filter import DXOFilter
        from nvflare.apis.filter import ContentBlockedException

        class Doubled(DXOFilter):
            def __init__(self, factor):
                super().__init__(None, None)
                self.factor = factor

            def process_dxo(self, dxo, shareable, fl_ctx):
                assert fl_ctx.get_identity_name().startswith("site-")
                dxo.data = {key: value * self.factor for key, value in dxo.data.items()}
                return dxo

        class Blocks(Doubled):
            def process_dxo(self, dxo, shareable, fl_ctx):
                raise ContentBlockedException("nothing may leave")
    """
    for name, expected in (("Doubled", [6.0, 8.0]), ("Blocks", None)):
        entry = {"tasks": ["train"], "filters": [{"path": f"own.{name}", "args": {"factor": "{factor}"}}]}
        client = {**CLIENT, "factor": 2, "task_result_filters": [entry]}
        folder = write_job(tmp_path / name, {**SERVER, "rounds": 1}, client, {"own.py": code})
        done = run(folder, tmp_path)
        if expected is not None:
            assert done.load_model()["numpy_key"].tolist() == expected
        else:
            with pytest.raises(JobFailed, match="nothing may leave"):
                done.get_result()


def test_a_filter_can_be_used_in_a_chain_of_flare(tmp_path):
    context = FilterContext(FilterPoint.CLIENT_OUTPUT, "site-1", "train", 3)
    model = FLModel(
        params={"a": np.ones(2), "head.b": np.ones(2)},
        metrics={"loss": 0.5},
        current_round=3,
        meta={FLMetaKey.NUM_STEPS_CURRENT_ROUND: 7},
    )
    found = ExcludeVars("head").process(model, context)
    assert list(found.params) == ["a"]
    assert (found.metrics, found.current_round, found.meta[FLMetaKey.NUM_STEPS_CURRENT_ROUND]) == ({"loss": 0.5}, 3, 7)
    assert list(model.params) == ["a", "head.b"]


MESSAGES = """
    from nvflare.apis.controller_spec import Task
    from nvflare.apis.dxo import DXO, DataKind
    from nvflare.apis.event_type import EventType
    from nvflare.apis.executor import Executor
    from nvflare.apis.fl_constant import FLContextKey, ReturnCode
    from nvflare.apis.impl.controller import Controller
    from nvflare.apis.shareable import Shareable, make_reply
    from nvflare.app_common.streamers.container_retriever import ContainerRetriever
    from nvflare.app_common.streamers.file_streamer import FileStreamer
    from pathlib import Path

    class Talks(Executor):
        def handle_event(self, event_type, fl_ctx):
            if event_type == EventType.START_RUN:
                fl_ctx.get_engine().register_aux_message_handler("greet", self.greeted)

        def greeted(self, topic, request, fl_ctx):
            reply = make_reply(ReturnCode.OK)
            reply["text"] = f"{request['text']} {fl_ctx.get_peer_context().get_identity_name()}"
            return reply

        def execute(self, task_name, shareable, fl_ctx, abort_signal):
            engine, me = fl_ctx.get_engine(), fl_ctx.get_identity_name()
            other = "site-2" if me == "site-1" else "site-1"
            request = Shareable({"text": "hello from"})
            answer = engine.send_aux_request([other], "greet", request, 10.0, fl_ctx)[other]
            assert answer["text"] == f"hello from {me}", answer
            missing = engine.send_aux_request(["server"], "nothing", request, 10.0, fl_ctx)["server"]
            assert missing.get_return_code() == ReturnCode.TOPIC_UNKNOWN
            rc, box = engine.get_component("box").retrieve_container("server", fl_ctx, 20.0, "model")
            assert rc == ReturnCode.OK and box == {f"layer-{n}": bytes([n]) * 100_000 for n in range(20)}
            rc, nothing = engine.get_component("box").retrieve_container("server", fl_ctx, 20.0, "none")
            assert rc == ReturnCode.BAD_REQUEST_DATA and nothing is None
            path = Path(engine.get_workspace().get_run_dir(fl_ctx.get_job_id())) / "log.bin"
            path.write_bytes(me.encode() * 200_000)
            rc, _ = FileStreamer.stream_file("c", "t", {"by": me}, ["server"], str(path), fl_ctx)
            assert rc == ReturnCode.OK
            self.fire_fed_event("done", Shareable({"by": me}), fl_ctx)
            return make_reply(ReturnCode.OK)

    class Asks(Controller):
        def start_controller(self, fl_ctx):
            self.files, self.done = {}, set()
            box = fl_ctx.get_engine().get_component("box")
            box.add_container("model", {f"layer-{n}": bytes([n]) * 100_000 for n in range(20)})
            FileStreamer.register_stream_processing(fl_ctx, "c", "t", stream_done_cb=self.came)

        def came(self, stream_ctx, fl_ctx):
            self.files[stream_ctx["by"]] = Path(FileStreamer.get_file_location(stream_ctx)).read_bytes()

        def handle_event(self, event_type, fl_ctx):
            if event_type == "done":
                self.done.add(fl_ctx.get_prop(FLContextKey.EVENT_DATA)["by"])

        def control_flow(self, abort_signal, fl_ctx):
            task = Task("talk", DXO(DataKind.APP_DEFINED, {}).to_shareable())
            self.broadcast_and_wait(task, fl_ctx, min_responses=2)
            assert all(each.result.get_return_code() == ReturnCode.OK for each in task.client_tasks)

        def stop_controller(self, fl_ctx):
            assert self.files == {site: site.encode() * 200_000 for site in ("site-1", "site-2")}
            assert self.done == {"site-1", "site-2"}
"""


def test_parties_exchange_messages_containers_files_and_events(tmp_path):
    box = {"id": "box", "path": "nvflare.app_common.streamers.container_retriever.ContainerRetriever"}
    server = {"workflows": [{"path": "parts.Asks"}], "components": [box]}
    client = {"executors": [{"tasks": ["talk"], "executor": {"path": "parts.Talks"}}], "components": [box]}
    done = run(write_job(tmp_path / "job", server, client, {"parts.py": MESSAGES}), tmp_path)
    assert done.get_result()


MODELS = """
    import numpy as np
    from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
    from nvflare.app_common.workflows.base_fedavg import BaseFedAvg
    from nvflare.app_common.workflows.model_controller import ModelController

    class Counts(ModelController):
        def __init__(self, num_rounds):
            super().__init__(persistor_id="")
            self.num_rounds = num_rounds

        def run(self):
            first = self.send_model_and_wait(data=FLModel(params={}, current_round=1, total_rounds=2))
            totals = {}
            for each in first:
                assert each.meta["client_name"].startswith("site-")
                for key, value in each.params["counts"].items():
                    totals[key] = totals.get(key, 0) + value
            assert totals == {1: 2, 2: 4}, totals
            model = FLModel(params={"totals": totals}, current_round=2, total_rounds=2)
            second = []
            self.send_model(data=model, callback=second.append)
            while self.get_num_standing_tasks():
                pass
            assert [each.params["seen"] for each in second] == [6, 6]
"""
COUNTING = """
    import nvflare.client as flare
    from nvflare.app_common.abstract.fl_model import FLModel

    flare.init()
    while flare.is_running():
        model = flare.receive()
        if model.current_round == 1:
            flare.send(FLModel(params={"counts": {1: 1, 2: 2}}))
        else:
            flare.send(FLModel(params={"seen": sum(model.params["totals"].values())}))
"""


def test_a_model_controller_and_scripts_exchange_params_that_are_no_arrays(tmp_path):
    executor = {
        "path": "nvflare.app_common.executors.in_process_client_api_executor.InProcessClientAPIExecutor",
        "args": {"task_script_path": "count.py"},
    }
    server = {"workflows": [{"path": "own.Counts", "args": {"num_rounds": 2}}]}
    client = {"executors": [{"tasks": ["train"], "executor": executor}]}
    folder = write_job(tmp_path / "job", server, client, {"own.py": MODELS, "count.py": COUNTING})
    assert run(folder, tmp_path).get_result()


def test_sites_evaluate_the_models_of_the_server_and_of_each_other(tmp_path):
    names = "nvflare.app_common.workflows.cross_site_model_eval.CrossSiteModelEval"
    server = {
        **SERVER,
        "rounds": 1,
        "workflows": [*SERVER["workflows"], {"path": names, "args": {"model_locator_id": "locator"}}],
        "components": [
            *SERVER["components"],
            {"id": "locator", "path": "nvflare.app_common.np.np_model_locator.NPModelLocator"},
            {
                "id": "json",
                "path": "nvflare.app_common.widgets.validation_json_generator.ValidationJsonGenerator",
            },
        ],
    }
    validator = {"tasks": ["validate"], "executor": {"path": "nvflare.app_common.np.np_validator.NPValidator"}}
    client = {"executors": [*CLIENT["executors"], validator]}
    folder = run(write_job(tmp_path / "job", server, client), tmp_path).get_result()
    results = folder / "server" / "simulate_job" / "cross_site_val" / "cross_val_results.json"
    found = json.loads(results.read_text())
    assert sorted(found) == ["site-1", "site-2"]
    assert all(sorted(each) == ["SRV_server", "site-1", "site-2"] for each in found.values())


def test_a_model_passes_from_site_to_site(tmp_path):
    cyclic = {"path": "nvflare.app_common.workflows.cyclic_ctl.CyclicController", "args": {"num_rounds": 2}}
    server = {**SERVER, "workflows": [cyclic]}
    done = run(write_job(tmp_path / "job", server), tmp_path, count=3)
    assert done.load_model()["numpy_key"].tolist() == [13.0, 14.0]  # three sites add 2, twice


LEARNS = """
    from nvflare.app_common.abstract.fl_model import FLModel
    from nvflare.app_common.abstract.model_learner import ModelLearner

    class Learns(ModelLearner):
        def initialize(self):
            self.step = 2.0

        def train(self, model):
            assert self.site_name.startswith("site-") and self.total_rounds == 1
            return FLModel(params={key: value + self.step for key, value in model.params.items()})
"""


@pytest.mark.filterwarnings("ignore:ModelLearner is deprecated")
def test_a_model_learner_trains(tmp_path):
    executor = {
        "path": "nvflare.app_common.executors.model_learner_executor.ModelLearnerExecutor",
        "args": {"learner_id": "learner"},
    }
    client = {
        "executors": [{"tasks": ["*"], "executor": executor}],
        "components": [{"id": "learner", "path": "own.Learns"}],
    }
    folder = write_job(tmp_path / "job", {**SERVER, "rounds": 1}, client, {"own.py": LEARNS})
    assert run(folder, tmp_path).load_model()["numpy_key"].tolist() == [3.0, 4.0]


def test_sticky_properties_are_shared_and_attributes_do_not_change():
    manager = FLContextManager(None, "site-1", "job")
    first, second = manager.new_context(), manager.new_context()
    assert first.set_prop("shared", 1, private=False, sticky=True)
    assert not first.set_prop("shared", 2, private=True, sticky=True)
    assert (second.get_prop("shared"), manager.new_context().get_all_public_props()["shared"]) == (1, 1)
    assert first.set_prop("own", 1, sticky=False)
    assert second.get_prop("own") is None
    assert isinstance(second.clone(), FLContext)
    assert second.get_identity_name() == "site-1"


def test_shareables_and_dxos_keep_their_content_through_bytes():
    dxo = DXO(DataKind.COLLECTION, {"a": DXO(DataKind.WEIGHTS, {"w": np.arange(3.0)}, {"steps": 2})})
    shareable = dxo.to_shareable()
    shareable.add_cookie("round", 3)
    again = from_shareable(Shareable.from_bytes(shareable.to_bytes()))
    assert again.data["a"].data["w"].tolist() == [0.0, 1.0, 2.0]
    assert again.data["a"].get_meta_prop("steps") == 2
    with pytest.raises(ValueError, match="EXECUTION_EXCEPTION"):
        from_shareable(make_reply("EXECUTION_EXCEPTION"))


def test_models_keep_rounds_metrics_and_meta_as_shareables():
    model = FLModel(params={"w": np.ones(2)}, metrics={"loss": 1.0}, current_round=2, total_rounds=5, meta={"a": "b"})
    again = FLModelUtils.from_shareable(FLModelUtils.to_shareable(model))
    assert (again.metrics, again.current_round, again.total_rounds, again.meta["a"]) == ({"loss": 1.0}, 2, 5, "b")
    update = FLModel(params={"w": np.full(2, 3.0)}, params_type="DIFF")
    assert FLModelUtils.update_model(again, update).params["w"].tolist() == [4.0, 4.0]


def test_registered_types_are_serialized_and_others_refused():
    class Point:
        def __init__(self, x):
            self.x = x

    class PointDecomposer(fobs.Decomposer):
        def supported_type(self):
            return Point

        def decompose(self, target, manager=None):
            return target.x

        def recompose(self, data, manager=None):
            return Point(data)

    with pytest.raises(TypeError):
        fobs.dumps(Point(1))
    fobs.register(PointDecomposer)
    assert fobs.loads(fobs.dumps([Point(4)]))[0].x == 4


def test_old_names_are_deprecated_and_work():
    with pytest.warns(DeprecationWarning, match="task_name"):
        assert FedAvg(task_to_optimize="fit").task_name == "fit"


class Largest(ModelAggregator):
    def __init__(self):
        super().__init__()
        self.models = []

    def accept_model(self, model):
        self.models.append(model)

    def aggregate_model(self):
        best = max(self.models, key=lambda each: each.metrics["score"])
        return FLModel(params=best.params)

    def reset_stats(self):
        self.models = []


def test_an_aggregator_can_be_used_in_a_recipe_of_flare(tmp_path):
    from flare_recipes_np import FedAvgRecipe

    script = tmp_path / "train.py"
    script.write_text(
        textwrap.dedent(
            """
            import flare_core.client as flare

            flare.init()
            while flare.is_running():
                model = flare.receive()
                number = float(flare.get_site_name()[-1])
                params = {"w": model.params["w"] + number}
                flare.send(flare.FLModel(params=params, metrics={"score": number}))
            """
        )
    )
    recipe = FedAvgRecipe(
        min_clients=3,
        num_rounds=2,
        initial_model={"w": np.zeros(2)},
        train_script=script,
        aggregator=Largest(),
    )
    done = recipe.execute(SimEnv(num_clients=3, workspace_root=tmp_path / "runs"))
    assert done.load_model()["w"].tolist() == [6.0, 6.0]


SUMMING = """
    from nvflare.apis.dxo import DXO, DataKind
    from nvflare.app_common.aggregators.assembler import Assembler

    class Summing(Assembler):
        def __init__(self):
            super().__init__(data_kind=DataKind.WEIGHTS)

        def get_model_params(self, dxo):
            return {"array": dxo.data["numpy_key"]}

        def assemble(self, data, fl_ctx):
            total = sum(each["array"] for each in self.collection.values())
            return DXO(data_kind=self.expected_data_kind, data={"numpy_key": total})
"""
SENDING = """
    import nvflare.client as flare

    flare.init()
    while flare.is_running():
        model = flare.receive()
        flare.send(flare.FLModel(params={"numpy_key": model.params["numpy_key"] + 1}))
"""


def test_an_assembler_combines_what_sites_send(tmp_path):
    common = "nvflare.app_common"
    args = {"min_clients": 2, "num_rounds": 2, "aggregator_id": "aggregator", "persistor_id": "persistor"}
    args |= {"shareable_generator_id": "generator", "train_task_name": "train"}
    server = {
        "workflows": [{"path": f"{common}.workflows.scatter_and_gather.ScatterAndGather", "args": args}],
        "components": [
            {"id": "summing", "path": "own.Summing"},
            {
                "id": "aggregator",
                "path": f"{common}.aggregators.collect_and_assemble_aggregator.CollectAndAssembleAggregator",
                "args": {"assembler_id": "summing"},
            },
            {"id": "persistor", "path": f"{common}.np.np_model_persistor.NPModelPersistor", "args": {"model": [1.0]}},
            {"id": "generator", "path": f"{common}.shareablegenerators.full_model_shareable_generator"
             ".FullModelShareableGenerator"},
        ],
    }  # fmt: skip
    path = f"{common}.executors.in_process_client_api_executor.InProcessClientAPIExecutor"
    client = {"executors": [{"tasks": ["train"], "executor": {"path": path, "args": {"task_script_path": "send.py"}}}]}
    folder = write_job(tmp_path / "job", server, client, {"own.py": SUMMING, "send.py": SENDING})
    done = run(folder, tmp_path)
    assert np.load(next(done.get_result().glob("server/**/server.npy"))).tolist() == [10.0]  # 2 * (2 * (1 + 1) + 1)
