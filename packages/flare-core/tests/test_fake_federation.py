"""The fake federation keeps the rules of a real one."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from flare_core import Executor, FlareError, FLModel, RecipeError, Sample, SiteError, Workflow
from flare_core.events import Event, RoundEnded, RoundStarted
from flare_core.testing import ExecutorConformance, FakeFederation, FakeSite, WorkflowConformance, resumed

THREE = ("site-1", "site-2", "site-3")


def echo(task):
    return task.data


def fed_of(site=echo, **arguments) -> FakeFederation:
    return FakeFederation(dict.fromkeys(THREE, site), **arguments)


class Script(Workflow):
    """Runs a function."""

    def __init__(self, function):
        self.function = function

    def run(self, fed):
        self.function(fed)


class Count(Workflow):
    """Sums what the sites send; its state is in the form that a test says."""

    def __init__(self, form=float):
        self.total = 0.0
        self.form = form

    def run(self, fed):
        for _ in fed.rounds(3):
            self.total += sum(reply.data for reply in fed.broadcast("number", 2.0, to=fed.sample(2)))
        fed.write("total.txt", str(self.total))

    def state(self):
        return {"total": self.form(self.total)}

    def restore(self, state):
        self.total = float(np.sum(state["total"]["at"] if isinstance(state["total"], dict) else state["total"]))


@pytest.mark.parametrize("data", [np.arange(3.0), {"a": [np.ones(2), "text"]}, FLModel(params={"w": np.ones(3)})])
def test_what_is_sent_is_a_copy_in_both_directions(data):
    kept = []

    def keep(task):
        kept.append(task.data)
        return task.data

    fed = fed_of(keep)
    replies = list(fed.broadcast("echo", data))
    assert [reply.site for reply in replies] == list(THREE)
    assert len({id(each) for each in [data, *kept, *(reply.data for reply in replies)]}) == 7


@pytest.mark.parametrize("data", [np.ones(3), {"w": np.ones(3)}])
def test_replies_can_be_read_until_the_next_broadcast(data):
    fed = fed_of()
    first, second, _ = list(fed.broadcast("echo", data))
    np.testing.assert_equal(first.data, data)
    list(fed.broadcast("echo", data))
    np.testing.assert_equal(first.data, data)  # what was read stays
    with pytest.raises(FlareError, match="site-2 for 'echo' were released before they were read"):
        _ = second.data


def test_params_can_be_read_until_the_end_of_the_round_and_are_the_readers():
    fed = fed_of()
    for _ in fed.rounds(1):
        reply, *_rest = list(fed.broadcast("train", FLModel(params={"w": np.ones(3), "deep": {"b": np.ones(1)}})))
        own = reply.model.params["w"]
        own += 1
        assert reply.model.params["w"].tolist() == [1.0] * 3
        assert reply.model.params["deep"]["b"].tolist() == [1.0]
        assert reply.round == 0
        assert (reply.sent.current_round, reply.sent.total_rounds) == (0, 1)
    with pytest.raises(FlareError, match="the params of site-1 were released before they were read"):
        _ = reply.model.params["deep"]["b"]
    assert own.tolist() == [2.0] * 3


def test_replies_of_a_conversation_can_be_read_until_it_is_closed():
    fed = fed_of()
    with fed.ask("echo", 1) as first, fed.scatter("echo", {"site-3": 3, "site-1": 1}) as second:
        list(fed.broadcast("echo", 0))
        assert [reply.data for reply in second] == [3, 1]
        assert [reply.site for reply in first.as_completed()] == ["site-3", "site-2", "site-1"]
        unread = next(iter(fed.ask("echo", 2)))
        unread.release()
    with pytest.raises(FlareError, match="released"):
        _ = unread.data
    assert list(first) == []


def test_params_that_stay_at_a_site_can_only_be_given_to_other_sites_until_they_are_released():
    fed = fed_of()
    model = FLModel(params={"w": np.ones(2)})
    stayed = next(iter(fed.ask("train", model, to=["site-1"], result_stays=True))).model
    assert list(stayed.params) == ["w"]
    with pytest.raises(FlareError, match="the params stay at site-1"):
        stayed.params["w"]
    (reply,) = fed.broadcast("hold", FLModel(meta={"also": [stayed]}), to=["site-2"])
    assert reply.model.meta["also"][0].params["w"].tolist() == [1.0, 1.0]
    fed.release(stayed)
    with pytest.raises(
        FlareError, match="the data of the task 'hold' cannot be sent: the params of site-1 were released"
    ):
        list(fed.broadcast("hold", stayed))


def test_late_sites_are_passed_over_as_far_as_the_quorum_allows():
    fed = fed_of(late={"site-1": [0], "site-2": [0]})
    for _ in fed.rounds(2):
        found = [reply.site for reply in fed.broadcast("echo", to=fed.sample(2))]
        assert found == (["site-1", "site-3"] if fed.round == 0 else list(THREE))
    assert fed.warnings == ["'echo': site-2 has not answered in time; the run goes on without"]
    conversation = fed_of(late={"site-2": [None]}).ask("echo", quorum=1)
    assert conversation.awaited == ("site-2",)


def test_absent_sites_are_not_chosen_and_those_that_leave_are_passed_over():
    fed = fed_of(absent={"site-1": [0]}, leaves={"site-2": [0]})
    for _ in fed.rounds(2):
        chosen = fed.sample(1)
        found = [reply.site for reply in fed.broadcast("echo", to=chosen)]
        assert (chosen, found) == ((THREE[1:], ["site-3"]) if fed.round == 0 else (THREE, list(THREE)))
        if fed.round == 0:
            assert fed.sample(1) == ("site-3",)
            with pytest.raises(SiteError, match=r"2 sites are needed, 1 are there \(absent: site-1, site-2\)"):
                fed.sample(2)
            with pytest.raises(SiteError, match="3 sites are needed, 1 were there"):
                list(fed.broadcast("echo"))


def test_a_sample_is_drawn_from_the_seed():
    drawn = [fed_of(seed=seed).sample(1, count=2) for seed in (1, 1, 2, 3, 4)]
    assert drawn[0] == drawn[1]
    assert len(set(drawn)) > 1
    assert drawn[0].quorum == 1


def test_a_site_that_raises_fails_the_run_with_its_name_when_its_reply_is_read():
    def fail(task):
        raise ValueError("nothing to halve")

    fed = FakeFederation({"site-1": echo, "site-2": fail})
    replies = fed.broadcast("half", 1)
    assert next(replies).data == 1
    with pytest.raises(SiteError, match="site-2: ValueError: nothing to halve") as raised:
        next(replies)
    assert "in fail" in raised.value.details


def test_a_site_that_says_that_it_failed_fails_the_run_and_there_is_no_endpoint():
    class Fails(Executor):
        def execute(self, task, context):
            with pytest.raises(FlareError, match="a fake site has no endpoint; test services in SimEnv"):
                _ = context.endpoint
            context.fail(ValueError("the port is closed"))

    fed = FakeFederation({"site-1": Fails()})
    with pytest.raises(SiteError, match="site-1: ValueError: the port is closed"):
        list(fed.broadcast("work"))
    with pytest.raises(FlareError, match="a fake federation has no endpoint"):
        _ = fed.endpoint


def test_what_cannot_travel_is_refused():
    with pytest.raises(FlareError, match="the data of the task 'echo' cannot be sent"):
        fed_of().ask("echo", threading.Lock())
    with pytest.raises(SiteError, match="site-1: TypeError"):
        list(fed_of(lambda task: threading.Lock()).ask("echo"))

    def only_text(data):
        if not isinstance(data, str):
            raise TypeError(f"{data!r} is no text")
        return data.upper()

    assert next(fed_of(travel=only_text).broadcast("echo", "text")).data == "TEXT"
    with pytest.raises(FlareError, match="5 is no text"):
        fed_of(travel=only_text).ask("echo", 5)


def test_a_task_for_an_unknown_site_is_refused():
    with pytest.raises(RecipeError, match="a task 'echo' is addressed to 'site-9'; the sites are site-1"):
        fed_of().ask("echo", to=["site-9"])


def test_what_happened_is_recorded():
    class Log(Executor):
        def execute(self, task, context):
            context.log("seen", 1.0, step=7)
            context.warn(f"careful, {context.config['colour']}")
            (context.folder / "note.txt").write_text("here")
            return (context.folder / "note.txt").read_text()

    fed = FakeFederation(
        {"site-1": Log()}, config={"lr": 1}, site_config={"site-1": {"colour": "red"}}, initial={"w": np.zeros(1)}
    )
    events: list[Event] = []
    fed.events.subscribe(RoundStarted, events.append)
    fed.events.subscribe(RoundEnded, events.append)

    def script(fed):
        for round_ in fed.rounds(5):
            assert [reply.data for reply in fed.broadcast("note", {"x": round_})] == ["here"]
            fed.record({"mean": float(round_)})
            fed.save(FLModel(params={"w": fed.load().params["w"] + 1}))
            fed.save(fed.load("initial"), name="best", metric=0.5)
            fed.warn("twice")
            if round_ == 1:
                break
        fed.show("Title", ["a"], [["1"]])
        fed.write("result.txt", "done")

    fed.run(Script(script))
    assert fed.completed == 2
    assert [(each.round, each.site, each.key, each.value, each.step) for each in fed.metrics] == [
        (0, "site-1", "seen", 1.0, 7), (0, None, "mean", 0.0, None),
        (1, "site-1", "seen", 1.0, 7), (1, None, "mean", 1.0, None),
    ]  # fmt: skip
    assert fed.warnings == ["site-1: careful, red", "twice"]
    assert [(site, task.name, task.data, task.round) for site, task in fed.tasks] == [
        ("site-1", "note", {"x": 0}, 0), ("site-1", "note", {"x": 1}, 1)
    ]  # fmt: skip
    assert fed.saved["global"].params["w"].tolist() == [2.0]
    assert fed.saved["best"].params["w"].tolist() == [0.0]
    assert [(each.title, each.columns, each.rows) for each in fed.tables] == [("Title", ("a",), (("1",),))]
    assert fed.files == {"result.txt": "done"}
    assert events == [
        RoundStarted(0, 5), RoundEnded(0, 5, 0.0, {"mean": 0.0}),
        RoundStarted(1, 5), RoundEnded(1, 5, 0.0, {"mean": 1.0}),
    ]  # fmt: skip


def test_a_model_must_not_change_after_it_was_saved():
    def script(fed):
        model = fed.load()
        fed.save(model)
        model.params["w"] += 1

    with pytest.raises(ValueError, match="read-only"):
        fed_of(initial={"w": np.zeros(2)}).run(Script(script))


def test_collect_leaves_late_replies_to_later_rounds():
    fed = fed_of(late={"site-1": [0], "site-2": [1]}, initial={"w": np.zeros(1)})
    found = []
    for _ in fed.rounds(3):
        replies = fed.collect("train", fed.load(), to=Sample(THREE, 1), quorum=2, max_staleness=1)
        found.append([(reply.site, reply.round) for reply in replies])
    assert found == [
        [("site-2", 0), ("site-3", 0)],
        [("site-1", 0), ("site-3", 1)],
        [("site-1", 2), ("site-2", 1)],
    ]


def test_a_reply_that_is_too_old_is_dropped():
    fed = fed_of(late={"site-1": [0, 1]}, initial={"w": np.zeros(1)})
    found = []
    for _ in fed.rounds(3):
        replies = fed.collect("train", fed.load(), to=Sample(THREE, 1), quorum=3, max_staleness=1)
        found.append([(reply.site, reply.round) for reply in replies])
    assert found[2] == [("site-1", 2), ("site-2", 2), ("site-3", 2)]


@pytest.mark.parametrize("form", [float, lambda value: {"at": np.full(2, value / 2)}, lambda value: [value]])
def test_a_workflow_continues_with_the_state_that_it_had(form):
    for round_ in range(3):
        fed = fed_of()
        resumed(lambda: Count(form), fed, after_round=round_)
        assert fed.files == {"total.txt": "18.0"}
    with pytest.raises(FlareError, match="round 7 was not reached; the workflow ended after 3 rounds"):
        resumed(lambda: Count(form), fed_of(), after_round=7)


def test_a_state_that_cannot_be_stored_is_named():
    with pytest.raises(FlareError, match=r"state\(\)\['total'\] can be neither JSON nor a mapping"):
        fed_of().run(Count(np.array))


class CountInParts(Count):
    """Makes a checkpoint after each of the two parts of a round."""

    part = 0

    def run(self, fed):
        for _ in fed.rounds(3):
            while self.part < 2:
                self.total += sum(reply.data for reply in fed.broadcast("number", 1.0, to=fed.sample(2)))
                self.part += 1
                fed.checkpoint()
            self.part = 0
        fed.write("total.txt", str(self.total))

    def state(self):
        return {"total": self.total, "part": self.part}

    def restore(self, state):
        super().restore(state)
        self.part = state["part"]


def test_a_workflow_continues_with_the_state_of_a_checkpoint_within_a_round():
    for number in range(1, 7):
        fed = fed_of()
        resumed(CountInParts, fed, after_checkpoint=number)
        assert fed.files == {"total.txt": "18.0"}
        assert (len(fed.tasks), fed.completed) == (18, 3)
    with pytest.raises(FlareError, match="checkpoint 7 was not reached"):
        resumed(CountInParts, fed_of(), after_checkpoint=7)


class TestCountInParts(WorkflowConformance):
    can_spare = 1

    def make(self):
        return CountInParts()

    def federation(self, **faults):
        return fed_of(**faults)


class Loses(CountInParts):
    """A workflow whose state lacks the part."""

    def state(self):
        return super().state() | {"part": 0}


def test_the_suite_finds_a_workflow_that_forgets_where_in_a_round_it_was():
    suite = TestCountInParts()
    suite.make = Loses
    with pytest.raises(AssertionError, match="continued after checkpoint 1"):
        suite.test_it_goes_on_after_each_checkpoint_within_a_round_with_the_same_result()


class TestCount(WorkflowConformance):
    can_spare = 1

    def make(self):
        return Count()

    def federation(self, **faults):
        return fed_of(**faults)


class Forgets(Count):
    """A workflow whose state is not what it needs."""

    def state(self):
        return {"total": 0.0}


class Greedy(Count):
    """A workflow that needs all sites, whatever it says."""

    def run(self, fed):
        for _ in fed.rounds(3):
            list(fed.broadcast("number", 2.0))


class Hoards(Count):
    """A workflow that reads replies in a later round."""

    def run(self, fed):
        replies = []
        for _ in fed.rounds(2):
            self.total += sum(reply.data for reply in replies)
            replies = list(fed.broadcast("number", 2.0))


class Differs(Count):
    """A workflow that gives another result each time."""

    made = 0

    def run(self, fed):
        Differs.made += 1
        fed.write("total.txt", str(Differs.made))


@pytest.mark.parametrize(
    ("workflow", "test", "message"),
    [
        (Forgets, "test_it_goes_on_after_each_round_with_the_same_result", "continued after round 0"),
        (Greedy, "test_it_goes_on_without_the_sites_that_it_can_spare", "3 sites are needed, 2 were there"),
        (Hoards, "test_it_runs_to_its_end_and_again_with_the_same_result", "were released before they were read"),
        (Differs, "test_it_runs_to_its_end_and_again_with_the_same_result", "total.txt"),
        (Differs, "test_it_fails_without_one_site_more", "more sites than can_spare were lost"),
    ],
)
def test_the_suite_finds_workflows_that_break_a_rule(workflow, test, message):
    suite = TestCount()
    suite.make = workflow
    with pytest.raises((AssertionError, FlareError), match=message):
        getattr(suite, test)()


class Mean(Executor):
    """Returns the mean of the numbers that it has seen."""

    def __init__(self):
        self.seen = []

    def execute(self, task, context):
        self.seen.append(task.data)
        context.log("mean", float(np.mean(self.seen)))
        return {"mean": np.mean(self.seen), "values": np.array(self.seen)}


class Reuses(Mean):
    """Returns an array that it changes later."""

    def __init__(self):
        self.total = np.zeros(1)

    def execute(self, task, context):
        self.total += task.data
        return self.total


class Deaf(Mean):
    """Works on until it is told to stop, and does not look at what it is told."""

    def __init__(self):
        self.stop = threading.Event()

    def execute(self, task, context):
        self.stop.wait(20)


class Locks(Mean):
    """Returns what cannot travel."""

    def execute(self, task, context):
        return self.__dict__ | {"lock": threading.Lock()}


class TestMean(ExecutorConformance):
    def make(self):
        return Mean()

    def tasks(self):
        from flare_core import Task

        return [Task("add", 1.0), Task("add", 2.0)]


@pytest.mark.parametrize(
    ("executor", "test", "message"),
    [
        (Reuses, "test_it_does_not_change_later_what_it_returned", "Arrays are not equal"),
        (Locks, "test_it_does_each_of_its_tasks_and_the_replies_can_travel", "cannot pickle"),
    ],
)
def test_the_suite_finds_executors_that_break_a_rule(executor, test, message):
    suite = TestMean()
    suite.make = executor
    with pytest.raises((AssertionError, TypeError), match=message):
        getattr(suite, test)()


def test_the_suite_finds_an_executor_that_goes_on_when_it_is_cancelled():
    suite, deaf = TestMean(), Deaf()
    suite.make = lambda: deaf
    suite.stops_within_s = 0.05
    with pytest.raises(AssertionError, match=r"the task 'add' goes on 0\.05 s after it was cancelled"):
        suite.test_it_stops_when_it_is_cancelled()
    deaf.stop.set()


def test_the_folder_of_a_fake_site_is_given_or_made(tmp_path):
    assert FakeSite(folder=tmp_path).folder == tmp_path
    site = FakeSite("site-7")
    folder = site.folder
    assert folder.is_dir()
    assert folder == site.folder
    del site
    assert not folder.exists()


def test_the_settings_of_a_fake_sites_owner_are_given_or_missing(tmp_path):
    class ReadsSettings(Executor):
        def execute(self, task, context):
            return context.local

    assert not FakeSite().local.exists()
    assert FakeSite(local=tmp_path).local == tmp_path
    fed = FakeFederation({"site-1": ReadsSettings(), "site-2": ReadsSettings()}, site_local={"site-2": tmp_path})
    with fed.ask("settings", None) as conversation:
        first, second = (reply.data for reply in conversation)
    assert not first.exists()
    assert second == tmp_path
