from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flare_stats.algebra import AlgebraError, CoMoments


def merged(pieces: list[pd.DataFrame]) -> CoMoments:
    whole = CoMoments(pieces[0].shape[1])
    for piece in pieces:
        moments = CoMoments(piece.shape[1])
        moments.add([piece[name].to_numpy() for name in piece])
        whole.merge(CoMoments.from_data(moments.to_data()))
    return whole


@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 200),
    st.sampled_from([0, 0.05, 0.5, 0.95]),
    st.lists(st.integers(0, 200), max_size=4).map(sorted),
)
def test_matrices_of_any_split_equal_pandas_pooled_ones(seed: int, count: int, gaps: float, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, 4))
    values[:, 1] += 2 * values[:, 0]
    frame = pd.DataFrame(np.where(rng.random(values.shape) < gaps, np.nan, values))
    frame[4] = 7.1
    bounds = [0, *(min(cut, count) for cut in cuts), count]
    moments = merged([frame.iloc[low:high] for low, high in pairwise(bounds)])
    assert moments.covariance() == pytest.approx(frame.cov().to_numpy(), rel=1e-12, abs=1e-14, nan_ok=True)
    assert moments.correlation() == pytest.approx(frame.corr().to_numpy(), abs=1e-12, nan_ok=True)
    assert (np.diag(moments.count) == frame.count()).all()


def test_columns_of_1e9_plus_noise_have_the_covariance_of_their_noise() -> None:
    noise = np.random.default_rng(2).normal(size=(100_000, 2)) @ np.array([[1, 0.5], [0, 1]])
    shifted = 1e9 + noise
    moments = merged([pd.DataFrame(part) for part in np.array_split(shifted, 5)])
    assert moments.covariance() == pytest.approx(np.cov((shifted - 1e9).T), rel=1e-12)  # the difference is exact


def test_a_pair_that_shares_only_far_rows_keeps_its_digits() -> None:
    near, far = np.zeros(1000), 1e9 + np.arange(1000.0)
    first = np.concatenate([near, far])
    second = np.concatenate([np.full(1000, np.nan), np.arange(1000.0) * 2])
    moments = merged([pd.DataFrame({"first": first, "second": second})])
    assert moments.covariance()[0, 1] == pytest.approx(2 * np.arange(1000.0).var(ddof=1), rel=1e-12)
    assert moments.correlation()[0, 1] == pytest.approx(1, rel=1e-12)


def test_columns_of_all_types_and_without_values_are_taken() -> None:
    moments = CoMoments(4)
    moments.add([pa.array([1, 2, None]), pa.array(["1", "x", "3"]), pa.array([True, False, True]), pa.nulls(3)])
    assert moments.count.tolist() == [[2, 1, 2, 0], [1, 2, 2, 0], [2, 2, 3, 0], [0, 0, 0, 0]]
    assert moments.covariance()[0, 2] == -0.5


def test_other_numbers_of_columns_are_refused() -> None:
    with pytest.raises(AlgebraError, match="2 columns do not merge with those of 3"):
        CoMoments(3).merge(CoMoments(2))
    with pytest.raises(AlgebraError, match="1 columns were added to moments of 3"):
        CoMoments(3).add([np.array([1.0])])


def test_rows_that_hold_nothing_leave_the_matrices_empty() -> None:
    moments = merged([pd.DataFrame(np.empty((0, 2))), pd.DataFrame(np.full((3, 2), np.nan))])
    assert moments.count.tolist() == [[0, 0], [0, 0]]
    assert np.isnan(moments.covariance()).all()
    assert np.isnan(moments.correlation()).all()
