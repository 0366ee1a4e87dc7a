"""What fold-in remembers of frozen factors: the same answers, and none that are out of date."""

from __future__ import annotations

import copy
import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import random_ratings, side_features
from matfac import ExplicitMF, ImplicitMF, _als, _derived, load

RATINGS = random_ratings(90, 700, 0.02, seed=1)
CLICKS = random_ratings(90, 700, 0.02, seed=2, implicit=True)
WEIGHTS = RATINGS.copy()
WEIGHTS.data = np.random.default_rng(1).uniform(0.2, 3.0, RATINGS.nnz)
FEATURES = side_features(90, 4, seed=3)
MODELS: dict[str, tuple[Any, sp.csr_array, dict[str, Any]]] = {
    "als": (ExplicitMF(n_factors=6, random_state=0), RATINGS, {"weights": WEIGHTS}),
    "als-long": (ExplicitMF(n_factors=140, random_state=0, n_iter=2), RATINGS, {}),
    "ials": (ImplicitMF(n_factors=6, random_state=0), CLICKS, {}),
    "ials-features": (
        ImplicitMF(n_factors=16, random_state=0),
        CLICKS,
        {"user_features": FEATURES},
    ),
    "hu": (ImplicitMF(n_factors=16, alpha=5.0, reg=0.5, random_state=0), CLICKS, {}),
    "nonnegative": (ImplicitMF(n_factors=6, nonnegative=True, random_state=0), CLICKS, {}),
    "sparse": (ExplicitMF(n_factors=6, l1_reg=0.01, random_state=0), RATINGS, {}),
}
ROW = CLICKS[[3]]


@pytest.fixture
def model() -> ImplicitMF:
    """A model whose rows share a Gram."""
    return ImplicitMF(n_factors=6, n_iter=2, random_state=0).fit(CLICKS)


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The tables whose basis is found."""
    tables: list[Any] = []
    find = _als._basis_of

    def counted(factors: Any, n_threads: int) -> Any:
        tables.append(factors)
        return find(factors, n_threads)

    monkeypatch.setattr(_als, "_basis_of", counted)
    return tables


@pytest.mark.parametrize("name", MODELS)
def test_a_row_alone_has_the_bits_of_a_row_among_many(name: str, dtype: str) -> None:
    estimator, X, more = MODELS[name]
    fitted = estimator.set_params(dtype=dtype).fit(X, **more)
    assert X.nnz > X.shape[1] > np.diff(X.indptr).max()  # so that all go another way than one
    together = fitted.transform(X, **more)
    for row in (0, 17, 89):
        own = {argument: value[[row]] for argument, value in more.items()}
        np.testing.assert_array_equal(fitted.transform(X[[row]], **own)[0], together[row])
    empty = sp.csr_array((2, 700))
    assert fitted.transform(empty).shape == (2, fitted._n_features_out)
    assert not fitted.transform(empty).any()


def test_the_basis_is_found_once(model: ImplicitMF, found: list[Any]) -> None:
    first = model.transform(ROW)
    for _ in range(3):
        np.testing.assert_array_equal(model.transform(ROW), first)
    model.recommend(X=ROW)
    assert len(found) == 1
    model.fold_in_items(CLICKS[:, [5]])  # against the other side
    model.fold_in_items(CLICKS[:, [6]])
    assert [len(table) for table in found] == [700, 90]
    model.set_params(alpha0=0.7)  # of the rows, not of what they share
    assert not np.array_equal(model.transform(ROW), first)
    assert len(found) == 2


def test_changed_factors_are_not_met_with_an_old_answer(model: ImplicitMF) -> None:
    before = model.transform(ROW)
    with pytest.raises(ValueError, match="read-only"):
        model.item_factors_[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        model.user_factors_ *= 2
    own = 2 * model.item_factors_
    model.item_factors_ = own
    doubled = model.transform(ROW)
    assert not np.allclose(doubled, before)
    own /= 2  # the caller's array, which can be written to
    np.testing.assert_array_equal(model.transform(ROW), before)
    window = own.view()
    window.flags.writeable = False
    model.item_factors_ = window
    np.testing.assert_array_equal(model.transform(ROW), before)
    own *= 2  # behind the window
    np.testing.assert_array_equal(model.transform(ROW), doubled)


def test_a_partial_fit_is_not_met_with_an_old_answer(model: ImplicitMF, found: list[Any]) -> None:
    model.transform(ROW)
    grown = sp.csr_array((np.ones(3), ([3, 4, 90], [700, 700, 700])), shape=(91, 701))
    wide = sp.csr_array((ROW.data, ROW.indices, ROW.indptr), shape=(1, 701))
    model.partial_fit(grown, users=[90], items=[700])
    found.clear()
    after = model.transform(wide)
    assert [len(table) for table in found] == [701]
    np.testing.assert_array_equal(copy.deepcopy(model).transform(wide), after)


def test_copies_pickles_and_files_are_as_they_were(
    model: ImplicitMF, found: list[Any], tmp_path: Path
) -> None:
    size, names = len(pickle.dumps(model)), set(vars(model))
    wanted = model.transform(ROW)
    assert len(pickle.dumps(model)) == size
    assert set(vars(model)) == names
    model.save(tmp_path / "m")
    unpickled = pickle.loads(pickle.dumps(model))  # noqa: S301
    others = [unpickled, copy.deepcopy(model), load(tmp_path / "m")]
    found.clear()
    for other in [copy.copy(model), *others]:
        assert not other.item_factors_.flags.writeable
        for _ in range(2):
            np.testing.assert_array_equal(other.transform(ROW), wanted)
    assert len(found) == len(others)  # a shallow copy shares the table, and with it the basis


@pytest.mark.parametrize("scale", [1.0, 1e-30, 1e30])
def test_directions_of_any_scale(scale: float, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 5)) * np.logspace(0, 3, 50)[:, None]
    rows[7] = 0
    table = _derived.freeze((rows * scale).astype(dtype))
    wanted = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
    np.testing.assert_allclose(_derived.directions(table), wanted, rtol=1e-5)
    assert _derived.directions(table) is _derived.directions(table)
    monkeypatch.setattr(_derived, "_REMEMBERED", table.nbytes - 1)
    assert _derived.directions(table) is not _derived.directions(table)


def test_neighbours_of_changed_factors(model: ImplicitMF) -> None:
    before = model.similar_items([5], k=3)
    factors = model.item_factors_.copy()
    factors[before[0][0, 0]] *= -1
    model.item_factors_ = factors
    assert model.similar_items([5], k=3)[0][0, 0] == before[0][0, 1]


def test_what_is_remembered_dies_with_its_table() -> None:
    before = set(_derived._remembered)
    for seed in range(3):
        fitted = ImplicitMF(n_factors=3, n_iter=1, random_state=seed).fit(CLICKS)
        fitted.recommend(X=ROW)  # 3 factors: the table is padded
    new = set(_derived._remembered) - before
    assert {what for what, table in new if table == id(fitted.item_factors_)} == {"basis", "padded"}
    del fitted
    gc.collect()
    assert set(_derived._remembered) <= before


def test_threads_that_fold_in_while_factors_change(model: ImplicitMF) -> None:
    tables = [model.item_factors_, _derived.freeze(3 * model.item_factors_)]
    answers = []
    for table in tables:
        model.item_factors_ = table
        answers.append(model.transform(ROW).tobytes())

    def ask(turn: int) -> bool:
        model.item_factors_ = tables[turn % 2]
        return model.transform(ROW).tobytes() in answers

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(ask, range(400)))
