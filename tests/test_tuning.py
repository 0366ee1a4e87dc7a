"""The search for parameters: what it tries, keeps and returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.stats
from sklearn.model_selection import GridSearchCV, KFold

import matfac
from matfac import ExplicitMF, ImplicitMF, Interactions, RatingRegressor, metrics, splits, tune

CLICKS = matfac.datasets.planted_clicks(300, 100, 6000, seed=0)
RATINGS = matfac.datasets.planted_ratings(300, 120, 9000, seed=0)
GRID = {"alpha0": [0.01, 0.1, 1.0], "reg": [0.003, 0.03, 300.0]}


def clicks_model(**kw: Any) -> ImplicitMF:
    return ImplicitMF(n_factors=32, n_iter=8, random_state=0, **kw)


def test_halving_tries_all_and_takes_thirds() -> None:
    result = tune(clicks_model(), CLICKS.train, GRID)
    rungs = [[t for t in result.trials if t["rung"] == rung] for rung in range(3)]
    assert [len(rung) for rung in rungs] == [9, 3, 1]
    assert [rung[0]["n_factors"] for rung in rungs] == [16, 16, 32]
    assert [rung[0]["n_iter"] for rung in rungs] == [4, 4, 8]
    kept = sorted(rungs[0], key=lambda t: -t["score"])[:3]
    assert [(t["alpha0"], t["reg"]) for t in rungs[1]] == [(t["alpha0"], t["reg"]) for t in kept]
    assert result.best_params == {name: rungs[2][0][name] for name in GRID}
    assert result.best_params["reg"] < 300
    assert result.best_score == rungs[2][0]["score"]
    assert "reg" not in result.at_edge or result.best_params["reg"] == 0.003


def test_model_is_that_of_the_best_parameters_on_all_data() -> None:
    base = clicks_model()
    result = tune(base, CLICKS.train, GRID)
    wanted = clicks_model(**result.best_params).fit(CLICKS.train)
    np.testing.assert_array_equal(result.model.item_factors_, wanted.item_factors_)
    assert base.alpha0 is None
    assert not hasattr(base, "item_factors_")
    assert tune(base, CLICKS.train, GRID, refit=False).model is None


def test_without_halving_each_score_is_that_of_a_whole_fit() -> None:
    grid = {"reg": [0.003, 0.03, 0.3, 3.0]}
    result = tune(clicks_model(), CLICKS.train, grid, halving=False, metric="recall@20")
    train, held_out = splits.per_user(
        sp.csr_array(CLICKS.train), 0.1, random_state=np.random.RandomState(0).randint(2**31 - 1)
    )
    for trial in result.trials:
        model = clicks_model(reg=trial["reg"]).fit(train)
        value = metrics.evaluate(model, held_out, k=20, metrics="recall")["recall@20"]
        assert trial["score"] == pytest.approx(value)
    best = max(result.trials, key=lambda t: t["score"])
    assert result.best_params == {"reg": best["reg"]}


def test_ratings_are_tuned_by_their_error() -> None:
    result = tune(ExplicitMF(n_factors=16, n_iter=8, random_state=0), RATINGS.train)
    assert result.metric == "rmse"
    scores = [t["score"] for t in result.trials if t["rung"] == 2]
    assert result.best_score == min(scores)
    bad = ExplicitMF(n_factors=16, n_iter=8, random_state=0, reg=0.0005).fit(RATINGS.train)
    coo = sp.coo_array(RATINGS.test)
    errors = [metrics.rmse(coo.data, m.predict(*coo.coords)) for m in (result.model, bad)]
    assert errors[0] < errors[1]


def test_a_warm_start_goes_on_where_the_smaller_model_was() -> None:
    X = sp.csr_array(RATINGS.train)
    small = ExplicitMF(n_factors=8, n_iter=10, random_state=0, dtype="float64").fit(X)
    same = ExplicitMF(n_factors=8, n_iter=1, random_state=1, dtype="float64")
    same._fit_from(X, small)
    assert same.history_[0]["objective"] <= small.objective_ * (1 + 1e-12)
    wider = ExplicitMF(n_factors=12, n_iter=1, random_state=1, dtype="float64")
    wider._fit_from(X, small)
    anew = ExplicitMF(n_factors=12, n_iter=1, random_state=1, dtype="float64").fit(X)
    assert wider.history_[0]["objective"] < anew.history_[0]["objective"]


def test_random_draws_from_distributions() -> None:
    grid = {"reg": scipy.stats.loguniform(1e-3, 1e-1), "alpha0": [0.1, 1.0]}
    runs = [tune(clicks_model(), CLICKS.train, grid, n_trials=5, refit=False) for _ in range(2)]
    assert [t["reg"] for t in runs[0].trials] == [t["reg"] for t in runs[1].trials]
    assert len([t for t in runs[0].trials if t["rung"] == 0]) == 5
    few = tune(clicks_model(), CLICKS.train, {"reg": [0.01, 0.1]}, n_trials=9, refit=False)
    assert len(few.trials) == 2


def test_a_callback_ends_the_search_and_ctrl_c_keeps_what_is_done() -> None:
    seen: list[dict[str, Any]] = []

    def stop(trial: dict[str, Any]) -> bool:
        seen.append(trial)
        return len(seen) == 2

    result = tune(clicks_model(), CLICKS.train, GRID, callback=stop)
    assert len(result.trials) == 2
    assert result.model is not None
    assert not result.interrupted

    def interrupt(trial: dict[str, Any]) -> None:
        if len(seen) >= 4:
            raise KeyboardInterrupt
        seen.append(trial)

    result = tune(clicks_model(), CLICKS.train, GRID, callback=interrupt)
    assert len(result.trials) == 3
    assert result.interrupted
    assert result.model is None
    assert result.best_score == max(t["score"] for t in result.trials)


def test_an_error_of_the_callback_is_no_end() -> None:
    with pytest.raises(StopIteration):
        tune(clicks_model(), CLICKS.train, GRID, callback=lambda _: next(iter(())))


def test_the_text_of_a_result_is_short() -> None:
    result = tune(clicks_model(), CLICKS.train, {"reg": [0.003, 0.03]})
    assert repr(result).startswith("TuneResult(metric='ndcg@10', best_params={'reg': ")
    assert len(repr(result)) < 140


def test_interactions_and_an_own_split() -> None:
    coo = sp.coo_array(CLICKS.train)
    data = Interactions.from_arrays(
        [f"u{u}" for u in coo.coords[0]],
        [f"i{i}" for i in coo.coords[1]],
        timestamps=np.arange(coo.nnz) % 1000,
    )
    split = splits.temporal(data, 0.2)
    result = tune(clicks_model(), data, {"reg": [0.01, 0.1]}, split=split)
    assert result.model.recommend(["u0"], k=1)[0][0, 0].startswith("i")
    with pytest.raises(ValueError, match="two matrices of one shape"):
        tune(clicks_model(), CLICKS.train, split=(CLICKS.train, CLICKS.train[:5]))


def test_a_candidate_that_diverges_ranks_last() -> None:
    grid = {"learning_rate": [1.0, 1e9]}
    model = ExplicitMF(n_factors=4, solver="sgd", n_iter=4, random_state=0, n_threads=1)
    result = tune(model, RATINGS.train, grid)
    assert result.best_params == {"learning_rate": 1.0}
    assert np.isnan(result.trials[1]["score"])
    with pytest.raises(ValueError, match="no candidate whose fit converged"):
        tune(model, RATINGS.train, {"learning_rate": [1e9]})


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="grid has 'regs', which is no parameter of ImplicitMF"):
        tune(clicks_model(), CLICKS.train, {"regs": [1]})
    bad: tuple[Any, ...] = ("rsme", "ndcg", "ndcg@x", "auc@10", "recall@0", "recall@05", 5, ["auc"])
    for metric in bad:
        with pytest.raises(ValueError, match="metric must be one of"):
            tune(clicks_model(), CLICKS.train, GRID, metric=metric)
    with pytest.raises(ValueError, match="n_trials must be at least 1"):
        tune(clicks_model(), CLICKS.train, GRID, n_trials=0)
    with pytest.raises(TypeError, match=r"model must be an ExplicitMF, .* or RankingMF, got type"):
        tune(ImplicitMF, CLICKS.train, GRID)


def test_frame_and_plot() -> None:
    result = tune(clicks_model(), CLICKS.train, GRID, refit=False)
    frame = pytest.importorskip("pandas") and result.to_frame()
    assert len(frame) == len(result.trials)
    assert frame.loc[0, "score"] == result.best_score
    pytest.importorskip("matplotlib")
    figure = result.plot()
    assert [axes.get_xlabel() for axes in figure.axes] == ["alpha0", "reg"]
    assert len(figure.axes[0].lines) == 3


def test_grid_search_over_pairs() -> None:
    coo = sp.coo_array(RATINGS.train)
    pairs, y = np.column_stack(coo.coords), coo.data
    search = GridSearchCV(
        RatingRegressor(ExplicitMF(n_factors=8, n_iter=6, random_state=0)),
        {"model__reg": [0.0005, 0.1], "model__reg_exponent": [1.0]},
        scoring="neg_root_mean_squared_error",
        cv=KFold(3, shuffle=True, random_state=0),
    ).fit(pairs, y)
    assert search.best_params_["model__reg"] == 0.1
    assert search.predict(pairs[:3]).shape == (3,)


@pytest.mark.parametrize("make", [lambda X: X, lambda X: (X,), lambda X: [X, X, X], lambda X: "ab"])
def test_a_split_that_is_no_pair(make: Any) -> None:
    X = sp.csr_array(np.ones((2, 3)))
    with pytest.raises(TypeError, match=r"^split must be a pair \(train, validation\), got "):
        tune(ExplicitMF(n_factors=1), X, {"reg": [0.1]}, split=make(X))
