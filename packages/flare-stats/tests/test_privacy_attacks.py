"""A server that asks whatever it likes, as often as it likes, against a site with a policy."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from exact_answers import CONFIG
from stats_runs import OPEN, Recorded, federation, files_of, run

from flare_core import Task
from flare_core.testing import FakeFederation, FakeSite, resumed
from flare_fobs import dumps
from flare_stats import DataType, Feature, Statistics
from flare_stats.config import Settings
from flare_stats.executor import StatisticsExecutor
from flare_stats.privacy import LEDGER, Ledger
from flare_stats.workflow import FederatedStatistics

RANDOM = np.random.default_rng(11)
INCOMES = pd.DataFrame(
    {"income": np.round(RANDOM.lognormal(10, 1, 400), 2), "town": ["Bonn"] * 380 + ["Ulm"] * 17 + ["Kleinhausen"] * 3}
)
DP = """
    [features.income]
    bounds = [0, 200_000]
    [features.town]
    categories = ["Bonn", "Ulm"]
    [differential_privacy]
    mechanism = "laplace"
    epsilon = 0.5
    total_epsilon = {total}
"""


class Attacker:
    """Asks a site as the server does, with whatever it likes.

    Args:
        folder: where the site's data and settings lie.
        rules: the policy file.
    """

    def __init__(self, folder, rules="", frame=INCOMES):
        self.local, self.data = folder / "local", folder / "train.csv"
        self.local.mkdir(exist_ok=True)
        (self.local / "privacy.toml").write_text(rules)
        frame.to_csv(self.data, index=False)
        self._sites = []

    def site(self, name="site-1", data=None):
        """Return a new run at the site: questions are asked by calling it."""
        executor = StatisticsExecutor(data={"train": str(self.data) if data is None else data}, **OPEN)
        place = FakeSite(name, local=self.local)
        place.job_id = f"run-{len(self._sites)}"
        self._sites.append(place)
        return lambda task, **question: executor.execute(Task(task, question), place)

    def start(self, configs, kinds=None):
        return {"config": Settings.parse(configs).plain, "kinds": kinds or {"income": "float", "town": "text"}}


@pytest.fixture
def attacker(tmp_path):
    return Attacker(tmp_path)


def numbers_in(data):
    """All numbers in an answer."""
    match data:
        case dict():
            return [number for each in data.values() for number in numbers_in(each)]
        case list() | tuple() | np.ndarray():
            return [number for each in data for number in numbers_in(each)]
        case bool() | str() | bytes() | None:
            return []
    return [float(data)]


def test_a_binary_search_with_ranks_finds_no_record(attacker):
    ask = attacker.site()
    start = attacker.start({"quantile": {"income": [0.5]}})
    ask("stats.summarize", start=start)

    def below(threshold):
        found = ask("stats.ranks", start=start, thresholds={"train": {"income": np.array([threshold])}})
        return int(found["counts"]["train"]["income"][0])

    values = np.sort(INCOMES["income"])
    found = []
    for rank in range(0, 400, 7):
        low, high = -1e7, 1e7
        for _ in range(80):  # to the last bit
            middle = (low + high) / 2
            low, high = (low, middle) if below(middle) > rank else (middle, high)
        found.append(high)
    assert not set(np.round(found, 2)) & set(values)


def test_zooming_in_with_histograms_finds_no_record(attacker):
    """Each zoom is a run of its own; the bins around one value become narrower."""
    secret = float(INCOMES["income"].max())
    seen = []
    for zoom in range(1, 12):
        reach = 1e5 / 4**zoom
        ask = attacker.site()
        configs = {"histogram": {"income": {"bins": 20, "range": [secret - reach, secret + reach]}}}
        found = ask("stats.summarize", start=attacker.start(configs))
        seen += numbers_in(found["datasets"]["train"].get("income", {}).get("histogram", {}).get("counts", []))
    assert not [count for count in seen if 0 < count < 5]
    assert sum(seen) == 0  # no bin near the largest value holds enough


def test_found_ranges_may_not_be_asked_for_without_a_summary(attacker):
    ask = attacker.site()
    start = attacker.start({"histogram": {"income": {"bins": 2}}})
    found = ask("stats.bins", start=start, edges={"income": [0.0, 1e4, 1e7]}, means={})
    assert numbers_in(found["datasets"]) == []
    assert found["refused"]


def test_a_query_of_the_job_does_not_choose_single_records(attacker, tmp_path):
    from flare_core import FlareError

    source = {"path": f"sqlite:///{tmp_path}/train.db", "query": "select income from t where town = 'Kleinhausen'"}
    with pytest.raises(FlareError, match="the site's rule sql_queries forbids that"):
        attacker.site(data=source)("stats.describe", config=attacker.start({"mean": {}})["config"])


def test_a_record_that_was_added_between_two_runs_is_not_told(attacker):
    start = attacker.start({"sum": {}, "var": {}, "histogram": {"income": {"bins": 4, "range": [0, 100_000]}}})
    first = attacker.site()("stats.summarize", start=start)
    pd.concat([INCOMES, pd.DataFrame({"income": [77_777.77], "town": ["Bonn"]})]).to_csv(attacker.data, index=False)
    second = attacker.site()("stats.summarize", start=start)
    assert numbers_in(first["datasets"]["train"]["income"])
    assert second["datasets"]["train"] == {}
    assert first["rows"] == {"train": len(INCOMES)}
    assert second["rows"] == {}


def test_no_value_of_a_record_is_in_any_payload(tmp_path):
    """A whole run, under an empty policy: neither a number of the data nor a rare text leaves, in any encoding."""
    attacker = Attacker(tmp_path)
    recorded = Recorded()
    executor = StatisticsExecutor(data={"train": str(attacker.data)}, **OPEN)
    fed = FakeFederation({"site-1": executor}, site_local={"site-1": attacker.local}, travel=recorded)
    configs = {
        "count": {}, "sum": {}, "mean": {}, "var": {}, "min": {}, "max": {}, "histogram": {"*": {"bins": 20}},
        "quantile": {"*": [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]}, "categories": {}, "distinct": {}, "covariance": {},
    }  # fmt: skip
    run({}, configs, fed=fed, min_clients=1)
    sent = b"".join(recorded.payloads)
    assert b"Bonn" in sent
    assert b"Kleinhausen" not in sent
    raw = set(INCOMES["income"])
    statistics, _, _ = files_of(fed)
    told = set(numbers_in(statistics["income"]))
    assert not raw & told
    for value in raw:
        assert np.float64(value).tobytes() not in sent
        assert np.float64(value).byteswap().tobytes() not in sent
        assert repr(value).encode() not in sent


def test_a_run_that_is_interrupted_gets_the_same_noise_and_pays_once(tmp_path):
    attacker = Attacker(tmp_path, DP.format(total=100))
    configs = {"mean": {}, "histogram": {"income": {"bins": 5}}, "quantile": {"income": [0.5]}}

    def fresh():
        executor = StatisticsExecutor(data={"train": str(attacker.data)}, **OPEN)
        return federation({"site-1": executor}, site_local={"site-1": attacker.local})

    def spent():
        with Ledger(attacker.local / LEDGER).reading() as entries:
            return 0.0 if entries is None else entries.spent()[0]

    whole = fresh()
    whole.run(FederatedStatistics(configs, min_clients=1))
    paid = spent()
    assert paid > 0
    again = fresh()
    resumed(lambda: FederatedStatistics(configs, min_clients=1), again, after_round=0)
    assert spent() == paid  # the fake federation has the same run id
    first, second = files_of(whole), files_of(again)
    assert first[0] == second[0]


def test_a_site_that_is_killed_between_charge_and_answer_gives_the_answer_it_was_charged_for(tmp_path):
    attacker = Attacker(tmp_path, DP.format(total=3))
    place = FakeSite(local=attacker.local)
    start = attacker.start({"mean": {"income": {}}, "quantile": {"income": [0.5]}})
    thresholds = {"train": {"income": np.array([1e4, 2e4, 3e4])}}
    answers = []
    for _ in range(3):
        executor = StatisticsExecutor(data={"train": str(attacker.data)}, **OPEN)
        summary = executor.execute(Task("stats.summarize", {"start": start}), place)
        ranks = executor.execute(Task("stats.ranks", {"start": start, "thresholds": thresholds}), place)
        answers.append(dumps([summary, ranks]))
        for path in place.folder.glob("statistics*"):  # the answer had not been written yet
            path.unlink()
    assert len(set(answers)) == 1
    with Ledger(attacker.local / LEDGER).reading() as entries:
        assert entries.spent()[0] == 1.5


def test_a_listed_category_that_is_rare_has_noise_like_any_other(tmp_path):
    """A count that became 0 below the job's min_count would jump there, by more than the noise hides."""
    attacker = Attacker(tmp_path, DP.format(total=10_000).replace("epsilon = 0.5", "epsilon = 200"))
    executor = StatisticsExecutor(data={"train": str(attacker.data)}, min_count=100)
    fed = federation({"site-1": executor}, site_local={"site-1": attacker.local})
    statistics, _, _, _ = run({}, {"categories": {"town": {}}}, fed=fed, min_clients=1)
    assert statistics["town"]["categories"]["site-1"]["train"] == {"Bonn": 380, "Ulm": 17}


