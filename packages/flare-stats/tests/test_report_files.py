"""The command that makes a report again from what a run left."""

from __future__ import annotations

import json

import pytest
from report_samples import breast_cancer
from stats_runs import people, sites_of
from stats_runs import run as run_statistics
from typer.testing import CliRunner

from flare_stats.cli import app
from flare_stats.errors import StatsError
from flare_stats.report import find_statistics, make_report, report_of


@pytest.fixture
def run(tmp_path):
    """The folder of a run with a file of statistics by a name of its own."""
    server = tmp_path / "run" / "server" / "results"
    server.mkdir(parents=True)
    for name, document in zip(("cancer", "matrices", "about"), breast_cancer(), strict=True):
        (server / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    return tmp_path / "run"


def test_a_report_is_written_beside_the_statistics_of_a_run(run):
    done = CliRunner().invoke(app, ["report", str(run)])
    assert done.exit_code == 0
    written = run / "server" / "results" / "report.html"
    assert str(written) in done.stdout
    assert written.read_text(encoding="utf-8") == make_report(*breast_cancer())


def test_a_report_is_written_to_another_place(run, tmp_path):
    CliRunner().invoke(
        app, ["report", str(run / "server" / "results" / "cancer.json"), "-o", str(tmp_path / "out.html")]
    )
    assert "Breast cancer at five hospitals" in (tmp_path / "out.html").read_text(encoding="utf-8")


def test_a_folder_without_statistics_is_refused(tmp_path):
    with pytest.raises(StatsError, match=r"holds no statistics; give the folder of a run"):
        find_statistics(tmp_path)


def test_statistics_alone_are_enough(tmp_path):
    (tmp_path / "statistics.json").write_text('{"age": {"mean": {"a": {"train": 51.5}}}}')
    assert "51.5" in report_of(find_statistics(tmp_path))


@pytest.mark.parametrize(("text", "why"), [("{", "is no JSON"), ("[1]", "holds a list"), ("[" * 100_000, "is no JSON")])
def test_a_damaged_file_is_named(tmp_path, text, why):
    (tmp_path / "statistics.json").write_text(text)
    with pytest.raises(StatsError, match=f"statistics.json {why}"):
        report_of(tmp_path / "statistics.json")


CONFIGS = {
    **{name: {} for name in ("count", "missing", "mean", "stddev", "min", "max")},
    **{name: {} for name in ("categories", "distinct", "correlation")},
    "histogram": {"*": {"bins": 12}},
    "quantile": {"*": [0.25, 0.5, 0.75]},
    "balance": {"sex": {}},
}


def test_a_run_leaves_the_report_of_its_files():
    sites = sites_of({f"north.{i}" if i < 3 else f"south.{i}": {"train": people(200, i)} for i in range(1, 6)})
    statistics, matrices, about, fed = run_statistics(sites, CONFIGS, hierarchy="region/site")
    page = fed.files["report.html"]
    page = page.decode() if isinstance(page, bytes) else page
    assert page == make_report(statistics, matrices, about)
    for shown in ("north.1", "south", "bmi", "Shares of the classes of ", "Strongest correlations"):
        assert shown in page


def test_a_masked_run_leaves_a_report_of_totals():
    sites = sites_of({f"site-{i}": {"train": people(200, i)} for i in range(1, 5)}, masked=True)
    *_, fed = run_statistics(sites, {"count": {}, "missing": {}, "mean": {}}, masked=True)
    page = fed.files["report.html"]
    assert "the sums were masked" in (page.decode() if isinstance(page, bytes) else page)
