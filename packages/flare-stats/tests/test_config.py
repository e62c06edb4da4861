"""Settings, hierarchies and agreement of the sites."""

from __future__ import annotations

import pytest

from flare_stats import NotMaskable, StatsError
from flare_stats.agreement import agreed_kinds, edges_of
from flare_stats.config import Settings
from flare_stats.hierarchy import Hierarchy

SITES = ["north.mercy.icu", "north.mercy.er", "south.hope.er"]


def test_a_statistic_without_features_is_for_all_that_can_have_it():
    settings = Settings.parse({"mean": {}, "categories": {}, "count": {}})
    assert settings.of_feature("age", "int") == ["mean", "count"]
    assert settings.of_feature("sex", "text") == ["categories", "count"]
    assert settings.of_feature("when", "datetime") == ["count"]


def test_features_that_are_named_have_options_of_their_own_and_without_a_star_others_have_none():
    settings = Settings.parse(
        {"histogram": {"*": {"bins": 20}, "age": {"bins": 6, "range": [0, 120]}}, "mean": {"age": {}}}
    )
    assert settings.options("histogram", "age", "int") == {"bins": 6, "range": [0.0, 120.0]}
    assert settings.options("histogram", "bmi", "float") == {"bins": 20, "range": None}
    assert settings.options("mean", "bmi", "float") is None


def test_a_quantile_can_be_asked_for_in_either_form():
    assert Settings.parse({"quantile": [0.9, 0.1]}) == Settings.parse({"quantile": {"*": [0.1, 0.9]}})


def test_categories_of_whole_numbers_are_counted_if_they_are_named():
    settings = Settings.parse({"categories": {"*": {}, "stage": {}}})
    assert settings.options("categories", "stage", "int") == {"most": 100, "values": None}
    assert settings.options("categories", "age", "int") is None


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ("median", '"quantile": [0.5]'),
        ("Std", '"stddev"'),
        ("variance", '"var"'),
        ("average", '"mean"'),
        ("avg", '"mean"'),
        ("nunique", '"distinct"'),
        ("unique", '"distinct"'),
        ("minimum", '"min"'),
        ("maximum", '"max"'),
    ],
)
def test_a_statistic_by_the_name_of_another_library_is_told_its_name_here(other, name):
    with pytest.raises(StatsError) as error:
        Settings.parse({other: {}})
    assert str(error.value) == f"statistic_configs has the unknown statistic {other!r}; use {name}"


@pytest.mark.parametrize(
    ("configs", "message"),
    [
        ({"distinct": {}}, "distinct values cannot be counted under masks"),
        ({"categories": {}}, r"categories of '\*' cannot be masked"),
        ({"categories": {"sex": {"values": ["f"]}}, "top_values": {}}, r"top_values of '\*' cannot be masked"),
        ({"balance": {"sex": {}}}, r"give them: statistic_configs\['categories'\]\['sex'\]"),
    ],
)
def test_what_cannot_be_masked_is_refused_by_name(configs, message):
    with pytest.raises(NotMaskable, match=message):
        Settings.parse(configs).check_maskable()


def test_categories_with_given_values_can_be_masked():
    Settings.parse({"categories": {"sex": {"values": ["f", "m"]}}, "balance": {"sex": {}}, "mean": {}}).check_maskable()


def test_names_of_sites_tell_their_groups():
    levels = Hierarchy.of("region/hospital/ward", SITES).levels
    assert levels == {
        "region": {"north": ("north.mercy.icu", "north.mercy.er"), "south": ("south.hope.er",)},
        "hospital": {"north/mercy": ("north.mercy.icu", "north.mercy.er"), "south/hope": ("south.hope.er",)},
    }


@pytest.mark.parametrize(
    ("hierarchy", "sites", "message"),
    [
        ("region/ward", SITES, "the name of north.mercy.icu has 3 parts instead of 2"),
        ({"a": ["x"]}, ["x", "y"], "no place for y"),
        ({"a": ["x"], "b": ["x"]}, ["x"], "names x twice"),
        ({"x": ["x"]}, ["x"], "'x', which is also the name of a site"),
        ({"Global": ["x"]}, ["x"], "other than Global"),
        ({"a": {"b": "x"}}, ["x"], "hierarchy at a/b is 'x'"),
        ({}, ["x"], "give a dict of groups"),
    ],
)
def test_a_hierarchy_that_does_not_fit_names_the_place(hierarchy, sites, message):
    with pytest.raises(StatsError, match=message):
        Hierarchy.of(hierarchy, sites)


def test_sites_of_a_tree_that_are_not_in_the_run_are_left_out():
    assert Hierarchy.of({"a": ["x", "z"], "b": ["y"]}, ["x", "y"]).levels == {"level 1": {"a": ("x",), "b": ("y",)}}


@pytest.mark.parametrize(
    ("kinds", "agreed", "is_warned"),
    [
        (["int", "int"], "int", False),
        (["int", "float"], "float", False),
        (["bool", "float"], "float", False),
        (["text", "category"], "category", False),
        (["empty", "text"], "text", False),
        (["empty", "empty"], "empty", False),
        (["text", "int", "float"], "float", True),
        (["text", "category", "int"], "category", True),
        (["datetime", "datetime", "text"], "datetime", True),
    ],
)
def test_sites_agree_on_the_kind_of_a_feature(kinds, agreed, is_warned):
    described = {f"site-{number}": {"train": [["x", kind]]} for number, kind in enumerate(kinds)}
    found, warnings = agreed_kinds(described)
    assert (found, bool(warnings)) == ({"x": agreed}, is_warned)


def test_a_single_value_lies_in_the_middle_of_the_bins():
    assert edges_of(3.0, 3.0, 2) == [2.5, 3.0, 3.5]


@pytest.mark.parametrize(("low", "high"), [(-1.7e308, 1.7e308), (1e300, 1e300), (1e16, 1e16 + 4)])
def test_a_range_without_room_for_bins_is_an_error(low, high):
    with pytest.raises(StatsError, match="too"):
        edges_of(low, high, 100)
