"""The call order that the Client API enforces over any channel."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

import flare_core.client as flare
from flare_core import ClientApiError, FLModel, Task
from flare_core.client import session as sessions
from flare_core.client.session import attach


class ListChannel:
    """A channel with a fixed list of tasks."""

    site, job_id, config = "site-1", "job-1", {"lr": 0}

    def __init__(self, rounds=3):
        self.tasks = deque(
            Task("train", FLModel(params={"w": np.full(2, float(n))}, current_round=n), n) for n in range(rounds)
        )
        self.replies, self.logged, self.waits = [], [], []

    def next_task(self, timeout_s=None):
        self.waits.append(timeout_s)
        return self.tasks.popleft() if self.tasks and timeout_s is None else None

    @property
    def ended(self):
        return not self.tasks

    def reply(self, model):
        self.replies.append((model.params, model.metrics))

    def log(self, key, value, *, kind, step):
        self.logged.append((key, value, kind, step))


@pytest.fixture
def channel(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    made = ListChannel()
    attach(made)
    yield made
    attach(None)


def test_nothing_works_before_init(channel):
    for call in (flare.is_running, flare.receive, flare.get_site_name, lambda: flare.send(FLModel(metrics={}))):
        with pytest.raises(ClientApiError, match=r"flare\.init\(\) was not called"):
            call()


def test_without_a_run_init_says_how_scripts_are_started():
    attach(None)
    with pytest.raises(ClientApiError, match="started by a recipe"):
        flare.init()


def test_each_round_gives_the_model_that_was_sent(channel):
    flare.init()
    seen = []
    while flare.is_running():
        model = flare.receive()
        seen.append((model.current_round, model.params["w"].tolist()))
        flare.send(FLModel(params=dict(model.params)))
    assert seen == [(0, [0, 0]), (1, [1, 1]), (2, [2, 2])]
    assert len(channel.replies) == 3


def test_receive_gives_the_same_model_until_send(channel):
    flare.init()
    assert flare.receive() is flare.receive()


def test_a_loop_that_never_sends_fails_in_its_third_iteration(channel):
    flare.init()
    for _ in range(2):
        assert flare.is_running()
        flare.receive()
    assert flare.is_running()
    with pytest.raises(
        ClientApiError, match=r"'train' was received twice and not answered.*end each iteration .* flare\.send"
    ):
        flare.receive()


def test_receive_alone_drives_the_loop(channel):
    flare.init()
    while (model := flare.receive()) is not None:
        flare.send(FLModel(params=dict(model.params)))
    assert len(channel.replies) == 3


def test_send_without_receive_fails_even_after_is_running(channel):
    flare.init()
    assert flare.is_running()
    with pytest.raises(ClientApiError, match="send without a received model"):
        flare.send(FLModel(metrics={"acc": 1}))


def test_a_second_send_fails(channel):
    flare.init()
    flare.receive()
    flare.send(FLModel(metrics={"acc": 1}))
    with pytest.raises(ClientApiError, match="send without a received model"):
        flare.send(FLModel(metrics={"acc": 1}))


def test_a_receive_that_times_out_gives_none_and_still_guards_send(channel):
    flare.init()
    assert flare.receive(timeout=0.5) is None
    assert channel.waits == [0.5]
    with pytest.raises(ClientApiError):
        flare.send(FLModel(metrics={"acc": 1}))


def test_send_rejects_other_types_and_empty_models(channel):
    flare.init()
    flare.receive()
    with pytest.raises(TypeError, match="takes an FLModel, not a dict"):
        flare.send({"params": {}})
    with pytest.raises(ClientApiError, match="params, metrics or both"):
        flare.send(FLModel())


def test_send_drops_the_arrays_unless_told_otherwise(channel):
    flare.init()
    received, sent = flare.receive(), FLModel(params={"w": np.ones(2)})
    flare.send(sent)
    assert received.params is None
    assert sent.params is None
    flare.receive()
    kept = FLModel(params={"w": np.ones(2)})
    flare.send(kept, clear_cache=False)
    assert kept.params is not None


def test_is_running_stays_false_after_the_last_round(channel):
    flare.init()
    channel.tasks.clear()
    assert not flare.is_running()
    assert not flare.is_running()


def test_the_task_and_the_site_are_known(channel):
    flare.init()
    with pytest.raises(ClientApiError, match="no current task"):
        flare.is_train()
    flare.is_running()
    assert (flare.is_train(), flare.is_evaluate(), flare.is_submit_model()) == (True, False, False)
    assert flare.get_task_name() == "train"
    assert flare.system_info() == {"job_id": "job-1", "site_name": "site-1"}
    assert flare.get_config() == {"lr": 0}


def test_init_again_gives_the_same_session(channel):
    assert flare.init() is flare.init()


def test_shutdown_and_the_context_manager_end_the_session(channel):
    with flare.init():
        assert flare.is_running()
    assert not flare.is_running()
    assert flare.receive() is None


def test_clear_drops_the_received_model(channel):
    flare.init()
    model = flare.receive()
    flare.clear()
    assert model.params is None


def test_ranks_above_zero_receive_nothing_and_send_nothing(channel):
    flare.init(rank="1")
    assert flare.is_running()
    assert flare.receive() is None
    flare.send(FLModel(metrics={"acc": 1}))
    assert channel.replies == []


def test_the_rank_comes_from_the_environment(channel, monkeypatch):
    monkeypatch.setenv("RANK", "2")
    assert flare.init().rank == 2


def test_init_fails_without_ranks_if_there_are_several_processes(channel, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ClientApiError, match="WORLD_SIZE is 2 but RANK is not set"):
        flare.init()


@pytest.mark.parametrize("rank", [1.5, "one", True, -1])
def test_invalid_ranks_are_rejected(channel, rank):
    with pytest.raises(ValueError, match="rank is"):
        flare.init(rank=rank)


def test_metrics_and_writers_reach_the_channel(channel):
    from flare_core.client.tracking import MLflowWriter, SummaryWriter, WandBWriter

    flare.init()
    flare.log("loss", 0.5, flare.AnalyticsDataType.SCALAR, global_step=3)
    SummaryWriter().add_scalars("train", {"loss": 1.0, "acc": 0.5}, global_step=4)
    MLflowWriter().log_params({"lr": 0.1})
    WandBWriter().log({"x": 1}, step=5)
    assert channel.logged == [
        ("loss", 0.5, "SCALAR", 3),
        ("train/loss", 1.0, "SCALAR", 4),
        ("train/acc", 0.5, "SCALAR", 4),
        ("lr", 0.1, "PARAMETER", None),
        ("x", 1, "METRIC", 5),
    ]


def test_values_logged_together_arrive_one_by_one_as_plain_numbers(channel):
    flare.init()
    kinds = flare.AnalyticsDataType
    flare.log("train", {"loss": np.float32(0.5), "rows": np.int64(3)}, kinds.SCALARS, global_step=np.int64(2))
    flare.log("all", {"lr": np.array(0.1)}, "PARAMETERS")
    flare.log("all", {"ward": "a"}, kinds.TAGS)
    assert channel.logged == [
        ("train/loss", 0.5, "SCALAR", 2),
        ("train/rows", 3, "SCALAR", 2),
        ("lr", 0.1, "PARAMETER", None),
        ("ward", "a", "TAG", None),
    ]
    assert [type(value) for _, value, *_ in channel.logged] == [float, int, float, str]
    assert type(channel.logged[0][3]) is int


@pytest.mark.parametrize("step", [1.5, "3", True])
def test_a_step_that_is_not_an_integer_is_rejected(channel, step):
    flare.init()
    with pytest.raises(TypeError, match="global_step of 'loss' is"):
        flare.log("loss", 0.5, global_step=step)


def test_log_rejects_unknown_arguments(channel):
    flare.init()
    with pytest.raises(TypeError, match="log of 'loss' has the unknown argument 'path'"):
        flare.log("loss", 0.5, "SCALAR", path="curves")


def test_plural_kinds_require_a_dict(channel):
    flare.init()
    with pytest.raises(TypeError, match="'loss' of kind SCALARS is a float; give a dict"):
        flare.log("loss", 0.5, flare.AnalyticsDataType.SCALARS)


def test_writers_need_init(channel):
    from flare_core.client.tracking import SummaryWriter

    with pytest.raises(ClientApiError, match=r"flare\.init\(\) was not called"):
        SummaryWriter().add_scalar("loss", 0.5)


def test_the_module_state_belongs_to_the_attached_script(channel):
    first = flare.init()
    other = ListChannel()
    kept = attach(other)
    assert kept is first
    with pytest.raises(ClientApiError):
        flare.get_site_name()
    attach(channel, kept)
    assert sessions.current_session() is first


def test_a_session_knows_whether_the_script_was_told_of_the_end(channel):
    channel.tasks = type(channel.tasks)([channel.tasks[0]])
    session = flare.init()
    assert flare.receive() is not None
    flare.send(FLModel(metrics={}))
    assert channel.ended
    assert not session.told_end
    assert flare.receive(timeout=0.1) is None
    assert not session.told_end
    assert not flare.is_running()
    assert session.told_end
