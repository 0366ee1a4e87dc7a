"""Rows whose normal equations are solved several at a time, a lane each."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import table
from row_cases import N, assert_equal_to_twin, case, objective, solve

# Longer than three quarters of 64 factors; one more than sixteen lanes hold.
LENGTHS = [49 + (7 * i) % (N - 49) for i in range(17)]


@pytest.mark.parametrize("k", [1, 2, 7, 16, 17, 31, 33, 48, 64, 65, 80])  # alone from 65 on
@pytest.mark.parametrize("loss", ["ials", "hu", "ratings"])
@pytest.mark.parametrize("n_rows", [9, 13, 17])
def test_rows_side_by_side_equal_the_twin(
    loss: str, n_rows: int, k: int, dtype: str, isa: str
) -> None:
    c = case(LENGTHS[:n_rows], k, loss)
    assert_equal_to_twin(c, loss, dtype, cg_steps=0)


@pytest.mark.parametrize("loss", ["ials", "ratings"])
def test_a_row_gets_the_same_bits_in_every_lane(loss: str, dtype: str, isa: str) -> None:
    c = case(LENGTHS[:16], 24, loss)
    straight, biases, _ = solve(c, loss, dtype, cg_steps=0)
    turned = {**c, **{name: c[name][::-1].copy() for name in ("x", "ridge")}}
    turned["matrix"] = c["matrix"][np.arange(16)[::-1]]
    bounds = c["matrix"].indptr
    turned["weights"] = np.concatenate(
        [c["weights"][bounds[r] : bounds[r + 1]] for r in range(16)][::-1]
    )
    if c["bias"] is not None:
        turned["bias"] = (c["bias"][0][::-1].copy(), c["bias"][1])
    back, turned_biases, _ = solve(turned, loss, dtype, cg_steps=0)
    np.testing.assert_array_equal(straight, back[::-1])
    if biases is not None and turned_biases is not None:
        np.testing.assert_array_equal(biases, turned_biases[::-1])


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("loss", ["hu", "ratings"])
def test_a_factor_that_no_entry_has_stays_zero(
    loss: str, ridge: float, dtype: str, isa: str
) -> None:
    c = case(LENGTHS[:16], 20, loss)
    c["y"][:, 5] = 0.0
    c["weights"][:] = 1.0
    c["ridge"] = np.full(16, ridge)
    x, bias, _ = solve(c, loss, dtype, cg_steps=0)
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x[:, 5], 0.0, atol=1e-6)
    start = objective(c, loss, c["x"], None if c["bias"] is None else c["bias"][0])
    assert objective(c, loss, x.astype("float64"), bias) < start


def test_rows_with_a_prior_side_by_side(dtype: str, isa: str) -> None:
    """A heavy ridge pulls all of them to where the prior is."""
    c = case(LENGTHS[:16], 24, "ratings")
    c["ridge"] = np.full(16, 1e6)
    prior = np.random.default_rng(7).normal(size=(16, 24))
    x, _, _ = solve(c, "ratings", dtype, cg_steps=0, prior=table(prior, dtype))
    np.testing.assert_allclose(x, prior, atol=1e-3)
