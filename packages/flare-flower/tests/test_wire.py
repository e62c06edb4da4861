"""Fields are read as protobuf writes them."""

from __future__ import annotations

import contextlib

import pytest
from flwr.proto.message_pb2 import Message, Metadata
from flwr.proto.recorddict_pb2 import MetricRecord, MetricRecordValue
from flwr.proto.runtime_pb2 import PushAppMessagesRequest
from hypothesis import given
from hypothesis import strategies as st

from flare_flower import wire

numbers = st.one_of(
    st.floats(allow_nan=False).map(lambda value: (MetricRecordValue(double=value), value)),
    st.integers(-(2**52), 2**52).map(lambda value: (MetricRecordValue(sint64=value), float(value))),
    st.integers(0, 2**52).map(lambda value: (MetricRecordValue(uint64=value), float(value))),
)


@given(st.dictionaries(st.text(max_size=20), numbers, max_size=5))
def test_numbers_of_a_metric_record_are_read(record):
    data = MetricRecord(items=[MetricRecord.Item(key=key, value=value) for key, (value, _) in record.items()])
    assert wire.metrics(data.SerializeToString()) == {key: expected for key, (_, expected) in record.items()}


@given(st.lists(st.tuples(st.text(max_size=9), st.text(max_size=9)), max_size=4))
def test_messages_within_messages_are_read(pairs):
    request = PushAppMessagesRequest(
        messages_list=[Message(metadata=Metadata(group_id=group, message_type=kind)) for group, kind in pairs]
    )
    found = [wire.part(each, 1) for each in wire.parts(request.SerializeToString(), 2)]
    assert [(wire.text(each, 6), wire.text(each, 8)) for each in found] == pairs


@given(st.binary(max_size=60))
def test_other_bytes_are_read_or_refused_with_a_value_error(data):
    with contextlib.suppress(ValueError):
        list(wire.fields(data))


@pytest.mark.parametrize("data", [b"\x08", b"\x0a\x05ab", b"\x0b", b"\x80" * 12])
def test_what_is_cut_short_is_refused(data):
    with pytest.raises(ValueError, match=r"cut short|kind"):
        list(wire.fields(data))
