"""The record of a run: what is written, read back, and cut off when a run is continued."""

from __future__ import annotations

import json
import math

import pytest

from flare_core.events import (
    MetricLogged,
    ModelSaved,
    RoundEnded,
    RoundStarted,
    RunEnded,
    RunStarted,
    SiteFailed,
    SiteReplied,
    TableMade,
    WarningRaised,
)
from flare_runtime.run.event_log import EVENTS, EventLog, read_events, read_lines, seq_of
from flare_runtime.run.folder import RunFolder
from flare_runtime.run.record import read_metrics

SITES = ("site-1", "site-2")


@pytest.fixture
def folder(tmp_path):
    return RunFolder.create(tmp_path, "job")


@pytest.fixture
def open_log(folder):
    """Open the record of the run; a crash is a record that is left as it is, and opened again."""
    opened = []

    def open_() -> EventLog:
        opened.append(EventLog(folder))
        return opened[-1]

    yield open_
    for log in opened:
        log.close()


def play_round(log, round_, *, complete=True):
    """Write the events of a round; return the lengths that are kept with it, and the events."""
    events = [
        RoundStarted(round_, 9),
        *(SiteReplied(site, "train", round_, done, 2) for done, site in enumerate(SITES, 1)),
        *(MetricLogged("loss", round_ + 0.25, round_, site) for site in SITES),
        MetricLogged("loss", round_ + 0.5, round_, None),
    ]
    for event in events:
        log.write(event)
    lengths = log.flush()
    if complete:
        events.append(RoundEnded(round_, 9, 0.0, {"loss": round_ + 0.5}))
        log.write(events[-1])
    return lengths, events


def lines(folder):
    return [json.loads(line) for line in (folder.path / EVENTS).read_text().splitlines()]


def test_every_event_is_read_as_it_was_written(folder, open_log):
    events = [
        RunStarted("job", SITES),
        RoundStarted(0, 2),
        SiteReplied("site-1", "train", 0, 1, 2),
        MetricLogged("loss", math.inf, 0, "site-1", step=3),
        MetricLogged("note", "text", None, "site-1", kind="TEXT"),
        TableMade("table", ("a", "b"), (("1", "2"), ("3", "4"))),
        ModelSaved("best", 0, 0.5),
        RoundEnded(0, 2, 0.5, {"loss": math.inf}),
        SiteFailed("site-2", "a\nb"),
        RunEnded("failed", "why"),
    ]
    log = open_log()
    for event in events:
        log.write(event)
    log.close()
    assert list(read_events(folder.path / EVENTS)) == events
    assert [line["seq"] for line in lines(folder)] == list(range(1, 11))
    assert [line["round"] for line in lines(folder)] == [None, 0, 0, 0, None, 0, 0, 0, None, None]
    assert all(abs(line["time"] - lines(folder)[0]["time"]) < 60 for line in lines(folder))
    assert [row["value"] for row in read_metrics(folder.metrics)] == ["inf", "text"]


def test_lines_are_written_out_at_the_end_of_a_round_and_when_a_site_fails(folder, open_log):
    log = open_log()
    log.write(RoundStarted(0, 2))
    assert (folder.path / EVENTS).read_bytes() == b""
    log.write(SiteFailed("site-1", "why"))
    assert len(lines(folder)) == 2
    log.write(WarningRaised("careful"))
    log.write(RoundEnded(0, 2, 0.0))
    assert len(lines(folder)) == 4


def test_nothing_follows_the_end_of_a_run(folder, open_log):
    log = open_log()
    log.write(RunEnded("finished"))
    log.write(WarningRaised("late"))
    log.close()
    log.write(WarningRaised("later"))
    assert log.flush() == {}
    assert list(read_events(folder.path / EVENTS)) == [RunEnded("finished")]


@pytest.mark.parametrize("was_announced", [True, False])
def test_a_continued_run_has_each_round_once(folder, open_log, was_announced):
    """Also if the crash came between a round that was kept and the announcement of its end."""
    log = open_log()
    log.write(RunStarted("job", SITES))
    _, first = play_round(log, 0)
    lengths, second = play_round(log, 1, complete=was_announced)
    if was_announced:
        play_round(log, 2, complete=False)
        with (folder.path / EVENTS).open("ab") as file:
            file.write(b'{"seq": 99, "ti')
    else:
        second.append(RoundEnded(1, 9, 0.0, {"loss": 1.5}))
    highest = max(line["seq"] for line in lines_so_far(folder))
    again = open_log()
    again.cut(lengths)
    again.write(RunStarted("job", SITES))
    _, third = play_round(again, 2)
    again.close()
    start = RunStarted("job", SITES)
    assert list(read_events(folder.path / EVENTS)) == [start, *first, *second, start, *third]
    seqs = [line["seq"] for line in lines(folder)]
    assert seqs == sorted(set(seqs))
    assert next(seq for seq in seqs if seq > highest) == highest + 1
    assert [row["round"] for row in read_metrics(folder.metrics)] == [0] * 3 + [1] * 3 + [2] * 3


def lines_so_far(folder):
    return [json.loads(line) for line in (folder.path / EVENTS).read_bytes().splitlines(True) if line.endswith(b"\n")]


def test_a_run_without_a_completed_round_starts_its_record_again(folder, open_log):
    log = open_log()
    log.write(RunStarted("job", SITES))
    play_round(log, 0, complete=False)
    again = open_log()
    again.cut({})
    assert (folder.path / EVENTS).read_bytes() == folder.metrics.read_bytes() == b""
    again.write(RunStarted("job", SITES))
    again.close()
    assert lines(folder)[0]["seq"] == 8


def test_a_run_that_is_continued_within_a_round_does_not_end_that_round(folder, open_log):
    log = open_log()
    _, first = play_round(log, 0)
    lengths, begun = play_round(log, 1, complete=False)
    again = open_log()
    again.cut({**lengths, "in_round": True})
    _, second = play_round(again, 1)
    again.close()
    assert list(read_events(folder.path / EVENTS)) == [*first, *begun, *second]


@pytest.mark.parametrize("size", [1, 300, 1 << 20])
def test_a_reader_goes_on_wherever_it_was(folder, open_log, size):
    log = open_log()
    for round_ in range(7):
        play_round(log, round_)
    path = folder.path / EVENTS
    whole = path.read_bytes().splitlines(keepends=True)
    for after in range(len(whole) + 1):
        content, end = read_lines(path, after, 0, size)
        expected = b"".join(whole[after:])
        assert expected.startswith(content)
        assert content or after == len(whole)
        assert read_lines(path, after, end - len(content), size) == (content, end)


def test_a_reader_sees_a_round_that_was_cut_off_and_came_again(folder, open_log):
    log = open_log()
    lengths, _ = play_round(log, 0)
    path = folder.path / EVENTS
    seen, _ = read_lines(path, 0, 0, 1 << 20)
    play_round(log, 1)
    both, offset = read_lines(path, 0, 0, 1 << 20)
    last = seq_of(both.splitlines()[-1])
    assert both.startswith(seen)
    again = open_log()
    again.cut(lengths)
    assert read_lines(path, last, offset, 1 << 20)[0] == b""
    play_round(again, 1)
    play_round(again, 2)
    content, _ = read_lines(path, last, offset, 1 << 20)
    assert [json.loads(line)["round"] for line in content.splitlines()] == [1] * 7 + [2] * 7


def test_a_file_that_is_not_there_yet_has_no_lines(tmp_path):
    assert read_lines(tmp_path / EVENTS, 0, 0, 100) == (b"", 0)
    assert list(read_events(tmp_path / EVENTS)) == []
