"""Masked sums are exact, and each party's numbers are hidden."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flare_masking import MaskedParty, MaskingError, add_masked

INT64 = st.integers(-(2**63), 2**63 - 1)


def masked_total(parts):
    first, *others = parts
    total = np.zeros(first.shape, np.int64)
    for part in (first, *others):
        add_masked(total, part)
    return total


def parties(count: int, session: bytes = b"run") -> list[MaskedParty]:
    made = [MaskedParty(f"site-{number}") for number in range(count)]
    keys = {each.name: each.public_key for each in made}
    for each in made:
        each.agree(keys, session)
    return made


@settings(deadline=None, max_examples=30)
@given(st.integers(2, 7), st.data())
def test_the_total_is_that_of_the_numbers_to_the_last_bit(count, data):
    size = data.draw(st.integers(0, 5))
    numbers = np.array(
        [data.draw(st.lists(INT64, min_size=size, max_size=size)) for _ in range(count)], np.int64
    ).reshape(count, size)
    sent = [each.mask(own) for each, own in zip(parties(count), numbers, strict=True)]
    wanted = [(sum(column) + 2**63) % 2**64 - 2**63 for column in numbers.astype(object).T]
    assert masked_total(sent).tolist() == wanted


def test_arrays_larger_than_a_block_of_the_stream_keep_their_shape_and_total():
    made = parties(3)
    numbers = np.arange(3 * 7 * 50_000).reshape(3, 7, 50_000)
    total = masked_total(each.mask(own) for each, own in zip(made, numbers, strict=True))
    assert total.shape == (7, 50_000)
    np.testing.assert_array_equal(total, numbers.sum(axis=0))
    np.testing.assert_array_equal(numbers, np.arange(numbers.size).reshape(numbers.shape))


def test_masked_numbers_look_uniform_and_share_nothing_with_the_numbers():
    bits = np.unpackbits(parties(2)[0].mask(np.zeros(100_000, np.int64)).view(np.uint8))
    assert abs(bits.mean() - 0.5) < 5 * 0.5 / np.sqrt(bits.size)  # five standard deviations of a fair coin
    by_place = bits.reshape(-1, 64).mean(axis=0)
    assert np.abs(by_place - 0.5).max() < 6 * 0.5 / np.sqrt(100_000)


def test_a_part_of_the_parties_has_no_meaningful_total():
    made = parties(3)
    sent = [each.mask(np.zeros(1000, np.int64)) for each in made]
    for left_out in range(3):
        part = masked_total(each for number, each in enumerate(sent) if number != left_out)
        assert (np.abs(part.astype(float)) > 2.0**40).mean() > 0.99


def test_no_stream_is_used_twice():
    zeros = np.zeros(4, np.int64)
    first, second = parties(2), parties(2)
    seen = np.concatenate([each.mask(zeros) for each in (first[0], first[0], second[0], parties(3)[0])])
    assert len(set(seen.tolist())) == 16
    keys = {each.name: each.public_key for each in first}
    with pytest.raises(MaskingError, match="site-0: it has agreed before"):
        first[0].agree(keys, b"run")


def test_parties_that_mask_for_different_sessions_have_no_meaningful_total():
    one, two = MaskedParty("one"), MaskedParty("two")
    keys = {each.name: each.public_key for each in (one, two)}
    one.agree(keys, b"a run")
    two.agree(keys, b"another run")
    total = masked_total(each.mask(np.zeros(1000, np.int64)) for each in (one, two))
    assert (np.abs(total.astype(float)) > 2.0**40).mean() > 0.99


def test_many_messages_have_exact_totals_as_long_as_the_parties_are_in_step():
    made = parties(3)
    for number in range(10):
        sent = [each.mask(np.full((number, 2), 7)) for each in made]
        np.testing.assert_array_equal(masked_total(sent), np.full((number, 2), 21))


def test_a_party_that_is_alone_or_is_given_wrong_keys_refuses_to_mask():
    one, two = MaskedParty("one"), MaskedParty("two")
    with pytest.raises(MaskingError, match="no parties to mask with"):
        one.mask(np.zeros(1, np.int64))
    with pytest.raises(MaskingError, match="one: a sum over fewer than two parties"):
        one.agree({"one": one.public_key}, b"")
    with pytest.raises(MaskingError, match="its own public key is not"):
        one.agree({"one": two.public_key, "two": two.public_key}, b"")
    with pytest.raises(MaskingError, match="public key of two is unusable"):
        one.agree({"one": one.public_key, "two": b"short"}, b"")
    with pytest.raises(MaskingError, match="public key of two is unusable"):
        one.agree({"one": one.public_key, "two": bytes(32)}, b"")  # a point of small order


def test_numbers_of_different_shapes_have_no_total():
    with pytest.raises(MaskingError, match=r"shape \(3,\), but those before have \(2,\)"):
        add_masked(np.zeros(2, np.int64), np.zeros(3, np.uint64))
