"""The sender refuses what cannot be serialized, and names its path, its type and the remedy."""

from __future__ import annotations

import collections
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time, timedelta, tzinfo
from pathlib import PurePath

import numpy as np
import pytest

from flare_core.model import FLModel
from flare_core.task import Task
from flare_fobs import EncodeError, FobsError, LimitError, dump_frames, dumps

NUMPY_2 = hasattr(np.dtypes, "StringDType")


@dataclass
class Config:
    rate: float


class Mood(enum.Enum):
    GOOD = 1


class Tagged(dict):
    def __init__(self, tag):
        super().__init__()
        self.tag = tag


class Stack(list):
    pass


Pair = collections.namedtuple("Pair", "a b")


class Lazy(Mapping):
    def __getitem__(self, key):
        return np.zeros(3)

    def __iter__(self):
        return iter(["w"])

    def __len__(self):
        return 1


def refusal(value):
    with pytest.raises(EncodeError) as caught:
        dump_frames(value)
    return str(caught.value)


def test_c10_an_array_of_objects_is_refused_by_its_path():
    task = Task("train", FLModel(params={"net": {"w": np.array([1, "a", None], dtype=object)}}))
    assert refusal(task) == (
        "data.params['net']['w']: arrays of dtype object cannot be serialized; convert it to numbers or strings,"
        " or send it as a list"
    )


def test_c10_an_unregistered_dataclass_is_refused_by_its_path():
    text = refusal({"meta": {"x": [1, 2, 3, Config(0.1)]}})
    assert text.startswith(f"['meta']['x'][3]: cannot serialize {Config.__module__}.Config;")
    assert text.endswith("register it with flare_fobs.register_dataclass(Config)")


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (Mood.GOOD, "flare_fobs.register_enum(Mood)"),
        (Tagged("x"), "convert it with dict(…)"),
        (Stack(), "convert it with list(…)"),
        (Pair(1, 2), "convert it with tuple(…)"),
        (collections.defaultdict(int), "convert it with dict(…)"),
        (Lazy(), "read it into a dict with dict(…)"),
        (len, "flare_fobs.register(builtin_function_or_method, …)"),
        (Config, "flare_fobs.register(type, …)"),
        (np.zeros(2, "i4,f4"), "send one array for each field: f0, f1"),
        (np.zeros(2, "V8"), "convert it to numbers, bytes"),
        *([(np.array(["a"], np.dtypes.StringDType()), "fixed-width strings")] if NUMPY_2 else []),
        (np.ndarray((3,), "S0"), "use 'S1'"),
        (np.ma.array([1]), ".filled(…)"),
        (np.zeros(1, "i4,f4")[0], "flare_fobs.register(void, …)"),
        ("a\ud800", "surrogateescape"),
        (np.str_("\ud800"), "surrogateescape"),
        (PurePath("\udcff.csv"), "surrogateescape"),
        (memoryview(b"abcd")[::2], "casts are restricted to C-contiguous"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_refusal_names_the_remedy(value, remedy):
    text = refusal([value])
    assert text.startswith("[0]: ")
    assert remedy in text


class Drifting(tzinfo):
    def utcoffset(self, moment):
        return timedelta(hours=1) if moment else None


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (object(), "the object itself"),
        ({"a": (1, {2: object()})}, "['a'][1][2]"),
        ({(1, object()): 1}, "key (1, <object objec"),
        (FLModel(params=Lazy()), "params"),
        (FLModel(meta={"x": [object()]}), "meta['x'][0]"),
        (collections.OrderedDict(a=object()), "['a']"),
        ({"t": time(1, tzinfo=Drifting())}, "['t']"),
        ([["ok", "\udfff"]], "[0][1]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_path_leads_to_the_culprit(value, path):
    assert refusal(value).startswith(path)


@pytest.mark.usefixtures("forget_registrations")
def test_the_path_leads_through_registered_types_by_their_fields():
    from flare_fobs import register, register_dataclass

    register_dataclass(Config)
    register(Stack, "tests.Stack", list, Stack)
    assert refusal({"meta": Stack([Config(object())])}).startswith("['meta'][0].rate: ")


@pytest.mark.usefixtures("forget_registrations")
def test_an_encode_function_that_fails_is_named_with_its_cause():
    from flare_fobs import register

    register(Tagged, "tests.Tagged", lambda value: 1 / 0, lambda state: Tagged(state))
    with pytest.raises(EncodeError, match=r"^\[1\]: cannot encode the Tagged: ZeroDivisionError") as caught:
        dumps([0, Tagged("x")])
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


@pytest.mark.usefixtures("forget_registrations")
def test_an_encode_function_may_serialize_something_itself():
    from flare_fobs import loads, register

    register(Stack, "tests.Stack", lambda value: dumps(list(value)), lambda state: Stack(loads(state)))
    assert loads(dumps({"a": Stack([1]), "b": np.ones(1)}))["a"] == [1]


def test_a_list_that_contains_itself_is_refused():
    value = [1]
    value.append({"again": value})
    with pytest.raises(LimitError, match=r"^\[1\]\['again'\]\[1\].* nested deeper than 64 levels"):
        dumps(value)


def test_a_failed_dump_leaves_nothing_behind_for_the_next():
    for _ in range(3):
        refusal([np.zeros(5000), object()])
    assert len(dump_frames(np.zeros(5000))) == 2


def test_every_refusal_is_a_flare_error_and_a_value_error():
    from flare_core.errors import FlareError

    assert issubclass(FobsError, FlareError)
    assert issubclass(FobsError, ValueError)


def test_the_deepest_value_that_may_travel_is_named_for_what_it_is():
    value = object()
    for _ in range(64):
        value = [value]
    with pytest.raises(EncodeError, match=r"^\[0\].* … .*\[0\]: cannot serialize builtins.object"):
        dumps(value)


def test_what_can_travel_is_not_taken_for_the_culprit():
    value = {"text": "a", "bytes": memoryview(b"abc"), "large": np.zeros(5000), "n": 10**30, "wrong": object()}
    with pytest.raises(EncodeError, match=r"^\['wrong'\]: cannot serialize builtins.object"):
        dumps(value)


def test_a_long_path_is_shortened_in_its_middle():
    value = object()
    for name in reversed("abcdefghijklmnopqrstuvwxyz"):
        value = {name * 10: value}
    with pytest.raises(EncodeError) as caught:
        dumps(value)
    path = str(caught.value).partition(": ")[0]
    start, _, end = path.partition(" … ")
    assert (len(start), len(end)) == (80, 80)
    assert start.startswith("['aaaaaaaaaa']['bbbbbbbbbb']")
    assert end.endswith("['yyyyyyyyyy']['zzzzzzzzzz']")


def test_a_path_of_160_characters_is_shown_whole():
    value = object()
    for name in ("a" * 16,) * 8:  # 20 characters each, as ['aaaaaaaaaaaaaaaa']
        value = {name: value}
    with pytest.raises(EncodeError, match=r"^" + r"\['a{16}'\]" * 8 + ": cannot"):
        dumps(value)


def test_an_object_with_keys_but_no_items_is_no_dict():
    class Keys:
        def keys(self):
            return []

    with pytest.raises(EncodeError, match="convert it to numbers, strings"):
        dumps(Keys())
