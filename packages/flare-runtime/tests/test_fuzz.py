"""Fuzzing of a run's messages, and of texts and values that are shown or written.

Each ends in a FlareError or is as good as before, and nothing hangs.
"""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from table import SITES, Table, run

from flare_core import FlareError, FLModel
from flare_core.workflows import FedAvg
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.record import LineFile, read_metrics
from flare_runtime.terminal import one_line, printable

EACH = settings(suppress_health_check=list(HealthCheck))
FEW = settings(EACH, max_examples=max(10, settings().max_examples // 10))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["..", "/x", "a/b"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(text=st.text())
def test_fuzz_no_text_reaches_a_terminal_that_obeys_it(text):
    shown = printable(text)
    assert not any((ord(each) < 32 and each not in "\n\t") or (127 <= ord(each) < 160) for each in shown)
    assert "\n" not in one_line(text)


def test_escape_sequences_from_a_site_are_shown_and_not_executed():
    assert printable("\x1b]0;owned\x07 \x1b[2Jok\rFINISHED \u202egnp") == (
        "\\x1b]0;owned\\x07 \\x1b[2Jok\nFINISHED \\u202egnp"
    )
    assert one_line("a\nb") == "a\\nb"


@given(value=values | st.just(10**5000) | st.just(1e400))
@EACH
def test_fuzz_any_value_that_is_logged_can_be_written(tmp_path, value):
    path = tmp_path / "metrics.jsonl"
    path.unlink(missing_ok=True)
    file = LineFile(path)
    file.write({"round": None, "site": "site-1", "key": "key", "value": value})
    file.close()
    assert read_metrics(path)[0]["site"] == "site-1"


# What a site sends in a run

TOPICS = ("log", "warning", "ready", "failed")


def model_of(site: str) -> FLModel:
    return FLModel(params={"w": np.full(5, float(site[-1]))})


def run_with(tmp_path, disturb):
    """Run one round of four sites, disturbed while it waits; return the errors."""
    table = Table(RunFolder.create(tmp_path, "job"))
    try:
        thread, errors = run(table, FedAvg(min_clients=4, num_rounds=1))
        table.all_have_a_task.wait(20)
        disturb(table)
        for site in SITES:
            table.reply(site, model_of(site))
        thread.join(20)
        assert not thread.is_alive()
        return errors
    finally:
        table.close()


@given(
    messages=st.lists(st.tuples(st.sampled_from(TOPICS), values), min_size=1, max_size=6),
    extra=st.lists(values, max_size=6),
)
@FEW
def test_fuzz_garbage_from_a_site_does_not_end_the_run(tmp_path, messages, extra):
    def disturb(table):
        for topic, payload in messages:
            table.cells["site-2"].send("server", topic, payload)
            if topic != "failed":
                table.cells["site-2"].send("server", topic, ["site-2", *extra])
                table.cells["site-2"].send("server", topic, ["site-1", *extra])
        table.cells["site-2"].send("server", "log", ["site-2", "key", *extra, "METRIC", None, 0][:6])
        table.cells["site-2"].request("server", "sync", timeout_s=20)

    assert run_with(tmp_path, disturb) == []


@given(task_id=values, site=values, payload=values | st.builds(lambda each: {"w": each}, values))
@FEW
def test_fuzz_a_malformed_reply_ends_the_run_with_a_flare_error(tmp_path, task_id, site, payload):
    def disturb(table):
        table.cells["site-2"].send("server", "result", [table.tasks["site-2"][-1][0], "site-2", payload])
        table.cells["site-2"].send("server", "result", [task_id, site, model_of("site-2")])
        table.cells["site-2"].request("server", "sync", timeout_s=20)

    (error,) = run_with(tmp_path, disturb)
    assert isinstance(error, FlareError)
    assert "site-2" in str(error)


@given(
    params=st.dictionaries(st.text(max_size=3), values, max_size=2),
    metrics=st.dictionaries(st.text(max_size=3), values, max_size=2),
    steps=values,
)
@FEW
def test_fuzz_a_nonsensical_model_is_a_flare_error_or_counts(tmp_path, params, metrics, steps):
    try:
        model = FLModel(params=params, metrics=metrics, meta={"NUM_STEPS_CURRENT_ROUND": steps})
    except FlareError:
        return

    def disturb(table):
        table.cells["site-2"].send("server", "result", [table.tasks["site-2"][-1][0], "site-2", model])

    for error in run_with(tmp_path, disturb):
        assert isinstance(error, FlareError), repr(error)


def test_a_cell_that_serves_no_site_of_the_run_cannot_end_it(tmp_path, caplog):
    from flare_transport import Cell, SocketLink

    def disturb(table):
        with Cell("site-9") as stranger:
            here, there = SocketLink.pair("server", "site-9")
            table.server.attach(here)
            stranger.attach(there)
            stranger.send("server", "result", "garbage")
            stranger.request("server", "sync", timeout_s=20)

    assert run_with(tmp_path, disturb) == []
    assert "site-9 does not serve a site of this run" in caplog.text
