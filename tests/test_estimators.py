"""Behaviour of the fitted estimators."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import matfac
from conftest import check_interrupted, random_ratings
from matfac import ConvergenceError, ExplicitMF, ImplicitMF, Interactions, reference

RATINGS = random_ratings(120, 90, 0.25, seed=1)
CLICKS = random_ratings(120, 90, 0.2, seed=2, implicit=True)

MODELS = {
    "als": (lambda **kw: ExplicitMF(n_factors=6, random_state=0, **kw), RATINGS),
    "als-exact": (
        lambda **kw: ExplicitMF(n_factors=6, cg_steps=None, random_state=0, **kw),
        RATINGS,
    ),
    "als-no-bias": (
        lambda **kw: ExplicitMF(n_factors=6, fit_bias=False, random_state=0, **kw),
        RATINGS,
    ),
    "sgd": (lambda **kw: ExplicitMF(n_factors=6, solver="sgd", random_state=0, **kw), RATINGS),
    "als-nonnegative": (
        lambda **kw: ExplicitMF(n_factors=6, nonnegative=True, random_state=0, **kw),
        RATINGS,
    ),
    "sgd-nonnegative": (
        lambda **kw: ExplicitMF(n_factors=6, solver="sgd", nonnegative=True, random_state=0, **kw),
        RATINGS,
    ),
    "ials": (lambda **kw: ImplicitMF(n_factors=6, random_state=0, **kw), CLICKS),
    "ials-nonnegative": (
        lambda **kw: ImplicitMF(n_factors=6, nonnegative=True, random_state=0, **kw),
        CLICKS,
    ),
    "hu": (lambda **kw: ImplicitMF(n_factors=6, alpha=5.0, reg=0.5, random_state=0, **kw), CLICKS),
}


@pytest.fixture(params=MODELS)
def case(request: pytest.FixtureRequest) -> tuple[Any, sp.csr_array]:
    """A constructor of an estimator, and data for it."""
    return MODELS[request.param]


def test_training_rows_fold_in_to_their_own_factors(case: Any) -> None:
    make, X = case
    model = make().fit(X)
    codes = model.transform(X)
    np.testing.assert_allclose(codes[:, :6], model.user_factors_, atol=1e-5)
    if model.user_bias_ is not None:
        np.testing.assert_allclose(codes[:, 6], model.user_bias_, atol=1e-5)
    np.testing.assert_allclose(
        model.inverse_transform(codes), model.predict(X), rtol=1e-5, atol=1e-5
    )
    users, items = np.meshgrid(np.arange(120), np.arange(90), indexing="ij")
    np.testing.assert_allclose(model.predict(users, items), model.predict(X), rtol=1e-4, atol=1e-4)


def test_objective_is_the_references(case: Any) -> None:
    make, X = case
    model = make().fit(X)
    factors = reference.Factors(
        model.user_factors_, model.item_factors_, model.user_bias_, model.item_bias_, model.mean_
    )
    csr = (X.indptr, X.indices, X.data)
    if isinstance(model, ExplicitMF):
        wanted = reference.explicit_objective(csr, factors, reg=model.reg, exponent=1.0)
    elif model.alpha is not None:
        wanted = reference.implicit_objective(csr, factors, reg=model.reg, exponent=0.0, alpha=5.0)
    else:
        wanted = reference.implicit_objective(csr, factors, reg=model.reg, exponent=1.0, alpha0=0.1)
    assert model.objective_ == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("name", ["als", "als-exact", "ials", "hu"])
def test_als_objective_falls_every_epoch(name: str) -> None:
    make, X = MODELS[name]
    model = make(dtype="float64", n_iter=12).fit(X)
    values = [record["objective"] for record in model.history_] + [model.objective_]
    assert (np.diff(values) <= 1e-9 * values[0]).all()


def test_fit_is_reproducible_and_independent_of_threads(case: Any) -> None:
    make, X = case
    kw = {"deterministic": True} if isinstance(make(), ExplicitMF) else {}
    models = [make(n_threads=n, **kw).fit(X) for n in (1, 2)]
    np.testing.assert_array_equal(models[0].user_factors_, models[1].user_factors_)
    np.testing.assert_array_equal(models[0].item_factors_, models[1].item_factors_)


@pytest.mark.filterwarnings("ignore:Constructing a DIA matrix")
@pytest.mark.parametrize("to", ["csr", "csc", "coo", "lil", "dok", "bsr", "dia"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_every_sparse_format_gives_the_same_model(to: str, kind: str, index: type) -> None:
    base = sp.csr_array(RATINGS) if kind == "array" else sp.csr_matrix(RATINGS)
    X = base.asformat(to)
    for name in ("indices", "indptr", "offsets"):
        if hasattr(X, name):
            setattr(X, name, getattr(X, name).astype(index))
    X = X.astype(np.float32)
    before = X.copy()
    wanted = ExplicitMF(n_factors=3, random_state=0).fit(RATINGS)
    model = ExplicitMF(n_factors=3, random_state=0).fit(X)
    np.testing.assert_array_equal(model.user_factors_, wanted.user_factors_)
    assert (before != X).nnz == 0


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize(
    "given", [lambda X: X, lambda X: Interactions(X, *map(np.arange, X.shape))]
)
def test_a_model_keeps_what_was_seen_when_x_changes(given: Any, index: type) -> None:
    X = sp.csr_array(CLICKS, copy=True)
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    data = given(X)
    model = ImplicitMF(n_factors=3, random_state=0).fit(data)
    wanted = model.recommend(k=5)[0]
    for mine in (X, getattr(data, "matrix", X)):
        mine.data[:10] = 0
        mine.eliminate_zeros()
    np.testing.assert_array_equal(model.recommend(k=5)[0], wanted)


def test_what_fills_up_blocks_is_no_rating() -> None:
    X = RATINGS.tobsr((1, RATINGS.shape[1]))
    assert X.nnz > RATINGS.nnz
    assert Interactions(X, *map(np.arange, X.shape)).nnz == RATINGS.nnz
    model = ExplicitMF(n_factors=3, random_state=0).fit(X)
    wanted = ExplicitMF(n_factors=3, random_state=0).fit(RATINGS)
    np.testing.assert_array_equal(model.user_factors_, wanted.user_factors_)


def test_dense_with_nan_equals_sparse() -> None:
    dense = RATINGS.toarray()
    dense[dense == 0] = np.nan
    model = ExplicitMF(n_factors=3, random_state=0).fit(dense)
    wanted = ExplicitMF(n_factors=3, random_state=0).fit(RATINGS)
    np.testing.assert_array_equal(model.user_factors_, wanted.user_factors_)
    clicks = ImplicitMF(n_factors=3, random_state=0).fit(CLICKS.toarray())
    wanted_clicks = ImplicitMF(n_factors=3, random_state=0).fit(CLICKS)
    np.testing.assert_array_equal(clicks.user_factors_, wanted_clicks.user_factors_)


def test_explicit_zeros_are_ratings_and_no_clicks() -> None:
    X = sp.csr_array((np.array([0.0, 4.0, 2.0]), ([0, 0, 1], [0, 1, 1])), shape=(2, 2))
    assert ExplicitMF(n_factors=1).fit(X).mean_ == pytest.approx(2.0)
    model = ImplicitMF(n_factors=1).fit(X)
    items, _ = model.recommend([0], k=2)
    assert items.tolist() == [[0, -1]]


def test_unsorted_and_duplicate_entries_follow_scipys_sum() -> None:
    coo = sp.coo_array((np.array([1.0, 2.0, 5.0]), ([0, 0, 1], [1, 1, 0])), shape=(2, 2))
    dense = np.array([[np.nan, 3.0], [5.0, np.nan]])
    a, b = (ExplicitMF(n_factors=1, random_state=0).fit(X) for X in (coo, dense))
    np.testing.assert_array_equal(a.user_factors_, b.user_factors_)
    unsorted = sp.csr_array((np.array([4.0, 3.0]), np.array([1, 0]), np.array([0, 2, 2])), (2, 2))
    ExplicitMF(n_factors=1).fit(unsorted)
    assert unsorted.indices.tolist() == [1, 0]


def test_rows_and_columns_without_entries_are_zero(case: Any) -> None:
    make, X = case
    model = make().fit(X)
    assert not model.user_factors_[60].any()
    assert not model.item_factors_[30].any() or isinstance(model, ExplicitMF)
    assert np.isfinite(model.user_factors_).all()
    assert np.isfinite(model.item_factors_).all()
    assert model.predict(60, [0, 1]).shape == (2,)


def test_recommend_is_the_brute_force_order(case: Any) -> None:
    make, X = case
    model = make().fit(X)
    scores = model.predict(X).astype(np.float64)
    scores[X.toarray() != 0] = -np.inf
    lists, values = model.recommend(k=7)
    wanted = np.sort(scores, axis=1)[:, ::-1][:, :7]
    np.testing.assert_allclose(values, wanted, rtol=1e-4, atol=1e-4)
    assert (X.toarray()[np.arange(120)[:, None], lists] == 0).all()
    some, _ = model.recommend([5, 3], k=7)
    np.testing.assert_array_equal(some, lists[[5, 3]])
    folded, _ = model.recommend(X=X[[5, 3]], k=7)
    np.testing.assert_array_equal(folded, some)
    everything, _ = model.recommend([5], k=90, exclude_seen=False)
    assert sorted(everything[0]) == list(range(90))


def test_predict_broadcasts_ids() -> None:
    named = matfac.Interactions(RATINGS, [f"u{i:03}" for i in range(120)], np.arange(90) + 7)
    model = ExplicitMF(n_factors=2, random_state=0).fit(named)
    table = model.predict([["u003"], ["u001"]], [7, 9, 96])
    assert table.shape == (2, 3)
    np.testing.assert_array_equal(table[1], [model.predict("u001", i) for i in (7, 9, 96)])


def test_short_lists_are_padded() -> None:
    model = ImplicitMF(n_factors=2, random_state=0).fit(CLICKS)
    lists, scores = model.recommend([0], k=100)
    n = 90 - CLICKS[[0]].nnz
    assert (lists[0, :n] >= 0).all()
    assert (lists[0, n:] == -1).all()
    assert np.isneginf(scores[0, n:]).all()


def test_equal_scores_come_by_lower_index() -> None:
    model = ExplicitMF(n_factors=2, random_state=0).fit(RATINGS)
    model.item_factors_ = np.zeros_like(model.item_factors_)
    model.item_bias_ = np.zeros_like(model.item_bias_)
    assert model.recommend([0], k=5, exclude_seen=False)[0].tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("metric", ["cosine", "inner"])
def test_similar_is_brute_force_without_itself(case: Any, metric: str) -> None:
    make, X = case
    model = make().fit(X)
    for factors, similar in (
        (model.item_factors_, model.similar_items),
        (model.user_factors_, model.similar_users),
    ):
        norms = np.linalg.norm(factors, axis=1, keepdims=True) if metric == "cosine" else 1.0
        unit = factors / np.where(norms > 0, norms, 1.0)
        scores = unit @ unit[[4, 9]].T
        scores[[4, 9], [0, 1]] = -np.inf
        near, values = similar([4, 9], k=5, metric=metric)
        np.testing.assert_allclose(values, np.sort(scores, axis=0)[::-1][:5].T, atol=1e-5)
        assert not ({4} & set(near[0]))
        assert not ({9} & set(near[1]))


def test_history_validation_and_callback() -> None:
    held_out = random_ratings(120, 90, 0.05, seed=9)
    seen: list[tuple[int, float]] = []

    def stop_after_three(epoch: int, record: dict[str, float]) -> bool:
        seen.append((epoch, record["objective"]))
        return epoch == 3

    model = ExplicitMF(n_factors=4, random_state=0, callback=stop_after_three)
    model.fit(RATINGS, validation=held_out)
    assert [epoch for epoch, _ in seen] == [1, 2, 3]
    assert model.n_iter_ == 3
    assert set(model.history_[0]) == {
        "epoch",
        "objective",
        "train_rmse",
        "validation_rmse",
        "seconds",
    }
    ImplicitMF(n_factors=4, n_iter=2).fit(CLICKS, validation=held_out)
    users, items = held_out.tocoo().coords
    lone = ExplicitMF(n_factors=4, random_state=0, n_iter=3).fit(RATINGS, validation=held_out)
    error = lone.predict(users, items) - held_out.data
    assert lone.history_[-1]["validation_rmse"] == pytest.approx(
        np.sqrt(np.mean(error**2)), rel=0.05
    )


@pytest.mark.parametrize("name", ["als", "sgd", "ials"])
def test_early_stopping_returns_to_the_best_epoch(name: str) -> None:
    make, X = MODELS[name]
    model = make(early_stopping=True, n_iter=60, patience=2, reg=1e-4).fit(X)
    key = "validation_ndcg@10" if name == "ials" else "validation_rmse"
    sign = -1 if name == "ials" else 1
    values = [sign * record[key] for record in model.history_]
    assert len(values) < 60
    assert model.n_iter_ == int(np.argmin(values)) + 1


def test_sgd_divergence_names_epoch_and_learning_rate_and_keeps_the_old_model() -> None:
    model = ExplicitMF(n_factors=6, solver="sgd", random_state=0).fit(RATINGS)
    before = model.user_factors_.copy()
    model.set_params(learning_rate=1e6)
    with pytest.raises(ConvergenceError, match=r"epoch \d+.*learning_rate=1e\+06"):
        model.fit(RATINGS)
    np.testing.assert_array_equal(model.user_factors_, before)


@pytest.mark.parametrize("solver", ["als", "sgd"])
def test_interrupt_keeps_the_last_whole_epoch(solver: str) -> None:
    X = matfac.datasets.planted_ratings(n_users=3000, n_items=2000, nnz=600_000, seed=0).train
    make = partial(
        ExplicitMF, 64, solver=solver, n_iter=100_000, random_state=0, deterministic=True
    )
    check_interrupted(make, X)


def test_weights_of_one_change_nothing_and_zero_weights_forget() -> None:
    ones = RATINGS.copy()
    ones.data = np.ones_like(ones.data)
    plain = ExplicitMF(n_factors=3, cg_steps=None, random_state=0).fit(RATINGS)
    weighted = ExplicitMF(n_factors=3, cg_steps=None, random_state=0).fit(RATINGS, weights=ones)
    np.testing.assert_allclose(weighted.user_factors_, plain.user_factors_, atol=1e-5)
    spoilt = RATINGS.copy()
    spoilt.data[:20] = 1000.0
    ones.data[:20] = 0.0
    robust = ExplicitMF(n_factors=3, cg_steps=None, random_state=0).fit(spoilt, weights=ones)
    assert robust.mean_ == pytest.approx(RATINGS.data[20:].mean(), rel=1e-5)


@pytest.mark.parametrize("loss", [{}, {"alpha": 5.0, "reg": 0.5}])
def test_weights_of_clicks(loss: dict[str, float], dtype: str) -> None:
    make = partial(ImplicitMF, n_factors=3, random_state=0, dtype=dtype, **loss)
    values = CLICKS.copy()
    values.data *= np.random.default_rng(0).integers(1, 4, values.nnz)
    weights = values.copy()
    weights.data = np.random.default_rng(1).uniform(0.1, 2.0, values.nnz).astype(np.float32)

    def fitted(w: np.ndarray | None, X: sp.csr_array = values) -> ImplicitMF:
        return make().fit(X, weights=None if w is None else sp.csr_array((w, *pattern), X.shape))

    pattern = values.indices, values.indptr
    ones = fitted(np.ones(values.nnz))
    np.testing.assert_array_equal(ones.user_factors_, fitted(None).user_factors_)
    model = fitted(weights.data)
    factors = reference.Factors(model.user_factors_, model.item_factors_)
    weight = {"alpha": 5.0, "exponent": 0.0} if loss else {"alpha0": 0.1, "exponent": 1.0}
    csr = values.indptr, values.indices, values.data
    wanted = reference.implicit_objective(
        csr, factors, reg=model.reg, weights=weights.data, **weight
    )
    assert model.objective_ == pytest.approx(wanted, rel=1e-5)
    # Entries of weight 0 are as good as none.
    weights.data[:200] = 0
    kept = sp.csr_array((values.data * (weights.data > 0), *pattern), values.shape, copy=True)
    kept.eliminate_zeros()
    some = sp.csr_array((weights.data, *pattern), values.shape, copy=True)
    some.eliminate_zeros()
    np.testing.assert_allclose(
        make(cg_steps=None).fit(values, weights=weights).user_factors_,
        make(cg_steps=None).fit(kept, weights=some).user_factors_,
        atol=1e-4,
    )
    if not loss:  # where the values are weights themselves, only the product counts
        product = sp.csr_array((values.data * weights.data, *pattern), values.shape, copy=True)
        product.eliminate_zeros()
        np.testing.assert_allclose(
            make().fit(values, weights=weights).user_factors_,
            make().fit(product).user_factors_,
            atol=1e-4,
        )


def test_planted_factors_are_recovered_to_the_noise_floor() -> None:
    data = matfac.datasets.planted_ratings(
        n_users=800, n_items=600, nnz=100_000, rank=4, noise=0.3, levels=None, seed=3
    )
    coo = data.test.tocoo()
    for solver in ("als", "sgd"):
        model = ExplicitMF(n_factors=8, solver=solver, reg=0.02, n_iter=30, random_state=0)
        predicted = model.fit(data.train).predict(*coo.coords)
        assert matfac.metrics.rmse(coo.data, predicted) < 1.25 * data.noise_floor
