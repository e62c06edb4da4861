from __future__ import annotations

import enum
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from pathlib import Path, PurePosixPath, PureWindowsPath
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from strategies import models, objects, same, tasks

from flare_core.model import FLModel, MetaKey, ParamsType
from flare_core.task import Task
from flare_fobs import dump_frames, dumps, load_frames, loads


@given(objects)
def test_what_is_dumped_is_what_is_loaded(value):
    assert same(loads(dumps(value)), value)


@given(objects)
def test_frames_carry_the_same_as_one_string_of_bytes(value):
    assert same(load_frames(dump_frames(value)), value)


@given(models)
def test_a_model_arrives_unchanged(model):
    assert same(loads(dumps(model)), model)


@given(tasks)
def test_a_task_arrives_unchanged(task):
    assert same(load_frames(dump_frames(task)), task)


@given(objects)
def test_dumping_again_what_was_loaded_gives_an_equal_value(value):
    assert same(loads(dumps(loads(dumps(value)))), value)


@pytest.mark.parametrize(
    "value",
    [
        2**64 - 1,
        2**64,
        -(2**63),
        -(2**63) - 1,
        10**5000,
        -0.0,
        math.inf,
        "",
        "\x00é\U0001f600",
        b"",
        (),
        ((),),
        set(),
        frozenset([frozenset([1])]),
        {},
        {None: 1, True: 2, 2.5: 3, b"k": 4, "k": 5, (1, ("a",)): 6, frozenset([1]): 7},
        OrderedDict([("z", 1), ("a", 2)]),
        complex(-0.0, math.inf),
        Decimal("1E+999999999"),
        Decimal("-0.00"),
        UUID(int=2**128 - 1),
        PureWindowsPath("C:\\data\\x"),
        datetime(2024, 10, 27, 2, 30, fold=1),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-5), "EST")),
        time(23, 59, 59, 999999, tzinfo=UTC),
        timedelta(days=-999999999),
        np.str_("a\x00"),
        np.bytes_(b"a\x00"),
        np.float32(0.1),
        np.datetime64("NaT", "ns"),
        ParamsType.DIFF,
    ],
    ids=lambda value: f"{type(value).__name__}-{str(value)[:20] if not isinstance(value, int) else value.bit_length()}",
)
def test_values_at_the_edges_of_their_types_arrive_unchanged(value):
    assert same(loads(dumps(value)), value)


def test_a_signalling_nan_of_decimal_stays_one():
    assert str(loads(dumps(Decimal("-sNaN123")))) == "-sNaN123"


def test_a_nan_keeps_its_payload():
    value = np.uint64(0x7FF8_0000_DEAD_BEEF).view(np.float64).item()
    assert np.float64(loads(dumps(value))).view(np.uint64) == 0x7FF8_0000_DEAD_BEEF


def test_bytearray_and_memoryview_arrive_as_bytes():
    assert same(loads(dumps([bytearray(b"ab"), memoryview(b"cd")])), [b"ab", b"cd"])


def test_a_path_arrives_as_a_pure_path_of_its_flavour():
    assert same(loads(dumps(Path("/data") / "x")), PurePosixPath("/data/x"))


class Berlin(tzinfo):
    """Stands for a zone of a database: its offset depends on the date."""

    def utcoffset(self, moment):
        return None if moment is None else timedelta(hours=2 if 4 <= moment.month <= 10 else 1)

    def tzname(self, moment):
        return "Europe/Berlin"

    def dst(self, moment):
        return timedelta(0)


def test_a_datetime_in_a_named_zone_arrives_at_its_instant_and_offset():
    moment = datetime(2024, 7, 1, 12, tzinfo=Berlin())
    arrived = loads(dumps(moment))
    assert arrived == moment
    assert arrived.tzinfo == timezone(timedelta(hours=2))


def test_a_model_without_params_arrives_without():
    model = FLModel(metrics={"acc": 0.5}, meta={MetaKey.SITE_NAME: "site-1"})
    arrived = loads(dumps(model))
    assert same(arrived, model)
    assert arrived.meta["site_name"] == "site-1"


def test_a_task_inside_other_values_arrives_as_a_task():
    task = Task("train", FLModel(params=OrderedDict(w=np.ones(3))), id=7)
    assert same(loads(dumps({"tasks": [task, (task,)]})), {"tasks": [task, (task,)]})


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float = 0.0
    tags: list[str] = field(default_factory=list)


@dataclass
class Derived:
    base: int
    double: int = field(init=False)

    def __post_init__(self):
        self.double = self.base * 2


class Colour(enum.Enum):
    RED = "r"
    GREEN = "g"


class Permission(enum.IntFlag):
    READ = 4
    WRITE = 2


@pytest.mark.usefixtures("forget_registrations")
def test_registered_dataclasses_and_enums_arrive_as_themselves():
    from flare_fobs import register_dataclass, register_enum

    register_dataclass(Point)
    register_dataclass(Derived, "tests.Derived")
    register_enum(Colour)
    register_enum(Permission, name="tests.Permission")
    derived = Derived(3)
    derived.double = 7
    value = {"p": Point(1.0, tags=["a"]), "d": derived, Colour.RED: [Permission.READ | Permission.WRITE, Colour.GREEN]}
    assert same(loads(dumps(value)), value)


@pytest.mark.usefixtures("forget_registrations")
def test_a_registered_type_travels_as_its_state_with_arrays_out_of_band():
    from flare_fobs import register

    class Layer:
        def __init__(self, weights):
            self.weights = weights

    register(Layer, "tests.Layer", lambda layer: {"w": layer.weights}, lambda state: Layer(state["w"]))
    weights = np.arange(5000.0)
    frames = dump_frames(("layer", Layer(weights)))
    assert len(frames) == 2
    assert same(load_frames(frames)[1].weights, weights)


class TwoHours(tzinfo):
    """A zone whose offset needs no date."""

    def utcoffset(self, moment):
        return timedelta(hours=2)

    def dst(self, moment):
        return None


def test_a_time_of_day_in_a_fixed_zone_arrives_with_its_offset():
    arrived = loads(dumps(time(12, 30, fold=1, tzinfo=TwoHours())))
    assert (arrived.hour, arrived.minute, arrived.fold) == (12, 30, 1)
    assert arrived.tzinfo == timezone(timedelta(hours=2))


def test_every_field_of_a_model_arrives():
    model = FLModel("DIFF", {"w": 1}, {"momentum": 2}, {"loss": 0.5}, 1, 2, 3, {"note": "x"})
    assert loads(dumps(model)) == model
    assert loads(dumps(model)).optimizer_params == {"momentum": 2}
