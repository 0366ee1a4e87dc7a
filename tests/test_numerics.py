"""Hard data: finite and sensible models, or a clear error; never NaN, never silent nonsense."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.exceptions import ConvergenceWarning

from conftest import random_ratings
from matfac import ConvergenceError, ExplicitMF, ImplicitMF, LowRankMF, RankingMF

RATINGS = random_ratings(120, 90, 0.25, seed=1)

SOLVERS: dict[str, Any] = {
    "als": ExplicitMF,
    "als-exact": lambda **kw: ExplicitMF(cg_steps=None, **kw),
    "als-no-bias": lambda **kw: ExplicitMF(fit_bias=False, **kw),
    "sgd": lambda **kw: ExplicitMF(solver="sgd", deterministic=True, **kw),
    "sgd-no-bias": lambda **kw: ExplicitMF(solver="sgd", fit_bias=False, **kw),
    "ials": lambda **kw: ImplicitMF(alpha0=0.1, **kw),
    "ials-exact": lambda **kw: ImplicitMF(alpha0=0.1, cg_steps=None, **kw),
    "hu": lambda **kw: ImplicitMF(alpha=3.0, **kw),
    "hu-exact": lambda **kw: ImplicitMF(alpha=3.0, cg_steps=None, **kw),
}


def ranking(loss: str, *, reg_exponent: float = 1.0, **kw: Any) -> RankingMF:
    return RankingMF(loss=loss, deterministic=True, **kw)


SOLVERS |= {
    loss: functools.partial(ranking, loss) for loss in ("bpr", "warp", "logistic", "softmax")
}

SPARSE = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}


def assert_finite(model: Any, X: sp.csr_array) -> None:
    """Everything that a model gives out is a number."""
    for name in ("user_factors_", "item_factors_", "user_bias_", "item_bias_", "objective_"):
        value = getattr(model, name)
        assert value is None or np.isfinite(value).all(), name
    assert np.isfinite(model.predict(X)).all()
    assert np.isfinite(model.transform(X)).all()
    items, scores = model.recommend(np.arange(X.shape[0]), k=3, exclude_seen=False)
    assert np.isfinite(scores[items >= 0]).all()
    for record in model.history_:
        assert all(np.isfinite(value) for value in record.values())


# ------------------------------------------------------------------ any data, any parameters


@st.composite
def matrices(draw: st.DrawFn) -> sp.csr_array:
    """Small matrices of every awkward kind: constant, rank one, single entries, wild scales."""
    m, n = draw(st.integers(1, 12)), draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    known = rng.random((m, n)) < draw(st.sampled_from([0.05, 0.3, 1.0]))
    known[rng.integers(m), rng.integers(n)] = True
    kind = draw(st.sampled_from(["constant", "rank-one", "levels", "normal", "heavy", "repeated"]))
    values = {
        "constant": np.ones((m, n)),
        "rank-one": np.outer(rng.random(m) + 0.1, rng.random(n) + 0.1),
        "levels": rng.integers(1, 6, (m, n)).astype(float),
        "normal": np.abs(rng.standard_normal((m, n))) + 1e-3,
        "heavy": np.exp(6 * rng.standard_normal((m, n))),
        "repeated": np.tile(rng.random(n) + 0.1, (m, 1)),
    }[kind]
    scale = 10.0 ** draw(st.one_of(st.integers(-3, 3), st.integers(-40, 40)))
    return sp.csr_array(np.where(known, values, 0) * scale)


@pytest.mark.parametrize("name", SOLVERS)
@settings(max_examples=60, **SPARSE)
@given(
    X=matrices(),
    k=st.sampled_from([1, 2, 5, 17]),
    reg=st.sampled_from([0.0, 1e-12, 1e-3, 0.1, 10.0, 1e12]),
    exponent=st.sampled_from([0.0, 0.5, 1.0]),
    dtype=st.sampled_from(["float32", "float64"]),
    seed=st.integers(0, 9),
)
def test_a_fit_is_finite_or_a_clear_error(
    name: str, X: sp.csr_array, k: int, reg: float, exponent: float, dtype: str, seed: int
) -> None:
    model = SOLVERS[name](
        n_factors=k, reg=reg, reg_exponent=exponent, n_iter=6, dtype=dtype, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        said = ""
        try:
            model.fit(X)
        except (ValueError, ConvergenceError) as error:
            said = str(error)
    if said:
        assert any(word in said for word in ("beyond", "below", "no stored", "reg")), said
        assert not hasattr(model, "user_factors_")
    else:
        assert_finite(model, X)


@pytest.mark.parametrize("exponent", [-30, -11, 11, 12, 14])
@pytest.mark.parametrize("seed", range(3))
def test_systems_of_uneven_coordinates_are_solved(exponent: int, seed: int) -> None:
    """Without a ridge one factor of an item may be 1e17 times the other, and its pivot tiny."""
    for digit in (1.0, 0.37, 2.2):
        X = sp.csr_array([[digit * 10.0**exponent]])
        model = ImplicitMF(alpha=3.0, n_factors=2, n_iter=6, reg=0.0, random_state=seed)
        assert_finite(model.fit(X), X)


@pytest.mark.parametrize("k", [17, 70])  # side by side, and alone
@pytest.mark.parametrize("name", ["ials", "ials-exact", "hu", "hu-exact"])
def test_more_factors_than_the_rank_without_a_ridge(name: str, dtype: str, k: int) -> None:
    """Directions of rounding alone are left out: nothing grows from sweep to sweep."""
    shared = {"n_factors": k, "reg_exponent": 0.0, "n_iter": 6, "dtype": dtype, "random_state": 0}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        ratings = rng.integers(1, 6, (12, 7)) * (rng.random((12, 7)) < 0.5)
        X = sp.csr_array(ratings * 10.0 ** rng.integers(-12, 13))
        assert_finite(SOLVERS[name](reg=(0.0, 1e-12)[seed % 2], **shared).fit(X), X)


# ------------------------------------------------------------------ sensible


@pytest.mark.parametrize("name", ["als", "als-exact", "sgd"])
def test_constant_ratings_are_predicted(name: str) -> None:
    for constant in (1e-12, 3.0, 1e9):
        X = RATINGS.copy()
        X.data[:] = constant
        model = SOLVERS[name](n_factors=4, random_state=0).fit(X)
        users, items = X.nonzero()
        np.testing.assert_allclose(model.predict(users, items), constant, rtol=0.02)


@pytest.mark.parametrize("name", SOLVERS)
def test_one_entry(name: str) -> None:
    X = sp.csr_array(([4.0], ([1], [2])), shape=(3, 5))
    model = SOLVERS[name](n_factors=4, reg=1e-3, random_state=0).fit(X)
    assert_finite(model, X)
    if isinstance(model, ExplicitMF):
        assert model.predict(1, 2) == pytest.approx(4.0, rel=1e-3)
    else:
        assert np.argmax(model.predict(X)[1]) == 2


@pytest.mark.parametrize("name", ["ials", "hu", "bpr", "warp", "logistic", "softmax"])
def test_feedback_that_says_nothing(name: str) -> None:
    """Every user has every item: there is no order, and no item is left to recommend."""
    X = sp.csr_array(np.ones((20, 8)))
    model = SOLVERS[name](n_factors=4, random_state=0).fit(X)
    assert_finite(model, X)
    assert (model.recommend(np.arange(20), k=3)[0] == -1).all()
    scores = model.predict(X)
    assert np.ptp(scores, axis=0).max() < 1e-3  # all users are the same


@pytest.mark.parametrize("name", ["bpr", "warp", "logistic", "softmax"])
def test_positives_count_alike_at_any_scale(name: str) -> None:
    X = RATINGS.copy()
    models = []
    for scale in (1e-14, 1.0, 1e14):
        X.data = RATINGS.data * scale
        models.append(SOLVERS[name](n_factors=4, n_iter=3, random_state=0).fit(X))
    for model in models[1:]:
        np.testing.assert_array_equal(model.item_factors_, models[0].item_factors_)


@pytest.mark.parametrize("name", ["als", "als-exact", "sgd"])
@pytest.mark.parametrize("scale", [1e-14, 1e-9, 1e-3, 1e3, 1e9, 1e14])
def test_the_scale_of_ratings_does_not_matter(name: str, scale: float) -> None:
    """Ratings c times as large with a ridge of c times: factors and biases take its root and it."""
    kw: dict[str, Any] = {"n_factors": 4, "n_iter": 20, "random_state": 0}
    users, items = RATINGS.nonzero()
    spread = np.std(RATINGS.data)
    X = RATINGS.copy()
    X.data = X.data * scale
    model = SOLVERS[name](reg=0.05, **kw).fit(X)
    error = np.sqrt(np.mean((model.predict(users, items) - X.data) ** 2)) / scale
    assert error < spread


@pytest.mark.parametrize("name", ["als", "als-exact", "ials", "hu"])
def test_rank_deficient_data_without_a_ridge(name: str) -> None:
    rng = np.random.default_rng(0)
    X = sp.csr_array(np.outer(rng.random(40) + 0.5, rng.random(30) + 0.5))
    model = SOLVERS[name](n_factors=12, reg=0.0, n_iter=10, random_state=0).fit(X)
    assert_finite(model, X)
    if isinstance(model, ExplicitMF):
        users, items = X.nonzero()
        assert np.abs(model.predict(users, items) - X.data).max() < 0.05


# ------------------------------------------------------------------ clear errors


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["als", "als-no-bias", "ials", "hu"])
def test_gradient_steps_without_a_ridge_never_raise_the_objective(name: str, dtype: str) -> None:
    """Rows of fewer entries than factors: most directions are left to rounding."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        shape = rng.integers(5, 40, 2)
        X = random_ratings(int(shape[0]), int(shape[1]), rng.choice([0.1, 0.15, 0.3]), seed=seed)
        model = SOLVERS[name](n_factors=8, reg=0.0, n_iter=30, dtype=dtype, random_state=seed)
        values = [record["objective"] for record in model.fit(X).history_]
        assert np.isfinite(model.user_factors_).all()
        assert np.isfinite(model.item_factors_).all()
        assert np.max(np.diff(values)) <= 1e-4 * values[0]


