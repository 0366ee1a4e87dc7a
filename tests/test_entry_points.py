"""Any value for any argument of the public interface: an answer, or an error that names it."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import matfac
from conftest import random_ratings
from matfac import (
    ExplicitMF,
    ImplicitMF,
    Interactions,
    LowRankMF,
    RankingMF,
    RatingRegressor,
    compress,
    datasets,
    embeddings,
    metrics,
    splits,
)

X = random_ratings(12, 9, 0.4, seed=0)
DENSE = np.random.default_rng(0).standard_normal((9, 7))
PAIRS = np.column_stack(X.nonzero())
FAST: dict[str, Any] = {"n_factors": 2, "n_iter": 2, "random_state": 0, "verbose": False}
explicit = ExplicitMF(**FAST).fit(X)
implicit = ImplicitMF(**FAST).fit(X)
ranking = RankingMF(**FAST).fit(X)

HOSTILE: tuple[Any, ...] = (
    None, True, -1, 0, 1, 3, 10**6, 2**31, 2**63, 2**70, -(2**70), 0.5, 2.5, -0.5, 1e-300, 1e300,
    float("nan"), float("inf"), 1j, "", "a", "none", b"a", object(), [], [0], [-1], [99], [0.5],
    ["a"], [[0]], [[]], [None], {}, {"a": 1}, (), (1, 2), range(3), np.nan, np.array(0),
    np.zeros(0), np.zeros((0, 9)), np.zeros((3, 0)), np.zeros((2, 3, 4)), np.arange(3.0),
    np.full((12, 9), np.nan), np.full((12, 9), np.inf), np.full((12, 9), -1.0), np.ones((12, 9)),
    np.ones((9, 12)), np.full((12, 9), 1e38), np.ones((12, 9), complex), np.ones((12, 9), bool),
    np.full((12, 9), "a"), np.full((12, 9), None), np.ones((12, 9), np.float16), X, X.T,
    X.tocoo(), sp.csr_array((12, 9)), sp.csr_array((0, 9)), sp.csr_array(np.diag([np.inf, 1.0])),
    np.array(["2020-01-01"], "M8[s]"), np.ma.ones((12, 9)), ExplicitMF(), ExplicitMF, explicit,
    lambda *_: None, Interactions.from_arrays(["a", "b"], ["x", "y"], [1.0, 2.0]), Path("none"),
)  # fmt: skip

# As many as they are, they are done or made.
UNBOUNDED = {"n_iter", "n_factors", "negatives", "nnz", "n_users", "n_items", "rank"}

Call = Callable[..., Any]


def fitting(cls: Any) -> tuple[Call, dict[str, Any]]:
    """fit() with any parameter of the constructor."""
    defaults = cls().get_params() | FAST

    def fit(X: Any, **params: Any) -> Any:
        return cls(**params).fit(X)

    return fit, {**defaults, "X": X, "n_iter": 2}


def dense_fitting(**params: Any) -> Any:
    W = params.pop("X")
    return LowRankMF(**params).fit(W)


ENTRIES: dict[str, tuple[Call, dict[str, Any]]] = {
    "ExplicitMF": fitting(ExplicitMF),
    "ImplicitMF": fitting(ImplicitMF),
    "RankingMF": fitting(RankingMF),
    "LowRankMF": (dense_fitting, {**LowRankMF().get_params(), "n_factors": 2, "X": DENSE,
                                  "verbose": False, "n_iter": 2}),
    "fit": (ExplicitMF(**FAST).fit, {"X": X, "weights": None, "validation": None,
                                     "user_features": None, "item_features": None,
                                     "checkpoint": None, "resume": False}),
    "RatingRegressor.fit": (lambda X, y: RatingRegressor(ExplicitMF(**FAST)).fit(X, y),
                            {"X": PAIRS, "y": X.data}),
    "predict": (explicit.predict, {"users": [0, 1], "items": [1, 2]}),
    "partial_fit": (lambda **kw: copy.deepcopy(implicit).partial_fit(**kw),
                    {"X": X, "users": None, "items": None, "n_sweeps": 1}),
    "estimate_memory": (implicit.estimate_memory, {"n_users": 5, "n_items": 5, "nnz": 9}),
    "transform": (implicit.transform, {"X": X}),
    "inverse_transform": (explicit.inverse_transform, {"X": explicit.transform(X)}),
    "fold_in_items": (implicit.fold_in_items, {"X": X}),
    "recommend": (implicit.recommend, {"users": [0, 1], "k": 3, "items": None, "include": None,
                                       "exclude_items": None, "exclude": None,
                                       "exclude_seen": True}),
    "recommend rows": (ranking.recommend, {"X": X, "k": 3}),
    "recommend vectors": (explicit.recommend, {"vectors": explicit.transform(X), "k": 3}),
    "recommend_users": (explicit.recommend_users, {"items": [0, 1], "k": 3}),
    "similar_items": (implicit.similar_items, {"items": [0], "k": 3, "metric": "cosine"}),
    "similar_users": (implicit.similar_users, {"users": [0], "k": 3, "metric": "inner"}),
    "explain": (explicit.explain, {"user": 0, "item": 1, "X": X}),
    "evaluate": (lambda **kw: metrics.evaluate(implicit, **kw), {"test": X, "k": 3}),
    "rmse": (metrics.rmse, {"truth": [1.0, 2.0], "predicted": [1.0, 2.0]}),
    "entries": (splits.entries, {"X": X, "test_size": 0.2, "random_state": 0}),
    "per_user": (splits.per_user, {"X": X, "test_size": 0.2, "random_state": 0}),
    "leave_one_out": (splits.leave_one_out, {"X": X, "latest": False, "timestamps": None,
                                             "random_state": 0}),
    "held_out_users": (splits.held_out_users, {"X": X, "test_size": 0.2, "target_size": 0.2,
                                               "latest": False, "random_state": 0}),
    "from_arrays": (Interactions.from_arrays, {"users": [1, 2], "items": [1, 2],
                                               "values": [1.0, 2.0]}),
    "compress": (compress, {"W": DENSE, "rank": 2, "row_weights": None, "col_weights": None,
                            "inputs": None, "input_cov": None, "element_weights": None,
                            "svd_solver": "exact", "n_iter": 2, "tol": 1e-4}),
    "parameters_from": (matfac.parameters_from,
                        {"package": "implicit", "regularization": 0.01, "alpha": 40.0}),
    "time_decay": (matfac.time_decay, {"X": X, "half_life": 1.0, "now": 40.0,
                                       "timestamps": np.arange(float(X.nnz))}),
    "planted_ratings": (datasets.planted_ratings, {"n_users": 20, "n_items": 10, "nnz": 60,
                                                   "rank": 2, "noise": 0.5, "seed": 0}),
    "user_vectors": (lambda users: embeddings.user_vectors(explicit, users), {"users": [0]}),
    "load": (matfac.load, {"path": "none"}),
}  # fmt: skip


@pytest.fixture(autouse=True, scope="module")
def _elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Checkpoints are written where a value says."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("cwd"))
        yield


@pytest.mark.parametrize("name", ENTRIES)
@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_any_value(name: str, data: st.DataObject) -> None:
    call, arguments = ENTRIES[name]
    argument = data.draw(st.sampled_from(sorted(set(arguments) - {"verbose"})))
    value = data.draw(st.sampled_from(HOSTILE))
    assume(not (argument in UNBOUNDED and isinstance(value, int) and value > 3))
    said = "an answer"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call(**{**arguments, argument: value})
        except (ValueError, TypeError, OSError, ArithmeticError, ImportError) as error:
            said = str(error)
    assert said, f"the error of {argument}={value!r} says nothing"
