"""Fold-in of users and items: the closed form, for every solver, with biases and weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import core_csr, random_ratings, table
from matfac import ExplicitMF, ImplicitMF, Interactions, RankingMF, _core, reference

RATINGS = random_ratings(90, 70, 0.25, seed=1)
CLICKS = random_ratings(90, 70, 0.2, seed=2, implicit=True)
CLICKS.data *= np.random.default_rng(0).integers(1, 4, CLICKS.nnz)
WEIGHTS = RATINGS.copy()
WEIGHTS.data = np.random.default_rng(1).uniform(0.2, 3.0, RATINGS.nnz)
CLICK_WEIGHTS = CLICKS.copy()
CLICK_WEIGHTS.data = np.random.default_rng(3).uniform(0.0, 2.0, CLICKS.nnz)

MODELS: dict[str, tuple[Any, sp.csr_array]] = {
    "als": (lambda **kw: ExplicitMF(n_factors=6, random_state=0, **kw), RATINGS),
    "als-nu": (
        lambda **kw: ExplicitMF(n_factors=6, reg=0.5, reg_exponent=0.4, random_state=0, **kw),
        RATINGS,
    ),
    "als-no-bias": (
        lambda **kw: ExplicitMF(n_factors=6, fit_bias=False, random_state=0, **kw),
        RATINGS,
    ),
    "als-long": (lambda **kw: ExplicitMF(n_factors=260, reg=0.3, random_state=0, **kw), RATINGS),
    "sgd": (lambda **kw: ExplicitMF(n_factors=6, solver="sgd", random_state=0, **kw), RATINGS),
    "ials": (lambda **kw: ImplicitMF(n_factors=6, random_state=0, **kw), CLICKS),
    "hu": (lambda **kw: ImplicitMF(n_factors=6, alpha=5.0, reg=0.5, random_state=0, **kw), CLICKS),
}


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[Any, sp.csr_array]:
    """A constructor of an estimator, and data for it."""
    return MODELS[request.param]


def closed_form(
    model: Any, X: sp.csr_array, *, items: bool, weights: sp.csr_array | None = None
) -> np.ndarray:
    """The exact solution of X's rows (or, for `items`, columns) in float64."""
    rows = sp.csr_array(X.T) if items else X
    w = None if weights is None else sp.csr_array(weights.T if items else weights).data
    csr = rows.indptr, rows.indices, rows.data
    fixed = (model.user_factors_ if items else model.item_factors_).astype(np.float64)
    bias = model.user_bias_ if items else model.item_bias_
    start = np.zeros((rows.shape[0], fixed.shape[1]))
    if isinstance(model, ImplicitMF):
        alpha = {"alpha": model.alpha} if model.alpha is not None else {"alpha0": 0.1}
        counts = reference.entry_counts(csr, len(fixed), w)[0]
        exponent = 0.0
        if model.alpha is None:
            values = rows.data if w is None else rows.data * w
            counts = reference.entry_counts(csr, len(fixed), values)[0] + 0.1 * len(fixed)
            exponent = 1.0
        ridge = reference.row_ridge(counts, model.reg, exponent)
        return reference.implicit_half_sweep(csr, fixed, start, ridge=ridge, weights=w, **alpha)
    counts = reference.entry_counts(csr, len(fixed), w)[0]
    factors, own = reference.explicit_half_sweep(
        csr,
        fixed,
        np.zeros(len(fixed)) if bias is None else bias.astype(np.float64),
        start,
        np.zeros(len(start)),
        mean=model.mean_,
        ridge=reference.row_ridge(counts, model.reg, model.reg_exponent),
        weights=w,
        fit_bias=bias is not None,
    )
    return factors if bias is None else np.column_stack((factors, own))


def own_factors(model: Any) -> np.ndarray:
    if model.user_bias_ is None:
        return model.user_factors_
    return np.column_stack((model.user_factors_, model.user_bias_))


def test_training_rows_fold_in_to_their_own_factors(case: Any) -> None:
    make, X = case
    model = make().fit(X)
    np.testing.assert_allclose(model.transform(X), own_factors(model), atol=2e-5)
    np.testing.assert_allclose(model.transform(X), closed_form(model, X, items=False), atol=2e-4)


def test_columns_fold_in_to_the_closed_form(case: Any, dtype: str) -> None:
    make, X = case
    model = make(dtype=dtype).fit(X)
    tolerance = 2e-4 if dtype == "float32" else 1e-8
    wanted = closed_form(model, X, items=True)
    folded = model.fold_in_items(X)
    assert folded.dtype == dtype
    np.testing.assert_allclose(folded, wanted, atol=tolerance * max(1.0, np.abs(wanted).max()))
    np.testing.assert_allclose(model.fold_in_items(X[:, [5, 2]]), folded[[5, 2]], atol=1e-5)


def test_after_an_item_half_sweep_a_column_folds_in_to_its_own_factor(case: Any) -> None:
    make, X = case
    model = make(dtype="float64").fit(X)
    swept = model.fold_in_items(X)
    model.item_factors_ = swept[:, : model.item_factors_.shape[1]]
    if model.item_bias_ is not None:
        model.item_bias_ = swept[:, -1]
    np.testing.assert_allclose(model.fold_in_items(X[:, :3]), swept[:3], atol=1e-9)