def test_a_budget_that_is_used_up_leaves_the_site_out_and_the_run_goes_on(tmp_path):
    attacker = Attacker(tmp_path, DP.format(total=0.9))
    sites = {name: StatisticsExecutor(data={"train": str(attacker.data)}, **OPEN) for name in ("site-1", "site-2")}
    fed = federation(sites, site_local={"site-1": attacker.local})
    statistics, _, about, _ = run({}, {"mean": {"income": {}}}, fed=fed, min_clients=2)
    assert set(statistics["income"]["mean"]) == {"site-2", "Global"}
    (row,) = [row for row in about["refused"] if row[:4] == ["site-1", "train", "income", "mean"]]
    assert row[4] == "total_epsilon: the question needs 1, and 0.9 of 0.9 are left"


def test_a_histogram_of_too_many_bins_is_refused_before_memory_is_taken(attacker):
    ask = attacker.site()
    start = attacker.start({"histogram": {"income": {"bins": 10_000, "range": [0, 1e6]}}})
    found = ask("stats.summarize", start=start)
    assert ["train", "income", "histogram", "max_bins: 10,000 bins, at most 1,000 are allowed"] in found["refused"]
    edges = np.linspace(0, 1e6, 200_001).tolist()
    found = ask("stats.bins", start=start, edges={"income": edges}, means={})
    assert numbers_in(found["datasets"]) == []


