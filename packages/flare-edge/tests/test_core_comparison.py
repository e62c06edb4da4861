"""Asynchronous aggregation against synchronous rounds, with honest settings; slow."""

from __future__ import annotations

import statistics

import pytest

from flare_edge.virtual.comparing import Comparison, compare


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.at_length
def test_asynchronous_aggregation_reaches_a_target_three_times_as_fast_as_rounds():
    compared = compare(Comparison())
    buffered, all_of_them, first_ones = compared.speedups().values()
    assert statistics.mean(buffered) == 1.0
    assert min(all_of_them) > 3.0
    assert statistics.mean(first_ones) > 3.0
