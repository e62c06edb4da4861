from __future__ import annotations

import enum
from dataclasses import dataclass, make_dataclass

import pytest
from test_format import head

from flare_core.model import FLModel, MetaKey, ParamsType
from flare_fobs import (
    DecodeError,
    RegistrationError,
    dumps,
    load_frames,
    loads,
    register,
    register_dataclass,
    register_enum,
)

pytestmark = pytest.mark.usefixtures("forget_registrations")


class Sample:
    def __init__(self, state):
        self.state = state


class Other(Sample):
    pass


def get_state(value):
    return value.state


def test_decorators_return_the_class_with_and_without_a_name():
    @register_dataclass
    @dataclass
    class A:
        x: int

    @register_dataclass(name="tests.B")
    @dataclass
    class B:
        x: int

    @register_enum
    class C(enum.Enum):
        ONE = 1

    @register_enum(name="tests.D")
    class D(enum.Enum):
        ONE = 1

    assert loads(dumps([A(1), B(2), C.ONE, D.ONE])) == [A(1), B(2), C.ONE, D.ONE]


def test_a_name_cannot_belong_to_two_types():
    register(Sample, "tests.Sample", get_state, Sample)
    with pytest.raises(RegistrationError, match=r"'tests.Sample' belongs to .*Sample; register .*Other under another"):
        register(Other, "tests.Sample", get_state, Other)


def test_a_type_cannot_have_two_names():
    register(Sample, "tests.Sample", get_state, Sample)
    with pytest.raises(RegistrationError, match=r"already registered, as 'tests\.Sample'"):
        register(Sample, "tests.Other", get_state, Sample)


def test_registering_a_type_again_under_its_name_replaces_it():
    register(Sample, "tests.Sample", get_state, Sample)
    register(Sample, "tests.Sample", lambda value: value.state + 1, Sample)
    assert loads(dumps(Sample(1))).state == 2


def test_a_class_that_was_defined_again_replaces_its_former_self():
    former, latter = (make_dataclass("Cell", ["x"], namespace={"__module__": "notebook"}) for _ in range(2))
    register_dataclass(former)
    register_dataclass(latter)
    assert type(loads(dumps(former(1)))) is latter


@pytest.mark.parametrize("type_", [int, str, list, dict, bytearray, type(None), tuple, FLModel])
def test_types_that_travel_anyway_cannot_be_registered(type_):
    with pytest.raises(RegistrationError):
        register(type_, "tests.mine", repr, repr)


@pytest.mark.parametrize("name", ["tuple", "flare.FLModel"])
def test_names_of_the_serializer_itself_are_taken(name):
    with pytest.raises(RegistrationError, match="belongs to"):
        register(Sample, name, get_state, Sample)


@pytest.mark.parametrize("name", ["", "x" * 256, "\ud800", None])
def test_unusable_names_are_refused(name):
    with pytest.raises(RegistrationError, match="1 to 255 bytes"):
        register(Sample, name, get_state, Sample)


def test_only_dataclasses_and_enums_register_as_such():
    with pytest.raises(RegistrationError, match="is not a dataclass"):
        register_dataclass(Sample)
    with pytest.raises(RegistrationError, match="is not an Enum"):
        register_enum(Sample)


def replaced(name, *, before, after):
    """Serialize with one version of a class, forget it, and register another."""
    from flare_fobs import _registry

    register_dataclass(before, name)
    data = dumps(before(*range(len(before.__dataclass_fields__))))
    del _registry.by_name[name.encode()]
    register_dataclass(after, name)
    return data


def test_a_receiver_whose_class_has_more_fields_fills_in_their_defaults():
    after = make_dataclass("After", ["x", ("y", int, 5)])
    data = replaced("tests.V", before=make_dataclass("Before", ["x"]), after=after)
    assert loads(data) == after(0, 5)


def test_a_receiver_whose_class_has_fewer_fields_refuses_the_object():
    data = replaced("tests.V", before=make_dataclass("Before", ["x", "y"]), after=make_dataclass("After", ["x"]))
    with pytest.raises(DecodeError, match="After has no field 'y'; the sender runs another version"):
        loads(data)


def test_a_missing_field_without_default_is_refused():
    data = replaced("tests.V", before=make_dataclass("Before", ["x"]), after=make_dataclass("After", ["x", "y"]))
    with pytest.raises(DecodeError, match="missing 1 required positional argument: 'y'"):
        loads(data)


def test_a_member_that_the_receivers_enum_lacks_is_refused():
    from flare_fobs import _registry

    register_enum(enum.Enum("Before", "A B"), "tests.E")
    data = dumps(_registry.by_name[b"tests.E"].type.B)
    del _registry.by_name[b"tests.E"]
    register_enum(enum.Enum("After", "A"), "tests.E")
    with pytest.raises(DecodeError, match=r"tests\.E has no member 'B'"):
        loads(data)


def test_a_decode_function_that_fails_is_a_decode_error():
    register(Sample, "tests.Sample", get_state, lambda state: 1 / 0)
    with pytest.raises(DecodeError, match="ZeroDivisionError") as caught:
        loads(dumps(Sample(1)))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_subclass_is_not_registered_with_its_base():
    register(Sample, "tests.Sample", get_state, Sample)
    with pytest.raises(ValueError, match="cannot serialize"):
        dumps(Other(1))


def test_a_decorator_with_a_name_registers_under_it():
    @register_dataclass(name="tests.Item")
    @dataclass
    class Thing:
        x: int

    @register_enum(name="tests.Mood")
    class Feeling(enum.Enum):
        GOOD = 1

    assert b"tests.Item" in dumps(Thing(1))
    assert b"tests.Mood" in dumps(Feeling.GOOD)


def test_a_name_may_have_255_bytes():
    register(Sample, "x" * 255, get_state, Sample)
    assert loads(dumps(Sample(3))).state == 3


@pytest.mark.parametrize("type_", [ParamsType, MetaKey])
def test_the_enums_of_the_serializer_itself_cannot_be_replaced(type_):
    with pytest.raises(RegistrationError, match="is already registered, as 'flare"):
        register_enum(type_, f"flare.{type_.__name__}")


@pytest.mark.parametrize("states", [[], [1, 2]])
def test_a_state_of_another_length_names_the_type(states):
    class Access(enum.Flag):
        READ = 1

    class Mood(enum.Enum):
        GOOD = 1

    register(Sample, "tests.Sample", get_state, Sample)
    register_enum(Access, "tests.Access")
    register_enum(Mood, "tests.Mood")
    for name in ("tests.Sample", "tests.Access", "tests.Mood"):
        metadata = bytes([0x91 + len(states)]) + head(name) + bytes(states)
        with pytest.raises(DecodeError, match=f"{name} has {len(states)} states instead of one"):
            load_frames([metadata])


def test_names_that_are_no_text_are_refused_by_their_type():
    @register_dataclass(name="tests.Item")
    @dataclass
    class Thing:
        x: int

    with pytest.raises(DecodeError, match=r"Thing has no field <class 'int'>"):
        load_frames([b"\x93" + head("tests.Item") + b"\x05\x05"])
    with pytest.raises(DecodeError):
        load_frames([b"\x94" + head("tests.Item") + b"\xa1x\x05\xa1x"])  # a field without a value
    register_enum(Enumerated, "tests.Enumerated")
    with pytest.raises(DecodeError, match=r"tests.Enumerated has no member <class 'int'>"):
        load_frames([b"\x92" + head("tests.Enumerated") + b"\x05"])


class Enumerated(enum.Enum):
    ONE = 1
