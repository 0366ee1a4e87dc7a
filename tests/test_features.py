"""Fits with side features: the objective, cold rows, fold-in, files, bad input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import random_ratings, side_features
from matfac import ExplicitMF, ImplicitMF, _core, load, reference
from matfac._als import OF_FEATURES, SIDES, AlsSolver, Objective
from matfac._validation import Ratings

M, N, P, Q = 60, 80, 5, 4
LOSSES = ("ratings", "ials", "hu")


# ---------------------------------------------------------------- whole fits


def solver(
    loss: str, *, dtype: str = "float64", exact: bool = True, n_threads: int = 2, seed: int = 5
) -> AlsSolver:
    matrix = random_ratings(M, N, 0.2, seed=seed)
    ratings = Ratings(
        (M, N),
        matrix.indptr.astype(np.int64),
        matrix.indices.astype(np.int32),
        matrix.data.astype(dtype),
    )
    exponent = 0.0 if loss == "hu" else 1.0
    return AlsSolver(
        ratings,
        Objective(loss, 0.1, exponent, mean=3.0 if loss == "ratings" else 0.0, alpha=0.3),
        k=4,
        fit_bias=loss == "ratings",
        init_std=0.1,
        cg_steps=None if exact else 2,
        n_threads=n_threads,
        generator=np.random.default_rng(1),
        features=(
            sp.csr_array(side_features(M, Q, seed=6).astype(dtype)),
            sp.csr_array(side_features(N, P, seed=7).astype(dtype)),
        ),
        feature_reg=2.0,
    )


def objective_by_hand(fitted: AlsSolver, loss: str) -> float:
    """The stated objective in float64 NumPy, over all cells, from the solver's arrays."""
    matrix = random_ratings(M, N, 0.2, seed=5).toarray()
    known = matrix != 0
    x, y = fitted.tables["users"][:, :4], fitted.tables["items"][:, :4]
    user_bias, item_bias = fitted.biases()
    s = x @ y.T
    if loss == "ratings":
        assert user_bias is not None
        assert item_bias is not None
        s += 3.0 + user_bias[:, None] + item_bias
        value = ((matrix - s)[known] ** 2).sum()
    elif loss == "ials":
        value = (matrix * (s - 1) ** 2).sum() + 0.3 * (s**2).sum()
    else:
        value = ((1 + 0.3 * matrix) * (known - s) ** 2).sum()
    for side, (t, b) in enumerate(((x, user_bias), (y, item_bias))):
        f = side_features((M, N)[side], (Q, P)[side], seed=6 + side)
        counts = (matrix if loss == "ials" else known).sum(axis=1 - side)
        scale = counts + (0.3 * (N, M)[side] if loss == "ials" else 0)
        ridge = 0.1 * np.where(scale > 0, scale, 1) ** (0 if loss == "hu" else 1)
        has = known.any(axis=1 - side)
        weights = fitted.feature_weights[side]
        assert weights is not None
        both = t if b is None else np.column_stack((t, b))
        w = weights.factors if weights.bias is None else np.column_stack(weights)
        value += reference.feature_objective(f, w, both, ridge, 2.0 * ridge[has].mean())
    return float(value)


