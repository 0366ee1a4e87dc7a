"""Flags are True or False: no string stands for either."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import random_ratings
from matfac import (
    ExplicitMF,
    ImplicitMF,
    LowRankMF,
    RankingMF,
    compress,
    compress_model,
    load,
    metrics,
    splits,
    tune,
)

X = random_ratings(30, 20, 0.3, seed=1)
FLAGS = {
    ExplicitMF: ("fit_bias", "nonnegative", "deterministic", "early_stopping", "verbose"),
    ImplicitMF: ("nonnegative", "early_stopping", "verbose"),
    RankingMF: ("fit_bias", "deterministic", "early_stopping", "verbose"),
    LowRankMF: ("nonnegative", "verbose"),
}


@pytest.mark.parametrize("value", ["no", "False", 2, 0.0, [True]])
@pytest.mark.parametrize(("cls", "name"), [(c, name) for c in FLAGS for name in FLAGS[c]])
def test_parameters_of_the_estimators(cls: Any, name: str, value: Any) -> None:
    model = cls(n_factors=2, **{name: value})
    with pytest.raises(TypeError, match=f"^{name} must be True or False, got "):
        model.fit(X.toarray() if cls is LowRankMF else X)


@pytest.mark.parametrize("value", [np.True_, 1])
def test_what_counts_as_true(value: Any, tmp_path: Path) -> None:
    model = ExplicitMF(n_factors=np.int64(2), n_iter=2, random_state=0, nonnegative=value).fit(X)
    assert model.item_factors_.min() >= 0
    model.save(tmp_path / "m")
    stored = load(tmp_path / "m")
    assert (stored.nonnegative, stored.n_factors) == (True, 2)


@pytest.mark.parametrize(
    ("name", "use"),
    [
        ("exclude_seen", lambda m: m.recommend([0], exclude_seen="no")),
        ("exclude_seen", lambda m: m.recommend_users([0], exclude_seen="no")),
        ("exclude_seen", lambda m: metrics.evaluate(m, X, exclude_seen="no")),
        ("per_user", lambda m: metrics.evaluate(m, X, per_user="no")),
        ("resume", lambda m: m.fit(X, checkpoint="c", resume="no")),
        ("with_seen", lambda m: m.save("m", with_seen="no")),
        ("latest", lambda m: splits.per_user(X, latest="no")),
        ("latest", lambda m: splits.held_out_users(X, latest="no")),
        ("halving", lambda m: tune(m, X, {"reg": [0.1]}, halving="no")),
        ("refit", lambda m: tune(m, X, {"reg": [0.1]}, refit="no")),
        ("verbose", lambda m: tune(m, X, {"reg": [0.1]}, verbose="no")),
        ("allow_larger", lambda m: compress(np.eye(5), rank=1, allow_larger="no")),
        ("verbose", lambda m: compress_model("a", "b", budget=0.5, verbose="no")),
    ],
)
def test_arguments_of_calls(
    name: str, use: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = ImplicitMF(n_factors=2, n_iter=1).fit(X)
    with pytest.raises(TypeError, match=f"^{name} must be True or False, got 'no'$"):
        use(model)
    assert not list(tmp_path.iterdir())
