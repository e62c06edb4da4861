from __future__ import annotations

import enum
from dataclasses import dataclass, make_dataclass

import pytest

from flare_core.model import FLModel
from flare_fobs import DecodeError, RegistrationError, dumps, loads, register, register_dataclass, register_enum

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
    with pytest.raises(RegistrationError, match="no dataclass"):
        register_dataclass(Sample)
    with pytest.raises(RegistrationError, match="no Enum"):
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
