"""The file of a site's policy: what it may say, and how mistakes in it are reported."""

from __future__ import annotations

import os

import pytest
from exact_answers import CONFIG, Place, numbers, summary

from flare_stats.privacy import Policy, PolicyError, Rules
from flare_stats.privacy.sources import name_of


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


DP = '[differential_privacy]\nmechanism = "laplace"\nepsilon = 0.5\ntotal_epsilon = 5\n'


def test_each_key_is_read(place):
    place.write("""
        min_count = 20
        min_bin = 7
        max_bins = 50
        max_bins_percent = 5
        range_noise = [0.2, 0.4]
        significant_digits = 3
        round_counts_to = 5
        max_queries = 9
        max_binnings = 2
        min_difference = 30
        forbidden_statistics = ["max"]
        forbidden_features = ["patient_*"]
        allowed_features = ["a*", "patient_id"]
        sources = ["/data/*.csv"]
        sql_queries = false
        distinct_hashes = true

        [features.age]
        bounds = [0, 120]
        forbidden_statistics = ["min"]

        [features.sex]
        categories = ["f", "m"]

        [differential_privacy]
        mechanism = "gaussian"
        epsilon = 0.5
        delta = 1e-7
        total_epsilon = 5
        total_delta = 1e-5
        records_per_person = 3
        quantile_cells = 64

        [differential_privacy.epsilons]
        mean = 0.25
        """)
    rules = Rules.read(place.local / "privacy.toml")
    assert (rules.min_count, rules.min_bin, rules.max_bins, rules.max_bins_percent) == (20, 7, 50, 5.0)
    assert (rules.range_noise, rules.significant_digits, rules.round_counts_to) == ((0.2, 0.4), 3, 5)
    assert (rules.max_queries, rules.max_binnings, rules.min_difference) == (9, 2, 30)
    assert rules.sources == ("/data/*.csv",)
    assert not rules.sql_queries
    assert rules.distinct_hashes
    assert rules.bounds("age") == (0.0, 120.0)
    assert rules.categories("sex") == ("f", "m")
    assert [name for name in ("age", "about", "patient_id", "weight") if rules.shows(name)] == ["age", "about"]
    assert rules.forbids("age", "min") == "features.age.forbidden_statistics"
    assert rules.forbids("age", "max") == "forbidden_statistics"
    assert rules.forbids("age", "mean") is None
    assert rules.privacy is not None
    assert (rules.privacy.mechanism, rules.privacy.delta, rules.privacy.total_delta) == ("gaussian", 1e-7, 1e-5)
    assert (rules.privacy.records_per_person, rules.privacy.quantile_cells) == (3, 64)
    assert rules.privacy.epsilons == {"mean": 0.25}


def test_an_empty_file_has_careful_rules_and_a_missing_one_has_none(place):
    assert place.policy().rules == Rules.none()
    place.write("")
    rules = place.policy().rules
    assert rules == Rules()
    assert (rules.min_count, rules.min_bin, rules.range_noise) == (10, 5, (0.1, 0.3))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("min_cuont = 5", "the key min_cuont is unknown; did you mean min_count?"),
        ("colour = 5", "the key colour is unknown; there are min_count,"),
        ("min_count = 0", "min_count is 0; give an integer from 1"),
        ("min_count = true", "min_count is True; give an integer from 1"),
        ("min_count = 10.5", r"min_count is 10.5; give an integer"),
        ('min_count = "10"', "min_count is '10'; give an integer"),
        ("max_bins = 1_000_000", "max_bins is 1000000; give an integer from 1 to 10,000"),
        ("max_bins_percent = 0", "max_bins_percent is 0; give a percentage"),
        ("max_bins_percent = nan", "max_bins_percent is nan; give a finite number"),
        ("range_noise = [0.3, 0.1]", r"range_noise is \[0.3, 0.1\]; give two numbers from 0, the smaller one first"),
        ("range_noise = 0.1", "range_noise is 0.1; give two numbers"),
        ("range_noise = [0.1, inf]", "range_noise is inf; give a finite number"),
        (
            'forbidden_statistics = ["maen"]',
            "forbidden_statistics names the unknown statistic 'maen'; did you mean 'mean'?",
        ),
        ('forbidden_features = "name"', "forbidden_features is 'name'; give a list of texts"),
        ("allowed_features = []", "allowed_features is empty; name at least one, or leave the key out"),
        ("sources = []", "sources is empty"),
        ("sql_queries = 1", "sql_queries is 1; give true or false"),
        ("features = 3", r"features is 3; write a table, \[features\]"),
        ("[features]\nage = 3", r"features.age is 3; write a table, \[features.age\]"),
        ("[features.age]\nbound = [0, 1]", "the key features.age.bound is unknown; did you mean bounds?"),
        ("[features.age]\nbounds = [1, 0]", r"features.age.bounds is \[1, 0\]; give the smaller number first"),
        ("[features.age]\nbounds = [0, inf]", "features.age.bounds is inf; give a finite number"),
        ("[features.age]\nbounds = [1e9, 1e9]", "features.age.bounds"),
        ("[features.t]\nbounds = [1e9, 1000000001]", "float64 has no room for noise between such bounds"),
        (DP.replace("epsilon = 0.5", "epsilon = 0"), "differential_privacy.epsilon is 0; give a number above 0"),
        (DP.replace("laplace", "normal"), "differential_privacy.mechanism is 'normal'; give 'laplace' or 'gaussian'"),
        (DP.replace("laplace", "gaussian"), "the gaussian mechanism needs a delta above 0"),
        (DP.replace("total_epsilon = 5", ""), "differential_privacy needs the key total_epsilon"),
        (DP.replace("total_epsilon = 5", "total_epsilon = 0.1"), "total_epsilon is 0.1, less than a single release"),
        (DP + "[differential_privacy.epsilons]\nmaen = 1", "epsilons names the unknown statistic 'maen'"),
        (
            "sql_queries = true\n" + DP,
            "sql_queries is true beside differential_privacy: a query could count",
        ),
        (DP + "budget = 3", "the key differential_privacy.budget is unknown"),
        ("min_count = 5\nmin_count = 6", "is not TOML: "),
        ("min_count: 5", "is not TOML: "),
    ],
)
def test_a_mistake_is_reported_with_file_key_value_and_remedy(place, text, told):
    place.write(text)
    with pytest.raises(PolicyError, match=told) as raised:
        place.policy()
    assert str(place.local / "privacy.toml") in str(raised.value)