@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("k", [16, 64, 128])
def test_many_steps_without_a_ridge_end_with_the_residual(k: int, twice: bool, dtype: str) -> None:
    """What rounding leaves of a residual lies along directions that no step may follow."""
    rng = np.random.default_rng(0)
    R = np.where(rng.random((150, 100)) < 0.2, 3 + rng.normal(size=(150, 100)), np.nan)
    if twice:
        R[:, 50:] = R[:, :50]
    model = ExplicitMF(n_factors=k, n_iter=8, reg=0.0, cg_steps=30, dtype=dtype, random_state=0)
    values = [record["objective"] for record in model.fit(R).history_]
    assert np.max(np.diff(values)) <= 1e-4 * values[0]
    error = (model.predict(*np.nonzero(~np.isnan(R))) - R[~np.isnan(R)]) ** 2
    assert error.sum() <= 1.01 * values[0]


@pytest.mark.parametrize("name", SOLVERS)
def test_values_beyond_the_dtype_are_named(name: str) -> None:
    X = RATINGS.copy()
    X.data[5] = 1e40
    with pytest.raises(ValueError, match=r"X\[0, \d+\] = 1e\+40 is beyond 1e\+15.*float64"):
        SOLVERS[name](n_factors=2).fit(X)
    X.data[5] = 1e200
    with pytest.raises(ValueError, match=r"1e\+200 is beyond 1e\+120.*divide X"):
        SOLVERS[name](n_factors=2, dtype="float64").fit(X)


