"""The report is made of whatever part of a run's documents there is, and says what it leaves out."""

from __future__ import annotations

import copy
import itertools
import json
import math
import re
from html.parser import HTMLParser
from importlib import resources
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_samples import DRIFTED, SITES, breast_cancer, documents, many

from flare_stats.report import make_report
from flare_stats.report.html import aligned, figure, percent

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><script>alert(1)</script>",
    "' onfocus='alert(1)' tabindex=1 '",
    "--><!-- ]]> {{7*7}} ${7*7}",
    "javascript:alert(1)",
    "a\x00b\x1b[31m\x7f\ud800\uffff",
    "\u202eevil\u2066",
    "",
    " ",
    "名前 مستشفى Ελλάδα שם 🏥",
    "n" * 5000,
]


class Reading(HTMLParser):
    """The elements, attributes and text of a page; fails on an element that is not closed."""

    VOID = ("meta", "input", "wbr")

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.texts))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def sample():
    return breast_cancer()


@pytest.fixture(scope="module")
def page(sample):
    return Reading(make_report(*sample))


def test_every_site_level_feature_and_rule_is_named(sample, page):
    statistics, _, about = sample
    for name in (*SITES, *statistics, "Region", "East", "West", "train", "test", about["name"], "min_count = 10"):
        assert name in page.text


def test_rows_and_findings_are_in_the_summary(page):
    assert "Rows569" in page.text
    assert f"{DRIFTED} differs from the other sites in" in page.text
    assert "Most values are missing of mean smoothness at Hillview" in page.text
    assert "13 statistics not given by Riverside" in page.text


def test_only_the_drifted_site_is_marked(sample):
    marked = re.findall(r"▲ drift</strong> at <bdi>(.*?)</bdi>", make_report(*sample))
    assert set(marked) == {DRIFTED, "West"} - ({"West"} - set(marked))
    assert DRIFTED in marked


def test_every_place_of_a_feature_has_a_histogram_with_a_description(page):
    labels = [each["aria-label"] for each in page.all("svg") if each.get("role") == "img"]
    assert all(labels)
    assert sum(label.startswith(f"{DRIFTED}: histogram of ") for label in labels) == 24  # 12 features of 2 data sets
    assert any("the middle half lies from" in label for label in labels)


def test_tables_have_captions_and_heads(page):
    assert len(page.all("table")) == len(page.all("caption"))
    assert all(each.get("scope") in ("col", "row") for each in page.all("th"))


def test_numbers_of_correlations_are_a_table(sample, page):
    value = sample[1]["Global"]["train"]["correlation"][2][0]
    assert f"{value:.2f}" in page.text
    assert "Strongest correlations: All together" in page.text


def test_the_balance_of_the_target_is_shown_by_site(page):
    assert "Shares of the classes of diagnosis" in page.text


def test_the_policy_allows_only_the_pages_own_style_and_script(sample):
    page = make_report(*sample)
    policy = re.search(r'http-equiv="Content-Security-Policy" content="(.*?)"', page)[1]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert not re.search(r'\s(style|on\w+)="', page)
    assert not re.search(r"https?:|//[a-z]|@import|url\(", page.replace(policy, ""))


@pytest.mark.parametrize("left_out", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2)])
def test_any_document_may_be_absent(sample, left_out):
    given = [{} if index in left_out else document for index, document in enumerate(sample)]
    assert "Summary" in Reading(make_report(*given)).text


@pytest.mark.parametrize("statistic", ["histogram", "quantile", "count", "missing", "mean", "min", "categories"])
def test_any_statistic_may_be_absent(sample, statistic):
    statistics = copy.deepcopy(sample[0])
    for of_feature in statistics.values():
        of_feature.pop(statistic, None)
    assert "mean radius" in Reading(make_report(statistics, *sample[1:])).text


def test_a_site_that_gave_nothing_is_listed(sample):
    statistics = copy.deepcopy(sample[0])
    for of_feature in statistics.values():
        for of_statistic in of_feature.values():
            of_statistic.pop("Riverside", None)
    assert "Riverside" in Reading(make_report(statistics, *sample[1:])).text


