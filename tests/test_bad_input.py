"""Bad input: an error that names the argument, the value found and the mend."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError

from conftest import random_ratings
from matfac import ExplicitMF, ImplicitMF, Interactions, load
from matfac._validation import check_threads

X = random_ratings(30, 20, 0.3, seed=1)
EVENTS = Interactions.from_arrays([1], [1])


def with_value(value: float) -> sp.csr_array:
    bad = X.copy()
    bad.data[7] = value
    return bad


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_factors": 0}, "n_factors must be at least 1, got 0"),
        ({"n_factors": 10**9}, "n_factors must be at most 1048576, got 1000000000"),
        ({"n_factors": 2.5}, "n_factors must be an integer, got 2.5"),
        ({"reg": -1}, "reg must be finite and at least 0, got -1"),
        ({"reg": float("nan")}, "reg must be finite"),
        ({"reg": 1e120}, r"reg must be at most 1e\+30, got 1e\+120"),
        ({"reg": 10**400}, r"reg must be at most 1e\+30"),
        ({"reg_exponent": 50}, "reg_exponent must be at most 10, got 50"),
        ({"reg": "big"}, "reg must be a number"),
        ({"n_iter": 0}, "n_iter must be at least 1"),
        ({"init_std": 0}, "init_std must be finite and greater than 0"),
        ({"n_threads": 0}, "n_threads must not be 0"),
        ({"n_threads": 1.5}, "n_threads must be an integer"),
        ({"dtype": "float16"}, "dtype must be 'float32' or 'float64', got 'float16'"),
        ({"dtype": None}, "dtype must be 'float32' or 'float64', got None"),
        ({"cg_steps": 0}, "cg_steps must be at least 1"),
        ({"cg_steps": 10**12}, "cg_steps must be at most 2147483647, got 1000000000000"),
        ({"random_state": -1}, "random_state must be None, an integer from 0 .*, got -1"),
        ({"random_state": np.random.default_rng(0)}, "random_state must be .* got Generator"),
        ({"validation_fraction": 1.0}, "validation_fraction must be less than 1"),
        ({"patience": 0}, "patience must be at least 1"),
        ({"callback": 3}, "callback must be callable"),
    ],
)
@pytest.mark.parametrize("cls", [ExplicitMF, ImplicitMF])
def test_parameters(cls: Any, parameters: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        cls(**parameters).fit(X)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ExplicitMF(solver="adam"), "solver must be one of 'als', 'sgd', got 'adam'"),
        (ExplicitMF(learning_rate=0), "learning_rate must be finite and greater than 0"),
        (ImplicitMF(alpha=1.0, alpha0=1.0), "exclude each other"),
        (ImplicitMF(alpha=-1.0), "alpha must be finite and at least 0"),
        (ImplicitMF(alpha0=-1.0), "alpha0 must be finite and at least 0"),
    ],
)
def test_parameters_of_one_class(model: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model.fit(X)


@pytest.mark.parametrize("cls", [ExplicitMF, ImplicitMF])
@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.zeros(3), "1D array"),
        (np.zeros((2, 2, 2)), "dim 3"),
        (np.zeros((0, 4)), "0 sample"),
        (np.zeros((4, 0)), "0 feature"),
        (np.full((3, 3), np.nan), "no stored entries"),
        (sp.csr_array((4, 5)), "no stored entries"),
        (with_value(np.nan), r"X contains NaN: X\[\d+, \d+\] = nan; remove"),
        (with_value(np.inf), r"X contains infinity: X\[\d+, \d+\] = inf"),
        (np.array([[1.0, np.inf], [1.0, 2.0]]), "infinity"),
        (sp.csr_array(np.array([[1 + 2j, 0]])), "[Cc]omplex|real numbers"),
        ([["a", "b"]], "X must be a matrix of real numbers, got list; tables of ids .* convert"),
        ("ratings.csv", "got str; tables of ids and values go through matfac.Interactions"),
    ],
)
def test_matrices(cls: Any, matrix: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        cls().fit(matrix)


def test_a_sparse_frame_is_a_sparse_matrix() -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame.sparse.from_spmatrix(X)
    whole, framed = (ExplicitMF(n_factors=2, random_state=0).fit(given) for given in (X, frame))
    np.testing.assert_array_equal(framed.item_factors_, whole.item_factors_)
    np.testing.assert_array_equal(framed.transform(frame), whole.transform(X))
    with pytest.raises(ValueError, match="X has a column 'user'"):
        ExplicitMF().fit(frame.rename(columns={0: "user"}))


@pytest.mark.parametrize("frame", ["pandas", "polars"])
@pytest.mark.parametrize("column", ["user", "user_id", "userId", "USERS"])
def test_a_table_of_events_is_no_matrix(frame: str, column: str) -> None:
    columns = {column: [1, 1, 2], "item": [1, 2, 3], "rating": [5.0, 3.0, 1.0]}
    table = pytest.importorskip(frame).DataFrame(columns)
    message = rf"X has a column '{column}'.*Interactions.from_frame\(X, user='{column}', item"
    with pytest.raises(ValueError, match=message):
        ExplicitMF().fit(table)
    model = ExplicitMF(n_factors=2, n_iter=1).fit(X)  # of another width
    for use in (
        lambda: model.transform(table), lambda: model.recommend(X=table),
        lambda: model.explain(0, 0, table), lambda: model.fold_in_items(table),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            use()
    with pytest.raises(ValueError, match=rf"predict\(table\['{column}'\], table\['item'\]\)"):
        model.predict(table)
    events = Interactions.from_frame(table, user=column, value="rating")
    assert ExplicitMF(n_factors=2).fit(events).n_features_in_ == 3


WILD = {"indices": (-1, 31, 2**32 + 3), "indptr": (-1, 5000, 2**31 - 1)}


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("kind", ["csr", "csc", "bsr"])
@pytest.mark.parametrize(("array", "value"), [(a, v) for a, values in WILD.items() for v in values])
def test_arrays_that_scipy_took_unchecked(kind: str, dtype: str, array: str, value: int) -> None:
    """Indices of 64 bits are not cut to 32, and none leads out of an array."""
    if dtype == "int32" and value >= 2**31:
        pytest.skip("no such number")
    bad = X.asformat(kind).copy()
    bad.indices, bad.indptr = bad.indices.astype(dtype), bad.indptr.astype(dtype)
    getattr(bad, array)[3] = value
    model = ExplicitMF(n_factors=2, n_iter=1, random_state=0).fit(X)
    for use in (model.fit, model.transform, model.fold_in_items, ImplicitMF(n_factors=2).fit):
        with pytest.raises(ValueError, match=rf"X\.{array} must .*; X\.check_format\(\) checks"):
            use(bad)
    with pytest.raises(ValueError, match=rf"(matrix|X)\.{array} must "):
        model.fit(Interactions(bad, np.arange(30), np.arange(20)))


def test_lists_of_any_length_but_not_of_billions() -> None:
    model = ImplicitMF(n_factors=2, n_iter=1).fit(X)
    items, scores = model.recommend([0], k=1000)
    assert items.shape == scores.shape == (1, 1000)
    for call in (model.recommend, model.similar_items):
        with pytest.raises(ValueError, match="k must be at most 1000000, got 2147483648"):
            call([0], k=2**31)


def test_no_more_threads_than_are_of_use() -> None:
    few, many = (ExplicitMF(n_factors=2, random_state=0, n_threads=n) for n in (2, 10**12))
    np.testing.assert_array_equal(few.fit(X).item_factors_, many.fit(X).item_factors_)
    assert check_threads(10**12) == max(64, os.cpu_count() or 1)


def test_pairs_of_unlike_shapes() -> None:
    model = ExplicitMF(n_factors=2, n_iter=1).fit(X)
    with pytest.raises(
        ValueError, match=r"users and items must be of one shape.*\(3,\) and \(2,\)"
    ):
        model.predict([0, 1, 2], [0, 1])


def test_lists_are_no_mask() -> None:
    model = ImplicitMF(n_factors=2, n_iter=1).fit(X)
    with pytest.raises(ValueError, match=r"include must be a matrix of shape \(2, 20\), not 0"):
        model.recommend([0, 1], include=[[1, 2], [3]])


def test_a_number_is_no_path() -> None:
    with pytest.raises(TypeError, match="path must be a path, got 1 of type int"):
        load(1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="path must be a path, got 1 of type int"):
        Interactions.read(1)  # type: ignore[arg-type]


@pytest.mark.parametrize("solver", ["als", "sgd"])
def test_ratings_of_which_nothing_above_zero_can_be_learnt(solver: str) -> None:
    model = ExplicitMF(n_factors=2, solver=solver, nonnegative=True, fit_bias=False, random_state=0)
    with pytest.raises(ValueError, match=r"X has no rating above 0, the largest is -.* shift X"):
        model.fit(-X)
    mixed = X.copy()
    mixed.data[::4] *= -1
    assert model.fit(mixed).predict(mixed).max() > 0
    assert model.set_params(fit_bias=True).fit(-X).predict(-X).min() < 0


def test_negative_confidence() -> None:
    with pytest.raises(ValueError, match=r"Negative values.*X\[\d+, \d+\] = -2.*ExplicitMF"):
        ImplicitMF().fit(with_value(-2.0))
    ExplicitMF(n_factors=2).fit(with_value(-2.0))


def test_transposed_matrix_is_recognised() -> None:
    model = ExplicitMF(n_factors=2).fit(X)
    with pytest.raises(ValueError, match=r"X has 30 features.*expecting 20.*transposed.*X\.T"):
        model.transform(X.T)
    with pytest.raises(ValueError, match="X has 7 features"):
        model.recommend(X=np.ones((1, 7)))
    with pytest.raises(ValueError, match="validation has 30 features"):
        ExplicitMF(n_factors=2).fit(X, validation=X.T)


def test_unfitted() -> None:
    for use in (
        lambda m: m.predict([0], [0]),
        lambda m: m.recommend([0]),
        lambda m: m.transform(X),
        lambda m: m.similar_items([0]),
        lambda m: m.save("model"),
        lambda m: m.components_,
    ):
        for cls in (ExplicitMF, ImplicitMF):
            with pytest.raises(NotFittedError, match="fit"):
                use(cls())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda m: m.predict(0), "^items is missing: predict"),
        (lambda m: m.predict([0, 1]), "^items is missing: predict"),
        (lambda m: m.predict(np.array([0, 1])), "^items is missing: predict"),
        (lambda m: m.predict("ann", clip=True), "^items is missing: predict"),
        (lambda m: m.recommend(vectors=np.full((1, 3), 1e300)), r"vectors hold 1e\+300, .*float32"),
        (lambda m: m.recommend(vectors=[[1.0, np.inf, 1.0]]), "vectors must be finite"),
        (lambda m: m.recommend(vectors=[["a", "b", "c"]]), "vectors must hold real numbers"),
        (lambda m: m.predict([30], [0]), "users holds 30, but the model has 30 users.*0 to 29"),
        (lambda m: m.predict([0], [-1]), "items holds -1, but the model has 20 items"),
        (lambda m: m.predict(["ann"], [0]), "users must be integer indices"),
        (lambda m: m.predict([0.5], [0]), "users must be integer indices"),
        (lambda m: m.predict([0, 1], [0, 1, 2]), "broadcast|mismatch"),
        (lambda m: m.recommend([99]), "users holds 99"),
        (lambda m: m.recommend([[0]]), "one-dimensional"),
        (
            lambda m: m.recommend(X),
            r"got csr_array of shape \(30, 20\): rows of new users go in as X=",
        ),
        (lambda m: m.recommend(X.toarray()), "got ndarray of shape .*: rows of new users go in as"),
        (
            lambda m: m.recommend(EVENTS),
            r"got Interactions of shape \(1, 1\): rows of new users go",
        ),
        (lambda m: m.recommend_users(X), "items must be one-d.*: columns of new items go in as X="),
        (lambda m: m.recommend([0], k=0), "k must be at least 1"),
        (lambda m: m.recommend([0], X=X), "exclude each other"),
        (lambda m: m.similar_items([20]), "items holds 20"),
        (lambda m: m.similar_items([0], metric="euclid"), "metric must be one of"),
        (lambda m: m.inverse_transform(np.zeros((2, 9))), r"T must have shape \(n_users, 3\)"),
    ],
)
def test_questions_to_a_fitted_model(use: Any, message: str) -> None:
    model = ExplicitMF(n_factors=2).fit(X)
    with pytest.raises((ValueError, TypeError), match=message):
        use(model)


def test_weights() -> None:
    weights = X.copy()
    with pytest.raises(ValueError, match=r"weights must be a matrix of X's shape \(30, 20\)"):
        ExplicitMF().fit(X, weights=np.ones(30))
    holes = weights.copy()
    holes.data[3] = 0
    holes.eliminate_zeros()
    with pytest.raises(ValueError, match="weights has no weight for 1 entries"):
        ExplicitMF().fit(X, weights=holes)
    weights.data[0] = -1
    with pytest.raises(ValueError, match="weights must be finite and not negative"):
        ExplicitMF().fit(X, weights=weights)


def test_validation_and_early_stopping() -> None:
    with pytest.raises(ValueError, match="validation has no stored entries"):
        ExplicitMF().fit(X, validation=sp.csr_array(X.shape))
    with pytest.raises(ValueError, match="validation must have X's shape"):
        ExplicitMF().fit(X, validation=X[:5])
    with pytest.raises(ValueError, match="early_stopping needs entries on both sides"):
        ExplicitMF(early_stopping=True).fit(np.array([[1.0, np.nan], [np.nan, np.nan]]))


def test_a_failed_fit_leaves_the_model_as_it_was() -> None:
    model = ExplicitMF(n_factors=2, random_state=0).fit(X)
    before = model.user_factors_.copy()
    with pytest.raises(ValueError, match="NaN"):
        model.fit(with_value(np.nan))
    np.testing.assert_array_equal(model.user_factors_, before)
    assert model.predict([0], [0]).shape == (1,)
