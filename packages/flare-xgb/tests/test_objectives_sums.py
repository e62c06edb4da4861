"""Sums that do not depend on the order of the terms."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from flare_xgb.objectives.sums import exact_sums, total


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e80, max_value=1e80), max_size=30))
def test_a_sum_is_the_exact_sum_rounded_once(terms):
    terms = [each if abs(each) > 1e-80 else 0.0 for each in terms]  # what is less than 2⁻³²⁰ in a term is cut off
    exact = float(sum((Fraction(each) for each in terms), Fraction(0)))
    assert total(exact_sums(np.array(terms)))[0] == exact


def test_a_sum_with_nan_or_both_infinities_is_nan():
    values = total(exact_sums([1, np.nan], [np.inf, 1], [-np.inf], [np.inf, -np.inf]))
    np.testing.assert_array_equal(values, [np.nan, np.inf, -np.inf, np.nan])