def test_a_policy_that_cannot_be_read_is_no_missing_policy(place):
    (place.local / "privacy.toml").symlink_to(place.local / "gone.toml")
    with pytest.raises(PolicyError, match=r"privacy.toml cannot be read: .*; correct its path or its rights"):
        place.policy()
    os.unlink(place.local / "privacy.toml")
    (place.local / "privacy.toml").mkdir()
    with pytest.raises(PolicyError, match=r"privacy.toml cannot be read"):
        place.policy()
    os.rmdir(place.local / "privacy.toml")
    (place.local / "privacy.toml").write_bytes(b"min_count = 5 # \xff")
    with pytest.raises(PolicyError, match=r"privacy.toml is not TOML"):
        place.policy()


def test_a_jobs_wishes_make_rules_stricter_and_never_weaker(place):
    place.write("min_count = 10\nmax_bins_percent = 10\nrange_noise = [0.1, 0.3]")
    weak = {"min_count": 1, "min_noise_level": 0.0, "max_noise_level": 0.0, "max_bins_percent": 100}
    assert place.policy(**weak).rules == place.policy().rules
    strict = {"min_count": 50, "min_noise_level": 0.2, "max_noise_level": 0.5, "max_bins_percent": 1}
    rules = place.policy(**strict).rules
    assert (rules.min_count, rules.range_noise, rules.max_bins_percent) == (50, (0.2, 0.5), 1)
    rules = place.policy(min_noise_level=0.9).rules
    assert rules.range_noise == (0.9, 0.9)


@pytest.mark.parametrize(
    ("wish", "told"),
    [
        ({"min_count": "1"}, "min_count is '1'; give a finite number"),
        ({"max_noise_level": float("nan")}, "max_noise_level is nan"),
        ({"max_bins_percent": None}, "max_bins_percent is None"),
        ({"epsilon": 100}, "epsilon is no wish that a job can have"),
    ],
)
def test_a_wish_that_is_no_number_is_refused(place, wish, told):
    with pytest.raises(PolicyError, match=told):
        place.policy(**wish)


def test_without_a_policy_file_only_wishes_hold_and_nothing_is_written(place):
    policy = place.policy(min_count=10)
    found = policy.apply(summary(age=numbers(range(20)), few=numbers(range(9))), config=CONFIG)
    assert found["datasets"]["train"]["age"] == numbers(range(20))
    assert "few" not in found["datasets"]["train"]
    assert found["refused"][0] == ["train", "few", "count", "min_count: fewer than 10 values"]
    assert list(place.local.iterdir()) == []


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("/data/train.csv", None),
        ("/data/../data/train.csv", None),
        ({"path": "/data/train.csv", "columns": ["age"]}, None),
        ("/secret/train.csv", "'/secret/train.csv', which the site's rule sources does not name"),
        ("/data/../secret/train.csv", "'/data/../secret/train.csv', which the site's rule sources does not name"),
        ({"path": {"path": "/secret/train.csv"}}, "the site's rule sources does not name"),
        (
            "postgresql://me:secret@host/clinic",
            "is 'postgresql://host/clinic', which the site's rule",
        ),
        (object(), "data in memory, which the site's rule sources does not name"),
        ({"path": "postgresql://host/ok", "table": "public"}, None),
        ({"path": "postgresql://host/ok", "table": "private"}, "does not name"),
        (
            {"path": "postgresql://host/ok", "query": "select age from public"},
            "the site's rule sql_queries forbids that",
        ),
        ({"path": {"path": "postgresql://host/ok", "query": "select 1"}}, "the site's rule sql_queries forbids that"),
        ({"path": "/data/train.csv", "delimiter": "g"}, "the delimiter 'g', which could give columns other names"),
        (
            {"path": {"path": "/data/train.csv", "delimiter": ","}, "delimiter": "g"},
            "the delimiter 'g', which could give columns other names",
        ),
        ({"path": {"path": "postgresql://host/ok", "table": "public"}, "table": "private"}, "does not name"),
        (
            {"path": {"path": "postgresql://host/ok", "table": "public", "query": None}, "query": "select 1"},
            "the site's rule sql_queries forbids that",
        ),
        ({"path": "postgresql://host/ok?host=other", "table": "public"}, "with parameters after '?'"),
        ({"path": "/data/train.csv", "encoding": "latin-1"}, "'latin-1', which could give columns other names"),
        ({"path": "/data/train.csv", "encoding": "UTF-8"}, None),
    ],
)
def test_a_job_reads_only_the_sources_that_the_policy_names(place, source, told):
    place.write('sources = ["/data/*.csv", "postgresql://host/ok#public"]\nforbidden_features = ["name"]')
    if told is None:
        place.policy(source=source)
    else:
        with pytest.raises(PolicyError, match=told):
            place.policy(source=source)