@pytest.mark.parametrize("rules", ["", DP.format(total=1e6)], ids=["exact", "noisy"])
def test_a_list_is_not_read_as_many_values(tmp_path, rules):
    """A server that calls a column of lists numbers gets no mean of one row for that of many values."""
    pytest.importorskip("opendp")
    attacker = Attacker(tmp_path, rules.replace("income", "series"))
    table = pa.table({"series": [[float(number)] * 50 for number in range(20)]})
    pq.write_table(table, tmp_path / "train.parquet")
    ask = attacker.site(data=str(tmp_path / "train.parquet"))
    configs = {"mean": {}, "sum": {}, "histogram": {"series": {"bins": 2, "range": [0, 50]}}}
    start = attacker.start(configs, {"series": "float"})
    series = ask("stats.summarize", start=start)["datasets"]["train"].get("series", {})
    assert not {"mean", "sum", "histogram"} & {*series}
    assert series.get("count", 0) < 100
    found = ask("stats.bins", start=start, edges={"series": [0.0, 10.0, 50.0]}, means={})
    assert sum(numbers_in(found["datasets"]["train"].get("series", {}).get("histogram", {}).get("counts", []))) == 0


def test_thresholds_that_are_no_numbers_tell_nothing(attacker):
    ask = attacker.site()
    start = attacker.start({"quantile": {"income": [0.5]}})
    ask("stats.summarize", start=start)
    found = ask("stats.ranks", start=start, thresholds={"train": {"income": np.array([np.nan, np.inf, -np.inf])}})
    assert set(found["counts"]["train"]["income"].tolist()) <= {0, 400}
    assert dumps(found)


