"""The ledger: durable, shared by processes, and never a way to begin a budget anew."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from exact_answers import CONFIG, Place, numbers, summary

from flare_stats.privacy import LEDGER, Ledger, LedgerError

DP = """
    [features.age]
    bounds = [0, 120]
    [differential_privacy]
    mechanism = "laplace"
    epsilon = 0.5
    total_epsilon = {total}
"""
MEAN = {"mean": {"age": {}}}  # two releases: the count and the sum
AGES = range(20, 80)


@pytest.fixture
def place(tmp_path):
    made = Place(tmp_path)
    made.write(DP.format(total=5))
    return made


def spent(place) -> float:
    with Ledger(place.local / LEDGER).reading() as entries:
        return 0.0 if entries is None else entries.spent()[0]


def test_the_same_question_of_a_run_has_the_same_answer_and_is_charged_once(place):
    first = place.ask("1", config=MEAN, age=numbers(AGES))
    assert spent(place) == 1.0
    assert place.ask("1", config=MEAN, age=numbers(AGES)) == first  # a new policy, as after a restart
    assert spent(place) == 1.0


def test_the_stored_answer_is_given_again_even_if_the_data_have_changed(place):
    first = place.ask("1", config=MEAN, age=numbers(AGES))
    assert place.ask("1", config=MEAN, age=numbers([*AGES, 119])) == first


def test_another_question_of_the_run_repeats_what_it_has_got(place):
    first, _ = place.ask("1", config=MEAN, age=numbers(AGES))
    second, _ = place.ask("1", config={**MEAN, "var": {"age": {}}}, age=numbers(AGES))
    assert spent(place) == 1.5
    assert second["age"]["mean"] == first["age"]["mean"]


def test_another_run_gets_another_answer_and_is_charged(place):
    answers = {place.ask(run, config=MEAN, age=numbers(AGES))[0]["age"]["sum"] for run in "123"}
    assert len(answers) == 3
    assert spent(place) == 3.0


def test_a_question_over_the_budget_is_refused_with_the_rule_and_what_is_left(place):
    place.write(DP.format(total=2.25))
    for run in "12":
        assert "mean" in place.ask(run, config=MEAN, age=numbers(AGES))[0]["age"]
    found, refused = place.ask("3", config=MEAN, age=numbers(AGES))
    assert found["age"] == {}
    assert refused["age", "mean"] == "total_epsilon: the question needs 1, and 0.25 of 2.25 are left"
    assert spent(place) == 2.0
    assert "mean" in place.ask("1", config=MEAN, age=numbers(AGES))[0]["age"]  # what was paid for is given again


def test_a_budget_is_for_all_sources_and_data_sets_together(place):
    place.write(DP.format(total=1.5))
    place.ask("1", source="/data/a.csv", config=MEAN, age=numbers(AGES))
    _, refused = place.ask("2", source="/data/b.csv", config=MEAN, age=numbers(AGES))
    assert refused["age", "mean"].startswith("total_epsilon: ")


def test_a_lower_total_holds_at_once_and_a_higher_one_too(place):
    place.ask("1", config=MEAN, age=numbers(AGES))
    place.write(DP.format(total=1.0))
    assert place.ask("2", config=MEAN, age=numbers(AGES))[0]["age"] == {}
    place.write(DP.format(total=2.0))
    assert place.ask("2", config=MEAN, age=numbers(AGES))[0]["age"]


ASKS = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from exact_answers import Place, numbers

place = object.__new__(Place)
place.local, place.run = Path(sys.argv[2]) / "local", Path(sys.argv[2]) / "run"
sys.stdin.readline()  # all begin at once
for number in range(int(sys.argv[4])):
    found, _ = place.ask(f"{sys.argv[3]}-{number}", config={"mean": {"age": {}}}, age=numbers(range(20, 80)))
    print("answered" if found["age"] else "refused", flush=True)
"""