def test_a_link_to_another_file_is_not_the_file_that_the_policy_names(place, tmp_path):
    (tmp_path / "open").mkdir()
    (tmp_path / "secret.csv").write_text("age\n5\n")
    (tmp_path / "open" / "train.csv").symlink_to(tmp_path / "secret.csv")
    place.write(f'sources = ["{tmp_path}/open/*"]')
    with pytest.raises(PolicyError, match=r"open/train\.csv', which the site's rule sources does not name"):
        place.policy(source=str(tmp_path / "open" / "train.csv"))


@pytest.mark.parametrize(
    ("text", "feature", "is_shown"),
    [
        ('forbidden_features = ["diagnosis"]', "ward,diagnosis", False),
        ('forbidden_features = ["diag*"]', 'ward;"diagnosis"', False),
        ('forbidden_features = ["diagnosis"]', "weight, kg", True),
        ('allowed_features = ["ward*"]', "ward,diagnosis", False),
        ('allowed_features = ["ward*"]', "ward,ward_id", True),
        ('allowed_features = ["weight, kg"]', "weight, kg", True),
        ("min_count = 5", "ward,diagnosis", True),
    ],
)
def test_columns_that_a_wrong_delimiter_joins_keep_their_rules(place, text, feature, is_shown):
    place.write(text)
    assert place.policy().rules.shows(feature) == is_shown


def test_a_statistic_that_is_forbidden_for_a_column_is_forbidden_for_columns_joined_to_it(place):
    place.write('[features.diagnosis]\nforbidden_statistics = ["categories"]')
    rules = place.policy().rules
    assert rules.forbids("ward|diagnosis", "top_values").startswith("features.diagnosis.forbidden_statistics")
    assert rules.forbids("ward|diagnosis", "count") is None


def test_the_ledger_has_one_name_for_a_source_however_a_job_calls_it(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "train.csv").write_text("age\n5\n")
    (tmp_path / "link").symlink_to(folder)
    database = f"sqlite:///{tmp_path}/ward.db"
    for specs in (
        (folder / "train.csv", folder, str(tmp_path / "link"), {"path": {"path": str(folder)}}),
        (
            {"path": database, "table": "stays"},
            {"path": database, "table": "main.Stays"},
            {"path": database.replace("sqlite:", "sqlite+pysqlite:") + "?timeout=9", "table": "stays"},
        ),
        (
            {"path": "postgresql://a:b@host/clinic", "table": "stays"},
            {"path": "postgresql+psycopg://host/clinic", "table": "stays"},
        ),
    ):
        assert len({name_of(f"set {at}", spec) for at, spec in enumerate(specs)}) == 1
    (folder / "test.csv").write_text("age\n5\n")
    assert name_of("a", folder) != name_of("a", folder / "train.csv")


def test_a_statistic_that_is_forbidden_for_a_column_is_so_in_every_encoding(place):
    place.write('[features."größe"]\nforbidden_statistics = ["mean"]')
    with pytest.raises(PolicyError, match="'latin-1', which could give columns other names"):
        place.policy(source={"path": "/data/train.csv", "encoding": "latin-1"})


def test_a_database_in_another_folder_is_not_one_that_the_policy_names(place, tmp_path):
    place.write(f'sources = ["sqlite:///{tmp_path}/open/*"]')
    place.policy(source={"path": f"sqlite:///{tmp_path}/open/ward.db", "table": "stays"})
    with pytest.raises(PolicyError, match="the site's rule sources does not name"):
        place.policy(source={"path": f"sqlite:///{tmp_path}/open/../secret.db", "table": "stays"})


@pytest.mark.parametrize("text", ['sources = ["/data/*"]', DP])
def test_code_of_the_job_computes_nothing_where_rules_could_not_see_what_it_reads(place, text):
    place.write(text)
    with pytest.raises(PolicyError, match="the job computes statistics with a stats_generator of its own"):
        Policy.open(place.local, run="1", folder=place.run, sources=None)
