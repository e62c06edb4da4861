"""The display of a run."""

from __future__ import annotations

import io
import os
import pty
import re
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import TextIO

import pytest

from flare_core.events import EventBus, RoundEnded, RoundStarted, SiteReplied, WarningRaised
from flare_runtime.display import open_display, plot, summary_text, waiting


def events_of_a_run(bus: EventBus) -> None:
    for round_ in range(2):
        bus.emit(RoundStarted(round_, 2))
        bus.emit(SiteReplied("site-1", "train", round_, 1, 1))
        bus.emit(RoundEnded(round_, 2, 0.25, {"accuracy": 0.5 + round_ / 4, "loss": 1.23456789}))
    bus.emit(WarningRaised("site-1 reported no accuracy"))


def test_without_a_terminal_each_round_is_one_line():
    stream, bus = io.StringIO(), EventBus()
    display = open_display("hello", 1, stream)
    display.attach(bus)
    events_of_a_run(bus)
    display.close()
    assert stream.getvalue().splitlines() == [
        "hello: 1 site",
        "round 0 (1 of 2)  accuracy 0.5  loss 1.235  0.25 s",
        "round 1 (2 of 2)  accuracy 0.75  loss 1.235  0.25 s",
        "warning: site-1 reported no accuracy",
    ]


def on_a_terminal(show: Callable[[TextIO], None]) -> str:
    """Return the text shown on a terminal, without control sequences."""
    ours, theirs = pty.openpty()
    with open(theirs, "w") as terminal:
        show(terminal)
    shown = b""
    try:
        while part := os.read(ours, 65536):
            shown += part
    except OSError:  # the other end is closed
        os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())


def test_a_terminal_shows_a_progress_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "110")

    def show(terminal):
        bus = EventBus()
        display = open_display("hello", 3, terminal)
        display.attach(bus)
        events_of_a_run(bus)
        display.close()
        display.note("FINISHED  hello")

    text = on_a_terminal(show)
    assert "hello" in text
    assert "2/2" in text
    assert "accuracy 0.75" in text
    assert text.rstrip().endswith("FINISHED  hello")


def test_a_plot_has_one_column_per_point_and_shows_its_bounds():
    lines = plot([(0, 0.1), (1, 0.5), (2, 0.9)], title="accuracy", width=60, height=3)
    assert lines[0].strip() == "accuracy by round"
    assert "0.9 ┤" in lines[1]
    assert "0.1 ┤" in lines[3]
    assert lines[1].count("█") + lines[1].count("▇") > 0
    assert lines[-1].split() == ["0", "2"]
    top, bottom = lines[1].partition("┤")[2], lines[3].partition("┤")[2]
    assert top.strip("█ ") == ""
    assert len(bottom) == 18


@pytest.mark.parametrize("points", [2, 59, 60, 61, 1000])
def test_a_plot_is_never_wider_than_its_limit(points):
    lines = plot([(number, float(number % 7)) for number in range(points)], title="loss", width=60)
    assert max(len(line) for line in lines) <= 60 + 12


def test_a_flat_curve_can_be_plotted():
    assert len(plot([(0, 1.0), (1, 1.0)], title="loss")) == 9


def test_the_summary_shows_outcome_warnings_and_paths():
    summary = {
        "outcome": "failed", "job": "hello", "rounds": 2, "seconds": 1.5, "key_metric": "accuracy",
        "best": {"round": 1, "value": 0.75}, "error": "site-2: client.py failed\n  line 3",
        "global_model": "/runs/global_model.safetensors", "best_model": None, "folder": "/runs",
        "bytes": {"rounds": [{"sent": 3 << 20, "received": 900}, {"sent": 1 << 20, "received": 100}]},
    }  # fmt: skip
    text = summary_text(summary, [(0, 0.5), (1, 0.75)])
    assert text.splitlines()[0] == "FAILED  hello: 2 rounds in 1.5 s"
    assert text.splitlines()[1] == "because   site-2: client.py failed"  # the traceback comes with the exception, once
    assert "line 3" not in text
    assert "best      round 1: accuracy 0.75" in text
    assert "model     /runs/global_model.safetensors" in text
    assert "accuracy by round" in text
    assert "traffic   a round: 2 MiB to the sites, 500 bytes from them" in text
    assert text.splitlines()[-1] == "folder    /runs"


def test_a_wait_is_shown_on_a_terminal_only(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")

    def show(stream):
        with redirect_stderr(stream), waiting("Starting the clients"):
            pass

    assert "Starting the clients" in on_a_terminal(show)
    show(elsewhere := io.StringIO())
    assert elsewhere.getvalue() == ""