def processes(tmp_path: Path, names: list[str], questions: int) -> list[subprocess.Popen]:
    command = [sys.executable, "-c", ASKS, str(Path(__file__).parent), str(tmp_path)]
    return [
        subprocess.Popen([*command, name, str(questions)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for name in names
    ]


def test_processes_at_once_never_spend_more_than_the_budget(place, tmp_path):
    running = processes(tmp_path, ["a", "b"], 3)
    for each in running:
        each.stdin.write("\n")
        each.stdin.flush()
    words = [word for each in running for word in each.communicate(timeout=60)[0].split()]
    assert (words.count("answered"), words.count("refused")) == (5, 1)
    assert spent(place) == 5.0


def test_a_process_that_is_killed_after_an_answer_was_charged_gets_the_same_answer_again(place, tmp_path):
    (running,) = processes(tmp_path, ["a"], 100)
    running.stdin.write("\n")
    running.stdin.flush()
    assert running.stdout.readline() == "answered\n"
    running.kill()
    running.communicate()
    before = spent(place)
    assert before >= 1.0
    first = place.ask("a-0", config=MEAN, age=numbers(AGES))
    assert spent(place) == before
    assert first[0]["age"]["mean"] == place.ask("a-0", config=MEAN, age=numbers(AGES))[0]["age"]["mean"]


HALF = """
import os, signal, sqlite3, sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA cache_size = 1")  # so that pages are written before the end
connection.execute("BEGIN IMMEDIATE")
rows = [(str(number), "x" * 500, "", "", "") for number in range(999)]
connection.executemany("INSERT INTO queries VALUES (?, ?, ?, ?, ?)", rows)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_has_written_half_is_taken_back(place):
    place.ask("1", config=MEAN, age=numbers(AGES))
    path = place.local / LEDGER
    subprocess.run([sys.executable, "-c", HALF, str(path)], timeout=60)
    assert Path(f"{path}-journal").exists()
    assert spent(place) == 1.0
    assert not Path(f"{path}-journal").exists()
    place.ask("2", config=MEAN, age=numbers(AGES))
    assert spent(place) == 2.0


def test_the_ledger_is_for_its_owner_alone(place):
    place.ask("1", config=MEAN, age=numbers(AGES))
    assert stat.S_IMODE((place.local / LEDGER).stat().st_mode) == 0o600


def test_a_ledger_that_was_deleted_does_not_begin_anew(place):
    place.ask("1", config=MEAN, age=numbers(AGES))
    (place.local / LEDGER).unlink()
    with pytest.raises(LedgerError, match=r"privacy-ledger.sqlite is missing, but .* says that there was one: restore"):
        place.ask("2", config=MEAN, age=numbers(AGES))
    assert not (place.local / LEDGER).exists()
    (place.local / "privacy-ledger.mark").unlink()  # what the error tells to do, on purpose
    place.ask("2", config=MEAN, age=numbers(AGES))
    assert spent(place) == 1.0


def test_a_ledger_that_was_emptied_replaced_or_set_back_is_refused(place, tmp_path):
    place.ask("1", config=MEAN, age=numbers(AGES))
    path = place.local / LEDGER
    older = path.read_bytes()
    place.ask("2", config=MEAN, age=numbers(AGES))
    newest = path.read_bytes()
    (tmp_path / "other").mkdir()
    other = Place(tmp_path / "other")
    other.write(DP.format(total=5))
    other.ask("1", config=MEAN, age=numbers(AGES))
    for content, told in (
        (b"", "is empty"),
        (older, "is an older copy"),
        ((other.local / LEDGER).read_bytes(), "is another one"),
        (newest[:200] + bytes(len(newest) - 200), "cannot be used, so nothing is answered"),
        (b"garbage" * 1000, "cannot be used, so nothing is answered: file is not a database"),
    ):
        path.write_bytes(content)
        with pytest.raises(LedgerError, match=told):
            place.ask("3", config=MEAN, age=numbers(AGES))
    path.write_bytes(newest)
    assert place.ask("3", config=MEAN, age=numbers(AGES))[0]["age"]


def test_a_mark_that_is_damaged_is_refused_and_a_missing_one_is_made_again(place):
    place.ask("1", config=MEAN, age=numbers(AGES))
    mark = place.local / "privacy-ledger.mark"
    mark.write_text("{}")
    with pytest.raises(LedgerError, match=r"privacy-ledger.mark is damaged"):
        place.ask("2", config=MEAN, age=numbers(AGES))
    mark.unlink()
    place.ask("2", config=MEAN, age=numbers(AGES))
    assert mark.exists()
    assert spent(place) == 2.0


def test_a_locked_ledger_makes_others_wait_and_not_answer_without_it(place):
    place.ask("1", config=MEAN, age=numbers(AGES))
    blocker = sqlite3.connect(place.local / LEDGER, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    policy = place.policy("2")
    policy.ledger.wait_s = 0.05
    with pytest.raises(LedgerError, match="so nothing is answered: database is locked"):
        policy.apply(summary(age=numbers(AGES)), config=MEAN)
    blocker.execute("ROLLBACK")
    blocker.close()
    assert policy.apply(summary(age=numbers(AGES)), config=MEAN)["datasets"]["train"]["age"]


CANNOT_WRITE = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from exact_answers import Place, numbers
from flare_stats.privacy import LedgerError

place = object.__new__(Place)
place.local = place.run = Path(sys.argv[2])
try:
    print("answered", place.ask(age=numbers(range(20))))
except LedgerError as error:
    print("refused:", error)
"""


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root can write everywhere")
def test_without_a_ledger_that_can_be_written_nothing_is_answered():
    """Asked by a user that may read the policy, but not write beside it; root may always."""
    user = [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "privacy.toml").write_text("min_count = 5")
        os.chmod(name, 0o555)
        command = [*user, sys.executable, "-c", CANNOT_WRITE, str(Path(__file__).parent), name]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/")
        os.chmod(name, 0o755)
    assert done.stdout.startswith(f"refused: the ledger {name}/privacy-ledger.sqlite cannot be used"), done.stderr
    assert "so nothing is answered" in done.stdout


def test_questions_without_differential_privacy_are_in_the_ledger_too(place):
    place.write("")
    place.ask("1", config=CONFIG, age=numbers(AGES))
    place.ask("1", config=CONFIG, age=numbers(AGES))
    place.ask("2", config=CONFIG, age=numbers(AGES))
    with Ledger(place.local / LEDGER).reading() as entries:
        ((source, count, _),) = entries.queries_by_source()
    assert (source, count) == ("/data/train.csv", 2)
