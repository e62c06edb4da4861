"""Conversations: tasks with any data, several at once, and the lifetime of replies."""

from __future__ import annotations

import pytest
from talking import Again, Doubled, Fails, Half, Halves, Interleaved, Kept, Ones, TwoAtOnce, Unserializable

from flare_core import JobFailed
from flare_core.components import Component
from flare_core.recipes import WorkflowRecipe
from flare_runtime import SimEnv

LARGE = 100_000  # numbers in an array that is fetched; small ones come with the message
SMALL = 5


def run(tmp_path, workflow, executors, *, sites=2, share=None, filters=(), raise_on_failure=True):
    recipe = WorkflowRecipe(min_clients=sites, workflow=workflow, executors=executors)
    for each in filters:
        recipe.add_client_output_filter(each)
    env = SimEnv(num_clients=sites, num_threads=2, share_processes=share, workspace_root=tmp_path)
    return recipe.execute(env, raise_on_failure=raise_on_failure)


def sums(run, key):
    return [row["value"] for row in run.metrics() if row["key"] == key]


@pytest.mark.parametrize("share", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
@pytest.mark.parametrize("kind", ["array", "nested", "dataclass", "model", "bytes", "many"])
def test_any_data_goes_to_the_sites_and_comes_back(tmp_path, kind, size, share):
    assert sums(run(tmp_path, Halves(kind, size), {"half": Half()}, share=share), "done") == [1.0, 1.0]


@pytest.mark.parametrize("share", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_two_conversations_are_open_at_once(tmp_path, size, share):
    executors = {"half": Half(), "*": Again()}
    assert sums(run(tmp_path, TwoAtOnce(size), executors, sites=3, share=share), "done") == [1.0, 1.0]


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_replies_of_any_size_can_be_read_until_the_next_broadcast(project, size):
    job = project.job(workflow=Component.of(Kept(size), what="workflow"))
    with pytest.raises(JobFailed, match=r"the params of .* were released before they were read"):
        project.env(2).deploy(job).get_result()


@pytest.mark.parametrize("external", [False, True], ids=["in-process", "external"])
@pytest.mark.parametrize("share", [False, True], ids=["own", "shared"])
@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_script_does_a_second_task_before_the_reply_to_the_first_is_read(project, size, share, external):
    workflow = Component.of(Interleaved(size), what="workflow")
    job = project.job(workflow=workflow, launch_external_process=external)
    assert sums(project.env(2, num_threads=2, share_processes=share).deploy(job), "done") == [1.0]


def test_filters_apply_to_data_of_their_type_whichever_executor_returns_them(tmp_path):
    found = run(tmp_path, Ones(), {"*": Again()}, filters=[Doubled()])
    assert sums(found, "sum") == [200_000.0, 200_000.0]
    assert sums(found, "model") == [3.0, 3.0]


def test_an_executor_that_raises_fails_the_run_with_the_sites_name_and_its_traceback(tmp_path):
    with pytest.raises(JobFailed, match=r"(?s)site-2: ValueError: nothing to halve here.*talking\.py"):
        run(tmp_path, Ones(), {"*": Fails()})


def test_a_reply_that_cannot_be_sent_names_its_site(tmp_path):
    with pytest.raises(JobFailed, match=r"site-\d: EncodeError: \['thread'\]: cannot serialize"):
        run(tmp_path, Ones(), {"*": Unserializable()})


def test_a_task_without_an_executor_is_named(tmp_path):
    with pytest.raises(JobFailed, match="no executor of the job does the task 'half'; it has executors for 'again'"):
        run(tmp_path, Halves("array", SMALL), {"again": Again()})


def test_a_script_that_receives_data_other_than_a_model_fails_with_advice(project):
    job = project.job(workflow=Component.of(Ones(), what="workflow"))
    with pytest.raises(JobFailed, match="the task 'again' carries a dict where an FLModel is expected"):
        project.env(2).deploy(job).get_result()
