"""The commands of a site's data protection officer."""

from __future__ import annotations

import json

import pytest
from exact_answers import Place, numbers
from typer.testing import CliRunner

from flare_stats.cli import app
from flare_stats.privacy import PolicyError

DP = """
    sources = ["/data/*"]
    [features.age]
    bounds = [0, 120]
    [differential_privacy]
    mechanism = "laplace"
    epsilon = 0.5
    total_epsilon = 4
"""


def run(*words) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture
def kit(tmp_path):
    place = Place(tmp_path)
    place.write(DP)
    return tmp_path, place


def test_the_budget_of_a_kit_tells_what_is_spent_by_whom_and_left(kit):
    folder, place = kit
    assert "nothing was answered yet" in run("budget", folder)
    for name in ("job/1", "job/2"):
        place.ask(name, config={"mean": {"age": {}}}, age=numbers(range(20, 60)))
    text = run("budget", folder)
    assert "epsilon: 2 of 4 spent, 2 left" in text
    assert "/data/train.csv: 2 of 1,000 questions" in text
    assert "run job/1, " in text
    assert "2 releases, epsilon 1" in text
    (budget,) = json.loads(run("budget", folder / "local", "--json"))
    assert budget["epsilon"] == {"total": 4.0, "spent": 2.0, "left": 2.0}
    assert [each["run"] for each in budget["runs"]] == ["job/1", "job/2"]


def test_the_budgets_of_a_workspace_are_those_of_all_its_sites(tmp_path):
    for site in ("site-1", "site-2"):
        (tmp_path / "local" / site).mkdir(parents=True)
        (tmp_path / "local" / site / "privacy.toml").write_text("")
    text = run("budget", tmp_path)
    assert text.count("no differential privacy, so nothing is charged") == 2
    assert "local/site-2/privacy.toml" in text


def test_a_folder_without_a_policy_is_named(tmp_path):
    with pytest.raises(PolicyError, match=r"has no privacy.toml, neither in itself nor in local/"):
        run("budget", tmp_path)


def test_a_policy_is_explained_with_what_it_leaves_open(kit):
    _, place = kit
    text = run("policy", "check", place.local / "privacy.toml")
    assert "Nothing is said about fewer than 10 values." in text
    assert "A job may read /data/*." in text
    assert "Laplace noise: epsilon 0.5 a release, of 4 in all" in text
    assert "Left open" not in text
    place.write("sql_queries = true\nrange_noise = [0, 0]")
    text = run("policy", "check", place.local / "privacy.toml")
    for gap in ("sources is missing", "sql_queries is true", "range_noise is [0, 0]", "no differential privacy"):
        assert gap in text


def test_rules_that_are_for_differential_privacy_alone_are_said_to_have_no_effect_without_it(kit):
    _, place = kit
    features = '[features.age]\nbounds = [0, 120]\n[features.sex]\ncategories = ["f", "m"]\n'
    place.write(features)
    text = run("policy", "check", place.local / "privacy.toml")
    assert "Without differential privacy, bounds have no effect; there are some for age.\n" in text
    assert "Without differential privacy, categories have no effect; there are some for sex.\n" in text
    place.write(features + '[differential_privacy]\nmechanism = "laplace"\nepsilon = 0.5\ntotal_epsilon = 4')
    text = run("policy", "check", place.local / "privacy.toml")
    assert "no effect" not in text
    assert "min_difference" not in text  # noise is in its place


def test_the_rules_against_comparing_answers_are_explained(kit):
    _, place = kit
    place.write("min_difference = 15\nmax_queries = 2000")
    text = run("policy", "check", place.local / "privacy.toml")
    assert (
        "A feature is not answered again while fewer than 15 records were added, removed or changed since an earlier"
        " answer (min_difference).\nAt most 2,000 questions about one source are answered (max_queries).\n"
    ) in text
    place.write("min_difference = 0")
    text = run("policy", "check", place.local / "privacy.toml")
    assert "is not answered again" not in text
    assert "min_difference is 0" in text


def test_a_mistake_in_a_policy_is_reported(kit):
    _, place = kit
    place.write("min_cuont = 3")
    with pytest.raises(PolicyError, match="the key min_cuont is unknown; did you mean min_count"):
        run("policy", "check", place.local / "privacy.toml")
