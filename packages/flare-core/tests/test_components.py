"""Components: class paths with arguments, and live objects."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest

from flare_core import JobError, ParamsType, WeightedMean
from flare_core.components import Component
from flare_core.parameters import plain


class Keeper:
    """A class that stores its arguments in attributes of their names."""

    def __init__(self, size, *, mode="mean", inner=None):
        self.size = size
        self._mode = mode
        self.inner = inner
        self.seen = []


class Counted:
    """A class that counts its objects."""

    made = 0

    def __init__(self, path="data.csv"):
        Counted.made += 1
        self.path = path
        self.cache = None


class Forgetful:
    def __init__(self, size):
        pass


def test_a_class_path_is_built_with_its_arguments():
    mean = Component("flare_core.WeightedMean", {"site_weights": {"site-1": 2.0}}).build()
    assert isinstance(mean, WeightedMean)
    assert mean.site_weights == {"site-1": 2.0}


def test_nested_components_are_built_first():
    component = Component(
        "flare_core.workflows.FedAvg",
        {
            "min_clients": 1,
            "num_rounds": 1,
            "aggregator": {"path": "flare_core.WeightedMean", "args": {"exclude": "bn"}},
        },
    )
    assert component.build().aggregator.exclude == "bn"


def test_every_build_copies_the_live_object():
    original = Keeper(3)
    component = Component.of(original, what="keeper")
    first, second = component.build(), component.build()
    first.seen.append(1)
    assert (original.seen, second.seen) == ([], [])


def test_a_live_object_is_described_by_what_differs_from_the_defaults():
    described = Component.of(Keeper(3, inner=WeightedMean(exclude=["a"])), what="keeper").to_json()
    assert described["args"] == {
        "size": 3,
        "inner": {"path": "flare_core.aggregation.WeightedMean", "args": {"exclude": ["a"], "site_weights": {}}},
    }
    assert described["path"].endswith("test_components.Keeper")


def test_enums_and_paths_become_plain_values(tmp_path):
    described = Component("a.B", {"kind": ParamsType.DIFF, "path": tmp_path, "list": (1, 2)}).to_json()
    assert described == {"path": "a.B", "args": {"kind": "DIFF", "path": str(tmp_path), "list": [1, 2]}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Keeper, "is the class Keeper itself"),
        ({"args": {}}, "write {'class_path'"),
        ({"class_path": 5}, "write {'class_path'"),
        ({"class_path": "a.B", "arguments": {}}, "unknown key 'arguments'"),
    ],
)
def test_values_that_are_not_components_are_rejected(value, message):
    with pytest.raises(JobError, match=message):
        Component.of(value, what="aggregator")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_package_x.Thing", "cannot import 'no_such_package_x'"),
        ("flare_core.NoSuchThing", "has no 'NoSuchThing'"),
    ],
)
def test_the_error_for_a_missing_class_names_it(path, message):
    with pytest.raises(JobError, match=message):
        Component(path).build()


def test_an_import_error_with_a_remedy_of_its_own_keeps_it(tmp_path, monkeypatch):
    text = """
        from flare_core import FlareError

        class RefusedError(FlareError, ImportError):
            pass

        raise RefusedError("refusing is not provided: use another")
        """
    (tmp_path / "refusing.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(JobError, match=r"^class path 'refusing\.Thing': refusing is not provided: use another$"):
        Component("refusing.Thing").build()


def test_arguments_that_a_class_rejects_are_reported_with_the_cause():
    with pytest.raises(JobError, match=r"flare_core.WeightedMean cannot be created .*TypeError") as caught:
        Component("flare_core.WeightedMean", {"colour": "red"}).build()
    assert isinstance(caught.value.__cause__, TypeError)


def test_an_argument_that_cannot_be_read_back_says_what_to_do():
    with pytest.raises(JobError, match="'size' cannot be read back"):
        Component.of(Forgetful(3), what="x").to_json()


def test_a_job_folder_cannot_hold_arrays():
    with pytest.raises(JobError, match="is a ndarray, which a job folder cannot hold"):
        Component("a.B", {"weights": np.ones(2)}).to_json()


def test_a_class_of_the_launching_script_cannot_travel():
    local = type("Local", (), {"__module__": "__main__"})
    with pytest.raises(JobError, match="defined in the launching script"):
        Component.of(local(), what="x").to_json()


def test_an_array_instead_of_none_is_a_difference():
    counted = Counted()
    counted.cache = np.zeros(2)
    with pytest.raises(JobError, match="its attribute 'cache' would be None, not array"):
        Component.of(counted, what="counted").to_json()


def test_describing_an_object_creates_no_other():
    counted = Counted("other.csv")
    before = Counted.made
    assert plain(counted)["args"] == {"path": "other.csv"}
    assert Counted.made == before