def test_ratings_that_hardly_differ_are_refused() -> None:
    X = RATINGS.copy()
    X.data = X.data * 1e-25
    with pytest.raises(ValueError, match=r"standard deviation of .* below 1e-15.*multiply X"):
        ExplicitMF(n_factors=2).fit(X)
    ExplicitMF(n_factors=2, dtype="float64").fit(X)


def test_weights_that_are_all_zero_or_too_large() -> None:
    weights = RATINGS.copy()
    weights.data[:] = 0
    with pytest.raises(ValueError, match="weights are 0 for every entry"):
        ExplicitMF(n_factors=2).fit(RATINGS, weights=weights)
    weights.data[:] = 1e30
    with pytest.raises(ValueError, match=r"weights must be finite .* no more than 1e\+15"):
        ExplicitMF(n_factors=2).fit(RATINGS, weights=weights)


# ------------------------------------------------------------------ dense matrices


@pytest.mark.parametrize("nonnegative", [False, True])
@settings(max_examples=60, **SPARSE)
@given(
    X=matrices(),
    missing=st.sampled_from([0.0, 0.3, 0.9]),
    weighted=st.booleans(),
    k=st.sampled_from([1, 2, 5]),
    reg=st.sampled_from([0.0, 1e-12, 1e-3, 10.0, 1e12]),
    exponent=st.sampled_from([0.0, 1.0]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_a_dense_fit_is_finite_or_a_clear_error(
    nonnegative: bool, X: sp.csr_array, missing: float, weighted: bool, k: int, reg: float,
    exponent: float, dtype: str,
) -> None:  # fmt: skip
    rng = np.random.default_rng(0)
    with np.errstate(over="ignore"):
        dense = X.toarray().astype(dtype)
    dense[rng.random(dense.shape) < missing] = np.nan
    weights = rng.exponential(size=dense.shape) ** 4 if weighted else None
    model = LowRankMF(
        min(k, *dense.shape), reg=reg, reg_exponent=exponent, nonnegative=nonnegative, n_iter=6
    )
    said = ""
    try:
        model.fit(dense, weights=weights)
    except (ValueError, ConvergenceError) as error:
        said = str(error)
    if said:
        clear = ("beyond", "squares vanish", "no known cell", "contains infinity", "reg")
        assert any(word in said for word in clear), said
        assert not hasattr(model, "components_")
        return
    codes = model.transform(dense, weights=weights)
    for array in (model.components_, model.objective_, codes, model.impute(dense, weights=weights)):
        assert np.isfinite(array).all()
    scale = np.nanmax(np.abs(dense))  # 0 where all values vanish in float32
    assert np.abs(model.inverse_transform(codes)[~np.isnan(dense)]).max() <= 1e3 * scale


@pytest.mark.parametrize("nonnegative", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1e-14, 1e-6, 1.0, 1e6, 1e14])
def test_dense_matrices_of_less_than_full_rank(nonnegative: bool, dtype: str, scale: float) -> None:
    """More factors than the rank, no ridge, holes: the matrix comes back, at any scale."""
    rng = np.random.default_rng(0)
    X = (rng.random((40, 2)) @ rng.random((2, 30)) * scale).astype(dtype)
    holes = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    model = LowRankMF(n_factors=6, n_iter=100, nonnegative=nonnegative).fit(holes)
    known = ~np.isnan(holes)
    error = model.inverse_transform(model.transform(holes))[known] - X[known]
    assert np.linalg.norm(error) < 0.01 * np.linalg.norm(X[known])
    for constant in (0.0, scale):
        same = np.full((9, 7), constant, dtype)
        model = LowRankMF(n_factors=3, nonnegative=nonnegative).fit(same)
        assert model.inverse_transform(model.transform(same)) == pytest.approx(
            same, abs=1e-3 * scale
        )
    one = LowRankMF(n_factors=1).fit(np.array([[scale]], dtype))
    assert one.inverse_transform(one.transform([[scale]])) == pytest.approx(scale, rel=1e-3)


def test_dense_values_beyond_the_dtype_are_named() -> None:
    X = np.ones((5, 4), np.float32)
    X[2, 1] = np.nan
    X[3, 2] = -1e16
    with pytest.raises(ValueError, match=r"X\[3, 2\] = -1e\+16 is beyond 1e\+15.*float64"):
        LowRankMF(n_factors=2).fit(X)
    model = LowRankMF(n_factors=2).fit(X.astype(np.float64))
    with pytest.raises(ValueError, match=r"X has no value of 1e-15 or more.*multiply X"):
        LowRankMF(n_factors=2).fit(np.full((5, 4), 1e-16, np.float32))
    with pytest.raises(ValueError, match=r"1e\+200 is beyond 1e\+120"):
        model.transform(np.full((1, 4), 1e200))


# ------------------------------------------------------------------ divergence


def test_sgd_that_diverges_goes_on_with_smaller_steps_and_says_so() -> None:
    model = ExplicitMF(n_factors=6, solver="sgd", learning_rate=300.0, random_state=0)
    with pytest.warns(
        ConvergenceWarning, match=r"diverged in epoch 1.*learning_rate=300; run ag"
    ) as told:
        model.fit(RATINGS)
    assert told[0].filename == __file__
    rates = [record["learning_rate"] for record in model.history_]
    assert rates[0] < 300
    assert all(300 / rate == 4 ** round(np.log2(300 / rate) / 2) for rate in rates)
    assert rates == sorted(rates, reverse=True)
    assert model.history_[-1]["train_rmse"] < np.std(RATINGS.data)
    calm = ExplicitMF(n_factors=6, solver="sgd", random_state=0).fit(RATINGS)
    assert [record["learning_rate"] for record in calm.history_] == [1.5] * 15


def test_divergence_is_seen_within_the_epoch() -> None:
    """The core stops once the loss is past the limit: most ratings are not visited."""
    from conftest import core_csr
    from matfac import _engine
    from matfac._sgd import make_plan

    X = random_ratings(400, 300, 0.5, seed=3)
    plan = make_plan(core_csr(X, "float32"), 8, 0, 1)
    losses = {}
    for limit in (1.0, 1e30):
        tables = {name: _engine.empty_table(n, 8, np.float32)
                  for name, n in (("users", 400), ("items", 300))}  # fmt: skip
        rows = {name: np.zeros((n, 4), np.float32)
                for name, n in (("user_rows", 400), ("item_rows", 300))}  # fmt: skip
        for table in rows.values():
            table[:, 1] = 100.0
        losses[limit] = plan.epoch(
            k=8, **tables, **rows, mean=0.0, rate=1e-6, bias_rate=1.0, bias=True, number=0,
            deterministic=True, limit=limit, n_threads=1,
        )  # fmt: skip
    assert 1.0 < losses[1.0] < losses[1e30] / 10


def test_exhausted_retries_are_an_error() -> None:
    with pytest.raises(ConvergenceError, match=r"learning_rate=1e\+15; so it did down to learning"):
        ExplicitMF(n_factors=6, solver="sgd", learning_rate=1e15, random_state=0).fit(RATINGS)