@pytest.mark.parametrize("loss", LOSSES)
def test_exact_fits_lower_the_stated_objective_at_every_half_sweep(loss: str) -> None:
    fitted = solver(loss)
    values = []
    for number in range(6):
        reported = fitted.epoch(number)["objective"]
        values.append(reported)
    assert (np.diff(values) < 0).all()
    last = fitted.finish()
    assert last == pytest.approx(objective_by_hand(fitted, loss), rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_each_half_sweep_lowers_it(loss: str) -> None:
    fitted = solver(loss)
    fitted.epoch(0)
    values = []
    for half in range(6):
        side = half % 2
        value, _ = fitted._half(side, 0)
        fixed_prior, weights = fitted._maps[1 - side], fitted.feature_weights[1 - side]
        assert fixed_prior is not None
        assert weights is not None
        names = ("users", "items")[1 - side], ("user_bias", "item_bias")[1 - side]
        prior = fixed_prior.prior(weights, everyone=False)
        bias = fitted.tables.get(names[1])
        deviation = fitted.tables[names[0]] - prior.table
        off = None if bias is None else bias - prior.bias
        ridge = _core.ridge_value(deviation, 4, off, fitted._ridges[1 - side])
        values.append(value + ridge + fitted._feature_penalty())
        fitted._fit_features(side)
    assert (np.diff(values) <= 1e-9 * values[0]).all()
    assert values[-1] < values[0]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("loss", LOSSES)
def test_both_maps_turn_with_the_tables(loss: str, side: int) -> None:
    fitted = solver(loss, exact=False)
    fitted.epoch(0)
    fitted._half(1 - side, 3)
    # Columns alike: from such a basis explicit sweeps too have to turn.
    basis = np.triu(np.ones((4, 4)))
    for name in (*SIDES, *OF_FEATURES):
        fitted.tables[name][:, :4] = fitted.tables[name][:, :4] @ basis

    def scores() -> list[Any]:
        fixed = fitted.tables[("items", "users")[side]][:, :4]
        return [fixed @ weights.factors.T for weights in fitted.feature_weights]  # type: ignore[union-attr]

    before = scores()
    turned = fitted.tables["user_features"].copy()
    fitted._half(side, 3)
    for found, wanted in zip(scores(), before, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12 * np.abs(wanted).max())
    assert np.abs(turned - fitted.tables["user_features"]).max() > 1e-3


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("loss", LOSSES)
def test_same_bits_for_any_thread_count(loss: str, exact: bool, dtype: str) -> None:
    answers = []
    for n_threads in (1, 2, 3):
        fitted = solver(loss, dtype=dtype, exact=exact, n_threads=n_threads)
        for number in range(2):
            fitted.epoch(number)
        objective = fitted.finish()
        answers.append((objective, [array.tobytes() for array in fitted.tables.values()]))
    assert answers[0] == answers[1] == answers[2]


def planted(seed: int, *, implicit: bool) -> dict[str, Any]:
    """Users and items whose factors follow from their features but for a little noise."""
    rng = np.random.default_rng(seed)
    f, g = (rng.normal(size=(n, 3)) for n in (300, 200))
    x = f @ rng.normal(size=(3, 3)) + 0.1 * rng.normal(size=(300, 3))
    y = g @ rng.normal(size=(3, 3)) * 0.5 + 0.1 * rng.normal(size=(200, 3))
    bias = g @ np.array([0.5, -0.3, 0.2])
    truth = x @ y.T + bias
    known = rng.random(truth.shape) < 0.2
    if implicit:
        known &= truth > 0.5
    ratings = sp.csr_array(np.where(known, 1.0 if implicit else truth, 0))
    return {"X": ratings, "truth": truth, "f": f, "g": g}


@pytest.mark.parametrize("implicit", [False, True])
def test_cold_rows_follow_their_features(implicit: bool) -> None:
    data = planted(0, implicit=implicit)
    cold_users, cold_items = slice(250, 300), slice(160, 200)
    X = data["X"].copy().tolil()
    X[cold_users], X[:, cold_items] = 0, 0
    X = sp.csr_array(X)
    X.eliminate_zeros()
    estimator = (ImplicitMF if implicit else ExplicitMF)(
        n_factors=6, reg=0.003, feature_reg=0.1, random_state=0
    )
    model = estimator.fit(X, user_features=data["f"], item_features=sp.csr_array(data["g"]))
    scores = model.inverse_transform(model.transform(X, user_features=data["f"]))
    for users, items in (
        (slice(0, 250), cold_items),
        (cold_users, slice(0, 160)),
        (cold_users, cold_items),
    ):
        truth = data["truth"][users, items].ravel()
        r = np.corrcoef(truth, scores[users, items].ravel())[0, 1]
        assert r > (0.75 if implicit else 0.95)
    without = estimator.fit(X)
    assert not without.item_factors_[cold_items].any()


@pytest.mark.parametrize("estimator", [ExplicitMF(), ExplicitMF(fit_bias=False), ImplicitMF()])
def test_fold_in_with_features_reproduces_training_users(estimator: Any) -> None:
    data = planted(1, implicit=isinstance(estimator, ImplicitMF))
    X = data["X"]
    X.data[X.indptr[5] : X.indptr[6]] = 0
    X.eliminate_zeros()  # user 5 has no entries
    model = estimator.set_params(n_factors=5, random_state=0).fit(
        X, user_features=data["f"], item_features=data["g"]
    )
    codes = model.transform(X, user_features=data["f"])
    np.testing.assert_allclose(codes[:, :5], model.user_factors_, atol=1e-5)
    if model.user_bias_ is not None:
        np.testing.assert_allclose(codes[:, 5], model.user_bias_, atol=1e-5)
    alone = data["f"][5] @ model.user_feature_factors_
    np.testing.assert_allclose(model.user_factors_[5], alone, atol=1e-5)
    np.testing.assert_array_equal(codes, model.fit_transform(X, user_features=data["f"],
                                                             item_features=data["g"]))  # fmt: skip


@pytest.mark.parametrize("estimator", [ExplicitMF(), ImplicitMF()])
def test_new_rows_by_features_alone_or_with_entries(estimator: Any) -> None:
    data = planted(6, implicit=isinstance(estimator, ImplicitMF))
    old, new = data["X"][:, :180], data["X"][:, 180:]
    model = estimator.set_params(n_factors=5, random_state=0, n_iter=30, reg=0.003, feature_reg=0.1)
    model.fit(old, user_features=data["f"], item_features=data["g"][:180])
    alone = model.fold_in_items(None, item_features=data["g"][180:])
    empty = model.fold_in_items(sp.csr_array(new.shape), item_features=data["g"][180:])
    np.testing.assert_allclose(alone, empty, atol=1e-6)
    new = sp.csr_array(new.toarray() * (np.arange(300) < 10)[:, None])  # few entries
    both = model.fold_in_items(new, item_features=data["g"][180:])
    without = model.fold_in_items(new)
    users = model.transform(old, user_features=data["f"])[:, :5]
    truth = data["truth"][:, 180:]
    truth = truth - truth.mean(axis=0)  # the biases are not at issue
    fit = {
        name: np.corrcoef((users @ vectors[:, :5].T).ravel(), truth.ravel())[0, 1]
        for name, vectors in (("alone", alone), ("both", both), ("without", without))
    }
    assert fit["alone"] > 0.7
    assert fit["both"] > fit["without"]
    np.testing.assert_allclose(
        model.transform(None, user_features=data["f"][:7]),
        model.transform(sp.csr_array((7, 180)), user_features=data["f"][:7]),
        atol=1e-6,
    )
    for call in (model.fold_in_items, model.transform):
        with pytest.raises(ValueError, match=r"X is None: give the entries, or .*_features"):
            call(None)


def test_map_of_one_side_alone_lies_in_the_basis_of_the_factors() -> None:
    data = planted(2, implicit=True)
    model = ImplicitMF(n_factors=5, random_state=0).fit(data["X"], item_features=data["g"])
    counts = data["X"].sum(axis=0)
    ridge = np.where(counts > 0, 0.005 * (counts + 0.1 * 300), 0)
    wanted = reference.feature_weights(
        data["g"], model.item_factors_, ridge, 10 * ridge[counts > 0].mean()
    )
    np.testing.assert_allclose(model.item_feature_factors_, wanted, atol=1e-4)


def test_one_side_alone_and_early_stopping() -> None:
    data = planted(2, implicit=True)
    model = ImplicitMF(n_factors=5, random_state=0, early_stopping=True, patience=1, n_iter=8)
    model.fit(data["X"], item_features=data["g"])
    assert model.user_feature_factors_ is None
    assert model.item_feature_factors_.shape == (3, 5)
    assert model.item_feature_bias_ is None
    with pytest.raises(ValueError, match="user_features: the model was fitted without"):
        model.transform(data["X"], user_features=data["f"])


@pytest.mark.parametrize("estimator", [ExplicitMF, ImplicitMF])
def test_ctrl_c_leaves_a_model_of_the_last_epoch(estimator: Any) -> None:
    data = planted(3, implicit=estimator is ImplicitMF)
    X = data["X"].tolil()
    X[7], X[:, 9] = 0, 0

    def interrupt(epoch: int, record: dict[str, float]) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    model = estimator(n_factors=4, random_state=0, callback=interrupt)
    with pytest.raises(KeyboardInterrupt):
        model.fit(sp.csr_array(X), user_features=data["f"], item_features=data["g"])
    assert model.n_iter_ == 2
    assert model.objective_ == model.history_[-1]["objective"]
    for row, factors, said in (
        (7, model.user_factors_, data["f"] @ model.user_feature_factors_),
        (9, model.item_factors_, data["g"] @ model.item_feature_factors_),
    ):
        np.testing.assert_allclose(factors[row], said[row], atol=1e-5)
        assert np.corrcoef(factors.ravel(), said.ravel())[0, 1] > 0.5


@pytest.mark.parametrize("estimator", [ExplicitMF(), ImplicitMF()])
def test_features_are_in_the_file(estimator: Any, tmp_path: Path) -> None:
    data = planted(4, implicit=isinstance(estimator, ImplicitMF))
    model = estimator.set_params(n_factors=3, feature_reg=3.0, n_iter=3).fit(
        data["X"], user_features=data["f"], item_features=data["g"]
    )
    model.save(tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    assert again.get_params()["feature_reg"] == 3.0
    np.testing.assert_array_equal(again.item_feature_factors_, model.item_feature_factors_)
    np.testing.assert_array_equal(
        again.transform(data["X"], user_features=data["f"]),
        model.transform(data["X"], user_features=data["f"]),
    )


# ---------------------------------------------------------------- bad input


X = sp.csr_array(np.array([[1.0, 0, 2], [0, 3, 0]]))


@pytest.mark.parametrize(
    ("bad", "error", "words"),
    [
        (np.zeros((2, 2)), ValueError, r"item_features has 2 rows, but X has items .* 3"),
        (np.zeros(3), ValueError, r"item_features must be a matrix .* got shape \(3,\)"),
        (np.zeros((3, 0)), ValueError, r"item_features must be a matrix .* got shape \(3, 0\)"),
        ([[1], [np.nan], [2]], ValueError, r"item_features must be finite.*\[1, 0\] = nan"),
        ([[1], [2], [np.inf]], ValueError, r"item_features must be finite.*\[2, 0\] = inf"),
        ([["a"], ["b"], ["c"]], TypeError, "item_features must hold real numbers"),
        (
            np.array([["a"], [1], [2]], object),
            TypeError,
            "item_features must hold numbers, .*OneHotEncoder",
        ),
        (np.zeros((3, 1), complex), TypeError, "item_features must hold real numbers"),
    ],
)
def test_bad_features_are_refused(bad: Any, error: type[Exception], words: str) -> None:
    for estimator in (ExplicitMF(n_factors=2), ImplicitMF(n_factors=2)):
        with pytest.raises(error, match=words):
            estimator.fit(X, item_features=bad)
        assert not hasattr(estimator, "item_factors_")


def test_what_features_do_not_go_with() -> None:
    good = np.ones((3, 1))
    with pytest.raises(ValueError, match="solver='sgd' takes no features: use solver='als'"):
        ExplicitMF(solver="sgd").fit(X, item_features=good)
    with pytest.raises(ValueError, match="features need reg above 0"):
        ImplicitMF(reg=0).fit(X, item_features=good)
    with pytest.raises(ValueError, match="feature_reg must be finite and greater than 0"):
        ImplicitMF(feature_reg=0).fit(X, item_features=good)
    for parameters in ({"nonnegative": True}, {"l1_reg": 0.1}):
        with pytest.raises(ValueError, match="features go with neither nonnegative nor l1_reg"):
            ImplicitMF(**parameters).fit(X, item_features=good)
    model = ImplicitMF(n_factors=2).fit(X, user_features=np.ones((2, 3)))
    with pytest.raises(ValueError, match="2 columns, but the model was fitted on 3 features"):
        model.transform(X, user_features=np.ones((2, 2)))
    with pytest.raises(ValueError, match="user_features has 1 rows, but X has users: 2"):
        model.transform(X, user_features=np.ones((1, 3)))


def test_features_of_any_kind_mean_the_same() -> None:
    dense = side_features(200, 4, seed=8)
    data = planted(5, implicit=True)["X"]
    fits = [
        ImplicitMF(n_factors=3, random_state=0).fit(data, item_features=kind).item_factors_
        for kind in (dense, sp.csc_matrix(dense), sp.coo_array(dense), dense.astype(np.float32))
    ]
    for other in fits[1:]:
        np.testing.assert_allclose(other, fits[0], atol=1e-5)
    constant = np.ones((200, 1), dtype=int)
    ImplicitMF(n_factors=3, random_state=0).fit(data, item_features=constant)