def test_a_category_that_a_place_does_not_name_is_not_shown_as_zero():
    of_sex = {
        "count": {"a": {"d": 30}, "b": {"d": 24}, "Global": {"d": 54}},
        "categories": {"a": {"d": {"f": 20, "m": 10}}, "b": {"d": {"f": 20}}, "Global": {"d": {"f": 40, "m": 10}}},
        "categories_other": {"b": {"d": 4}, "Global": {"d": 4}},
    }
    page = make_report({"sex": of_sex}, {}, {"name": "sexes", "sites": ["a", "b"], "kinds": {"sex": "text"}})
    assert re.findall(r"<td[^>]*>(0 %)", page) == ["0 %"]  # all others at a; b names no m, and may have some


def test_masked_totals_say_why_there_is_no_drift():
    rng = np.random.default_rng(0)
    statistics, matrices, about = documents(
        {"a": {"train": {"x": rng.normal(size=50)}}, "b": {"train": {"x": rng.normal(size=50)}}}, masked=True
    )
    for of_feature in statistics.values():
        for of_statistic in of_feature.values():
            for site in ("a", "b"):
                of_statistic.pop(site)
    text = Reading(make_report(statistics, {"Global": matrices["Global"]}, about)).text
    assert "Drift between sites is unknown: the sums were masked" in text
    assert "Drift between places" not in text
    assert "Compare" not in text


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text(name):
    values = np.arange(40.0)
    kinds = np.array([name, "other"] * 20, dtype=object)
    sites = {name: {name: {name: values, "c": kinds}}, "other": {name: {name: values, "c": kinds}}}
    refused = [[name, name, name, name, name]]
    made = make_report(
        *documents(
            sites,
            levels={name or "l": {name or "g": [name]}},
            refused=refused,
            name=name,
            job_id=name,
            time=name,
            target="c",
        )
    )
    made.encode()
    assert "\x00" not in made
    assert "\x1b" not in made
    page = Reading(made)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not any(attribute.startswith("on") or attribute == "style" for _, each in page.tags for attribute in each)
    assert all(each["href"].startswith("#") for each in page.all("a"))


NUMBERS = st.one_of(st.none(), st.floats(), st.integers(), st.text(max_size=3), st.booleans())
JSON = st.recursive(
    NUMBERS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=40)
@given(value=JSON, data=st.data())
def test_a_value_of_any_type_may_stand_anywhere(sample, value, data):
    """One value of the documents, deep or not, is something else; the page is made nevertheless."""
    given = json.loads(json.dumps([{k: sample[0][k] for k in ("mean radius", "diagnosis")}, sample[1], sample[2]]))
    inner: Any = given
    key = data.draw(st.integers(0, 2))
    while data.draw(st.integers(0, 4)) and isinstance(inner[key], dict | list) and inner[key]:
        inner = inner[key]
        key = data.draw(st.sampled_from(list(inner) if isinstance(inner, dict) else range(len(inner))))
    inner[key] = value
    Reading(make_report(*given))


@pytest.mark.parametrize("extreme", [1e308, 1e-308, 5e-324, 0.0])
def test_extreme_numbers_leave_no_broken_figure(extreme):
    edges = np.linspace(-extreme, extreme, 5) if extreme < 1e308 else np.array([-extreme, -1.0, 0.0, 1.0, extreme])
    histogram = [[low, high, 10] for low, high in itertools.pairwise(edges)]
    of_place = {
        "histogram": histogram,
        "mean": extreme,
        "min": -extreme,
        "max": extreme,
        "count": 40,
        "stddev": math.inf,
        "sum": math.nan,
    }
    statistics = {
        "x": {key: {site: {"train": value} for site in ("a", "b", "Global")} for key, value in of_place.items()}
    }
    made = make_report(statistics, {}, {"sites": ["a", "b"]})
    assert not re.search(r"\b(nan|inf)\b", re.sub("<head>.*?</head>|<script>.*?</script>", "", made, flags=re.DOTALL))


def test_500_features_of_100_sites_make_a_file_under_16_mib_that_says_what_it_leaves_out():
    made = make_report(*many(features=500, sites=100))
    assert len(made.encode()) < 16 << 20
    page = Reading(made)
    assert len(page.all("details")) >= 500
    assert re.search(r"The \d+ places that differ most are shown; \d+ more are in statistics\.json", page.text)


