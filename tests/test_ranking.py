"""RankingMF as an estimator: fold-in, planted clicks, files, bad input, early stopping."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

import matfac
from conftest import check_interrupted, random_ratings
from matfac import ConvergenceError, RankingMF, datasets, metrics
from matfac._validation import seed_of

CLICKS = random_ratings(120, 90, 0.2, seed=2, implicit=True)
LOSSES = ("bpr", "warp", "logistic", "softmax")
PLANTED = datasets.planted_clicks(1500, 600, 60_000, rank=6, taste=4.0, seed=2)


def fitted(loss: str, **parameters: Any) -> RankingMF:
    parameters = {"n_factors": 6, **parameters}
    return RankingMF(loss=loss, n_iter=5, random_state=0, **parameters).fit(CLICKS)


def ndcg(lists: np.ndarray, test: sp.csr_array) -> float:
    users = np.flatnonzero(np.diff(test.indptr))
    return float(np.mean(metrics.ndcg(lists[users], test[users])))


@pytest.mark.parametrize("k", [6, 16])  # 16 needs no padding: the core gets the factors themselves
@pytest.mark.parametrize("loss", LOSSES)
def test_training_rows_fold_in_to_their_own_factors(loss: str, k: int, dtype: str) -> None:
    model = fitted(loss, n_factors=k, dtype=dtype)
    codes = model.transform(CLICKS)
    assert codes.dtype == dtype
    np.testing.assert_array_equal(codes[:, :k], model.user_factors_)
    np.testing.assert_array_equal(codes[:, k], model.user_bias_)
    some = model.transform(CLICKS[[70, 3]])
    np.testing.assert_array_equal(some, codes[[70, 3]])
    lists, scores = model.recommend(X=CLICKS[[5, 3]], k=7)
    known, values = model.recommend([5, 3], k=7)
    np.testing.assert_array_equal(lists, known)
    np.testing.assert_array_equal(scores, values)
    assert not model.user_factors_[60].any()  # no entries


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("sampling", ["uniform", "popularity"])
def test_planted_tastes_are_found_and_folding_in_keeps_them(loss: str, sampling: str) -> None:
    data = PLANTED
    model = RankingMF(8, loss=loss, sampling=sampling, random_state=0, deterministic=True)
    ratings = model._ratings(data.train, reset=True)
    # The seed that fit gives its solver: the same draws, before users are folded in again.
    solver = model._make_solver(ratings, (None, None), seed_of(0))
    for number in range(model.n_iter):
        solver.epoch(number)
    own = solver.tables["users"][:, :8] @ solver.tables["items"][:, :8].T + solver.biases()[1]
    own[data.train.toarray() > 0] = -np.inf
    by_training = ndcg(np.argsort(-own, axis=1, kind="stable")[:, :10], data.test)
    lists, _ = model.fit(data.train).recommend(k=10)
    by_folding = ndcg(lists, data.test)
    popular = np.argsort(-data.train.sum(axis=0), kind="stable")[:10]
    by_popularity = ndcg(np.tile(popular, (len(lists), 1)), data.test)
    assert by_folding > 0.97 * by_training
    assert by_folding > 1.5 * by_popularity


def test_new_users_are_served_as_well_as_known_ones() -> None:
    train, test = PLANTED.train.tocsr(), PLANTED.test.tocsr()
    model = RankingMF(8, random_state=0).fit(train)
    known = ndcg(model.recommend(k=10)[0][1200:], test[1200:])
    strange = RankingMF(8, random_state=0).fit(train[:1200])
    lists, _ = strange.recommend(X=train[1200:], k=10)
    assert ndcg(lists, test[1200:]) > 0.9 * known


@pytest.mark.parametrize("loss", LOSSES)
def test_deterministic_models_do_not_depend_on_threads(loss: str) -> None:
    data = PLANTED.train[:400]
    models = [
        RankingMF(5, loss=loss, n_iter=3, random_state=0, deterministic=True, n_threads=n).fit(data)
        for n in (1, 2, 3, 4)
    ]
    for model in models[1:]:
        np.testing.assert_array_equal(model.user_factors_, models[0].user_factors_)
        np.testing.assert_array_equal(model.item_factors_, models[0].item_factors_)
        assert model.objective_ == models[0].objective_
    other = RankingMF(5, loss=loss, n_iter=3, random_state=1, deterministic=True).fit(data)
    assert not np.array_equal(other.item_factors_, models[0].item_factors_)


@pytest.mark.parametrize("loss", LOSSES)
def test_history_and_objective(loss: str) -> None:
    model = RankingMF(8, loss=loss, n_iter=6, random_state=0)
    model.fit(PLANTED.train, validation=PLANTED.test)
    keys = {"epoch", "objective", "train_loss", "validation_ndcg@10", "learning_rate", "seconds"}
    assert set(model.history_[0]) == keys
    losses = [record["train_loss"] for record in model.history_]
    assert losses[-1] < losses[0]
    negatives = {"bpr": 4, "warp": 1, "logistic": 8, "softmax": 16}[loss]
    steps = 4 if loss == "bpr" else 1
    counts, nnz = model.item_counts_, PLANTED.train.nnz
    own = 9 if loss == "logistic" else steps
    user_visits = own * np.diff(PLANTED.train.tocsr().indptr)
    item_visits = steps * counts + negatives * nnz / 600
    penalty = 0.5 * model._objective().reg * (
        user_visits @ ((model.user_factors_**2).sum(axis=1) + model.user_bias_**2)
        + item_visits @ ((model.item_factors_**2).sum(axis=1) + model.item_bias_**2)
    )  # fmt: skip
    # Its own draws: the loss part is that of one more epoch, by NumPy, within the draws' noise.
    scores = model.predict(PLANTED.train).astype(np.float64)
    users, items = PLANTED.train.tocoo().coords
    rng = np.random.default_rng(0)
    drawn = rng.integers(600, size=(nnz, 8))
    own, others = scores[users, items], scores[users[:, None], drawn]
    valid = PLANTED.train.toarray()[users[:, None], drawn] == 0
    if loss == "bpr":
        value = (np.logaddexp(0, others - own[:, None]) * valid).sum() / valid.sum() * 4 * nnz
        assert model.objective_ == pytest.approx(value + penalty, rel=0.02)
    elif loss == "logistic":
        value = np.logaddexp(0, -own).sum()
        value += (np.logaddexp(0, others) * valid).sum() / valid.sum() * 8 * nnz
        assert model.objective_ == pytest.approx(value + penalty, rel=0.02)
    else:
        assert model.objective_ > penalty


def test_files_keep_the_model_and_its_fold_in(tmp_path: Path) -> None:
    for sampling in ("uniform", "popularity"):
        model = fitted("bpr", sampling=sampling)
        path = tmp_path / f"{sampling}.safetensors"
        model.save(path, with_seen=False)
        again = matfac.load(path)
        assert isinstance(again, RankingMF)
        assert again.get_params() == model.get_params()
        np.testing.assert_array_equal(again.transform(CLICKS), model.transform(CLICKS))
        np.testing.assert_array_equal(again.predict([1, 2], [3, 4]), model.predict([1, 2], [3, 4]))
        assert again.history_ == model.history_


def test_no_bias() -> None:
    model = fitted("bpr", fit_bias=False)
    assert model.item_bias_ is None
    assert model.user_bias_ is None
    assert model.transform(CLICKS).shape == (120, 6)


def test_only_the_logistic_loss_has_user_biases() -> None:
    assert fitted("logistic").user_bias_.any()
    assert fitted("logistic", negatives=5).mean_ == pytest.approx(-np.log(5))
    for loss in ("bpr", "warp", "softmax"):
        model = fitted(loss)
        assert not model.user_bias_.any()
        assert model.mean_ == 0
        assert model.item_bias_.any()


def test_values_do_not_matter_and_zeros_are_no_feedback() -> None:
    X = CLICKS.copy()
    X.data = np.random.default_rng(0).uniform(0.1, 9, X.nnz)
    loud = RankingMF(6, n_iter=5, random_state=0).fit(X)
    np.testing.assert_array_equal(loud.item_factors_, fitted("bpr").item_factors_)
    X.data[:50] = 0
    without = X.copy()
    without.eliminate_zeros()
    a, b = (RankingMF(6, n_iter=5, random_state=0).fit(m) for m in (X, without))
    np.testing.assert_array_equal(a.item_factors_, b.item_factors_)


def test_a_user_who_has_every_item_is_skipped() -> None:
    X = CLICKS.toarray()
    X[7] = 1
    for loss in LOSSES:
        model = RankingMF(6, loss=loss, n_iter=5, random_state=0).fit(X)
        assert not model.user_factors_[7].any()
        assert model.recommend([7], k=3)[0].tolist() == [[-1, -1, -1]]
        assert np.isfinite(model.item_factors_).all()
        everything = RankingMF(3, loss=loss, n_iter=2).fit(np.ones((4, 5)))
        assert everything.history_[-1]["train_loss"] == 0
        assert not everything.user_factors_.any()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"loss": "hinge"}, "loss must be one of 'bpr', 'warp', 'logistic', 'softmax'"),
        ({"sampling": "hard"}, "sampling must be one of 'uniform', 'popularity', got 'hard'"),
        ({"negatives": 0}, "negatives must be at least 1"),
        ({"negatives": 1.5}, "negatives must be an integer"),
        ({"negatives": 5000}, "negatives must be at most 4096, got 5000"),
        ({"learning_rate": 0}, "learning_rate must be finite and greater than 0"),
        ({"reg": -1}, "reg must be finite and at least 0"),
        ({"n_iter": 0}, "n_iter must be at least 1"),
    ],
)
def test_parameters(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        RankingMF(**parameters).fit(CLICKS)


def test_matrices() -> None:
    bad = CLICKS.copy()
    bad.data[3] = -1
    with pytest.raises(ValueError, match=r"Negative values.*RankingMF: X\[\d+, \d+\] = -1"):
        RankingMF().fit(bad)
    bad.data[3] = np.nan
    with pytest.raises(ValueError, match="X contains NaN"):
        RankingMF().fit(bad)
    with pytest.raises(ValueError, match="no stored entries: RankingMF needs"):
        RankingMF().fit(sp.csr_array((3, 4)))


@pytest.mark.parametrize("loss", LOSSES)
def test_divergence_names_the_learning_rate_and_keeps_the_old_model(loss: str) -> None:
    model = fitted(loss, reg=0.0)
    before = model.item_factors_.copy()
    model.set_params(learning_rate=1e30)
    with pytest.raises(ConvergenceError, match=r"epoch \d+.*learning_rate=1e\+30"):
        model.fit(CLICKS)
    np.testing.assert_array_equal(model.item_factors_, before)


def test_early_stopping_returns_to_the_best_epoch() -> None:
    model = RankingMF(16, early_stopping=True, n_iter=200, patience=2, reg=0.0, random_state=0).fit(
        PLANTED.train
    )
    values = [record["validation_ndcg@10"] for record in model.history_]
    assert len(values) < 200
    assert model.n_iter_ == int(np.argmax(values)) + 1


def test_callback_ends_the_fit() -> None:
    model = fitted("bpr", callback=lambda epoch, record: epoch == 2)
    assert model.n_iter_ == len(model.history_) == 2


def test_interrupt_keeps_the_last_whole_epoch() -> None:
    X = matfac.datasets.planted_clicks(3000, 2000, 200_000, seed=0).train
    make = partial(RankingMF, 32, n_iter=100_000, random_state=0, deterministic=True)
    check_interrupted(make, X)


def test_ids_in_and_out() -> None:
    clicks = matfac.Interactions.from_arrays(
        ["ann", "ann", "bob", "cid", "cid"], ["up", "jaws", "up", "alien", "jaws"]
    )
    model = RankingMF(2, n_iter=3, random_state=0).fit(clicks)
    lists, _ = model.recommend(["bob"], k=2)
    assert set(lists[0]) == {"jaws", "alien"}


def test_users_are_stored_and_items_refused() -> None:
    model = RankingMF(6, n_iter=5, random_state=0).fit(CLICKS[:100])
    wanted = model.transform(CLICKS[100:])
    model.partial_fit(sp.vstack([CLICKS[:100], CLICKS[100:]]))
    np.testing.assert_array_equal(model.user_factors_[100:], wanted[:, :6])
    wider = sp.hstack([CLICKS, CLICKS[:, :2]])
    for refused in (
        lambda: model.partial_fit(wider),
        lambda: model.partial_fit(CLICKS, items=[3]),
        lambda: model.fold_in_items(CLICKS[:, :2]),
    ):
        with pytest.raises(ValueError, match="folds in users, not items"):
            refused()