def test_ranks_of_a_forbidden_feature_are_those_of_one_that_does_not_exist(tmp_path):
    attacker = Attacker(tmp_path, 'forbidden_features = ["income"]')
    ask = attacker.site()
    start = attacker.start({"quantile": {"income": [0.5], "nothing": [0.5]}}, {"income": "float", "nothing": "float"})
    found = ask("stats.summarize", start=start)
    assert found["datasets"]["train"] == {}
    thresholds = {"train": {"income": np.array([0.0, 1e9]), "nothing": np.array([0.0, 1e9])}}
    counts = ask("stats.ranks", start=start, thresholds=thresholds)["counts"]["train"]
    assert counts["income"].tolist() == counts["nothing"].tolist() == [0, 0]


def test_ranks_that_a_generator_counts_itself_are_under_the_same_rules(tmp_path):
    class Own(Statistics):
        def initialize(self, context):
            self.rows = {"income": range(400), "few": range(5), "secret": range(400)}

        def features(self):
            return {"train": [Feature(name, DataType.FLOAT) for name in self.rows]}

        def count(self, dataset_name, feature_name):
            return len(self.rows[feature_name])

        def ranks(self, dataset_name, feature_name, thresholds):
            return [sum(row <= threshold for row in self.rows[feature_name]) for threshold in thresholds]

    attacker = Attacker(tmp_path, 'forbidden_features = ["secret"]')
    executor, place = StatisticsExecutor(stats_generator=Own(), **OPEN), FakeSite(local=attacker.local)
    names = ("income", "few", "secret")
    start = attacker.start({"quantile": {name: [0.5] for name in names}}, dict.fromkeys(names, "float"))
    executor.execute(Task("stats.summarize", {"start": start}), place)
    thresholds = {"train": {name: np.array([2.5, 123.0]) for name in names}}
    answer = executor.execute(Task("stats.ranks", {"start": start, "thresholds": thresholds}), place)
    counts = {name: each.tolist() for name, each in answer["counts"]["train"].items()}
    assert counts == {"income": [0, 120], "few": [0, 0], "secret": [0, 0]}


def test_one_absurd_value_moves_an_answer_with_noise_by_no_more_than_a_bound(tmp_path):
    """Values are moved into the bounds before anything is computed; here with so little noise that it can be seen."""
    frame = pd.DataFrame({"income": [50_000.0] * 99 + [1e12], "town": "Bonn"})
    rules = DP.format(total=1e9).replace("epsilon = 0.5", "epsilon = 1e5")
    attacker = Attacker(tmp_path, rules, frame)
    ask = attacker.site()
    configs = {
        "mean": {},
        "var": {},
        "histogram": {"income": {"bins": 2, "range": [0, 200_000]}},
        "quantile": {"*": [1]},
    }
    start = attacker.start(configs)
    income = ask("stats.summarize", start=start)["datasets"]["train"]["income"]
    clipped = np.array([50_000.0] * 99 + [200_000.0])
    assert income["mean"] == pytest.approx(clipped.mean(), rel=1e-5)
    assert income["var"] == pytest.approx(clipped.var(ddof=1), rel=1e-4)
    assert income["histogram"]["counts"] == [99, 1]
    counts = ask("stats.ranks", start=start, thresholds={"train": {"income": np.array([199_000.0, 200_000.0])}})
    assert counts["counts"]["train"]["income"].tolist() == [99, 100]


def test_the_ledger_holds_no_text_of_the_data(attacker):
    attacker.site()("stats.summarize", start=attacker.start({"categories": {}, "mean": {}}))
    content = (attacker.local / LEDGER).read_bytes()
    assert b"Bonn" not in content
    assert b"Ulm" not in content


def test_all_statistics_that_exist_are_known_to_the_rules():
    from flare_stats.config import KINDS
    from flare_stats.privacy.checks import STATISTICS

    assert set(KINDS) == set(STATISTICS) >= set(CONFIG)