def test_names_and_views_without_end_make_no_file_without_end():
    """Names that grow when they are escaped, at sites of many levels with many data sets."""
    statistics, matrices, about = many(features=110, sites=8, suffix="\"'&" * 2000, datasets=5)
    levels = {f"level {i}": {f"{i}" + "'" * 500: about["sites"][: i + 2]} for i in range(8)}
    groups = {group: members for of_level in levels.values() for group, members in of_level.items()}
    for of_feature in statistics.values():
        for of_statistic in of_feature.values():
            of_statistic |= {group: of_statistic[members[0]] for group, members in groups.items()}
    made = make_report(statistics, matrices, about | {"levels": levels})
    assert len(made.encode()) < 16 << 20
    assert "Only the first 4 of 5 data sets are shown" in made
    assert "features are shown, those with a mark first" in made


def test_more_features_than_the_page_holds_are_counted():
    page = Reading(make_report(*many(features=600, sites=2)))
    assert "500 of 600 features are shown, those with a mark first" in page.text
    linked = {each["href"][1:] for each in page.all("a")}
    assert linked <= {each.get("id") for _, each in page.tags}


def test_documents_of_numpy_and_tuples_serve_as_well():
    statistics = {"x": {"histogram": {"a": {"train": ((0, 1, 5), (1, 2, 7))}}}}
    assert "12 values" in make_report(statistics)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.0, "0"),
        (12.0, "12"),
        (1234567.0, "1,234,567"),
        (12345678.9, "1.235 × 10⁷"),
        (-0.5, "−0.5"),
        (1e-9, "1 × 10⁻⁹"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_numbers_are_shown_as_people_read_them(value, shown):
    assert figure(value) == shown


def test_numbers_of_a_column_have_the_same_decimals():
    assert aligned([1.0, 12.34567]) == ["1.00", "12.35"]
    assert aligned([1e-9, 1.0]) == ["1 × 10⁻⁹", "1"]
    assert aligned([3.0, 40.0]) == ["3", "40"]


def test_levels_may_be_called_as_the_report_calls_its_own():
    rng = np.random.default_rng(3)
    sites = {f"s{i}": {"train": {"x": rng.normal(size=300) + 3 * (i == 3)}} for i in range(4)}
    levels = {"Sites": {"left": ["s0", "s1"], "right": ["s2", "s3"]}, "All together": {"all": list(sites)}}
    text = Reading(make_report(*documents(sites, levels=levels))).text
    assert "▲ drift s3 differs from the other sites in 1 feature" in text
    assert "left" in text


def test_a_name_cannot_make_text_run_backwards():
    made = make_report({"\u202eevil\u2066": {"mean": {"a": {"train": 1.0}}}})
    assert "\ufffdevil\ufffd" in made
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", made)


PAIRS = [
    *((ink, paper, 4.5) for ink in ("ink", "muted", "accent") for paper in ("paper", "soft")),
    *((ink, tint, 4.5) for ink in ("ink", "accent") for tint in ("tint", "tint2")),
    *(("ink", f"m{depth}", 4.5) for depth in (1, 2, 3)),
    ("m4ink", "m4", 4.5),
    ("m5ink", "m5", 4.5),
    *((mark, "paper", 3.0) for mark in ("bars", "between", "accent", "line")),
]


@pytest.mark.parametrize(("front", "back", "least"), PAIRS)
@pytest.mark.parametrize("scheme", [0, 1, 2], ids=["light", "dark", "paper"])
def test_contrast_is_that_of_wcag_aa(scheme, front, back, least):
    """Text 4.5 : 1, figures 3 : 1; https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    style = (resources.files("flare_stats.report") / "page.css").read_text(encoding="utf-8")
    palette = dict(re.findall(r"--(\w+): (#[0-9a-f]+)", re.findall(r":root \{(.*?)\}", style, re.DOTALL)[scheme]))

    def luminance(colour: str) -> float:
        digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
        shares = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(palette[front]), luminance(palette[back])), reverse=True)
    assert (high + 0.05) / (low + 0.05) >= least


def test_small_shares_are_not_shown_as_none():
    assert [percent(each) for each in (0.0, 1e-9, 0.125, 1 - 1e-9, 1.0)] == [
        "0 %",
        "< 0.1 %",
        "12.5 %",
        "> 99.9 %",
        "100 %",
    ]