@pytest.mark.parametrize("name", ["als", "als-nu", "als-no-bias", "sgd", "ials", "hu"])
def test_weighted_rows_and_columns(name: str) -> None:
    make, X = MODELS[name]
    weights = CLICK_WEIGHTS if X is CLICKS else WEIGHTS
    model = make(dtype="float64").fit(X, weights=weights)
    np.testing.assert_allclose(model.transform(X, weights=weights), own_factors(model), atol=1e-7)
    np.testing.assert_allclose(
        model.fold_in_items(X, weights=weights),
        closed_form(model, X, items=True, weights=weights),
        atol=1e-7,
    )
    with pytest.raises(ValueError, match="weights has no weight for"):
        model.transform(X, weights=sp.csr_array(X.shape))


def test_a_model_by_sampled_negatives_takes_no_weights() -> None:
    model = RankingMF(n_factors=4, n_iter=1, random_state=0).fit(CLICKS)
    with pytest.raises(ValueError, match="weights: RankingMF takes none"):
        model.transform(CLICKS, weights=CLICKS)


def test_rows_and_columns_without_entries_fold_in_to_zero(case: Any) -> None:
    make, X = case
    model = make().fit(X)
    assert not model.transform(sp.csr_array((3, 70))).any()
    assert not model.fold_in_items(sp.csr_array((90, 3))).any()
    assert model.fold_in_items(sp.csr_array((90, 1))).shape == (1, model._n_features_out)
    _, scores = model.recommend(X=sp.csr_array((1, 70)), k=1)
    best = model.mean_ + (0.0 if model.item_bias_ is None else model.item_bias_.max())
    assert scores[0, 0] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize("to", ["csc", "coo", "lil", "dok"])
@pytest.mark.parametrize("kind", [np.int8, np.float64, np.float32])
def test_formats_and_dtypes(to: str, kind: type) -> None:
    model = MODELS["als"][0]().fit(RATINGS)
    X = RATINGS.astype(kind).asformat(to)
    np.testing.assert_array_equal(model.transform(X), model.transform(RATINGS))
    np.testing.assert_array_equal(model.fold_in_items(X), model.fold_in_items(RATINGS))
    dense = RATINGS.toarray()
    dense[dense == 0] = np.nan
    np.testing.assert_array_equal(model.fold_in_items(dense), model.fold_in_items(RATINGS))


def test_interactions_are_aligned_and_unknown_ids_left_out() -> None:
    coo = RATINGS.tocoo()
    names = np.array([f"u{u:02d}" for u in range(90)]), np.array([f"i{i:02d}" for i in range(70)])
    data = Interactions.from_arrays(names[0][coo.coords[0]], names[1][coo.coords[1]], coo.data)
    model = ExplicitMF(n_factors=4, random_state=0).fit(data)
    with_stranger = Interactions.from_arrays(
        ["u03", "u01", "nobody"], ["fresh", "fresh", "fresh"], [5.0, 2.0, 1.0]
    )
    column = np.full((len(model.user_factors_), 1), np.nan)
    column[list(model.user_ids_).index("u03")] = 5.0
    column[list(model.user_ids_).index("u01")] = 2.0
    np.testing.assert_array_equal(model.fold_in_items(with_stranger), model.fold_in_items(column))
    row = Interactions.from_arrays(["me", "me"], ["i07", "unheard of"], [5.0, 1.0])
    known = Interactions.from_arrays(["me"], ["i07"], [5.0])
    np.testing.assert_array_equal(model.transform(row), model.transform(known))


def test_out_of_range_entries_are_refused() -> None:
    model = MODELS["als"][0]().fit(RATINGS)
    wide = sp.csr_array((np.array([3.0]), ([0], [70])), shape=(1, 71))
    with pytest.raises(ValueError, match=r"X has 71 features.*expecting 70"):
        model.transform(wide)
    with pytest.raises(ValueError, match=r"X has 71 features.*expecting 70"):
        model.recommend(X=wide)
    with pytest.raises(ValueError, match="each of the model's 90 users, got shape"):
        model.fold_in_items(sp.csr_array((91, 2)))


def test_ratings_are_folded_in_in_few_steps(dtype: str, isa: str) -> None:
    """The preconditioner is as good without numbers of entries, and in a given basis, as with."""
    rng = np.random.default_rng(0)
    n, k, rows = 2000, 140, 20
    fixed = table(rng.normal(size=(n, k)) * np.exp(-np.linspace(0, 5, k)) * 0.3, dtype)
    X = sp.random_array((rows, n), density=0.04, rng=rng, format="csr", data_sampler=rng.normal)
    basis = _core.shared_basis(fixed, k=k, n_threads=1)
    answers = []
    for given in ({"fixed_weight": np.ones(n, dtype)}, {}, {"basis": basis}):
        solved = _core.empty_table(rows, k, dtype)
        _core.half_sweep(
            core_csr(X, dtype), loss="ratings", mean=0.0, k=k, fixed=fixed, solved=solved,
            ridge=np.full(rows, 4.0, dtype), cg_steps=12, keep_basis=True, n_threads=1, **given,
        )  # fmt: skip
        answers.append(solved)
    exact = _core.empty_table(rows, k, dtype)
    _core.half_sweep(
        core_csr(X, dtype), loss="ratings", mean=0.0, k=k, fixed=fixed, solved=exact,
        ridge=np.full(rows, 4.0, dtype), n_threads=1, cg_steps=0,
    )  # fmt: skip
    for answer in answers:
        np.testing.assert_allclose(answer, exact, atol=1e-5 * np.abs(exact).max())
