"""Names of a frame's columns: in the file, and after partial_fit."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from matfac import ExplicitMF, ImplicitMF, RankingMF, load, model_io

pd = pytest.importorskip("pandas", reason="pandas is not installed")

TITLES = ["jaws", "up", "it", "her"]


def frame(titles: list[str], n: int = 12) -> Any:
    generator = np.random.default_rng(0)
    return pd.DataFrame(generator.integers(1, 6, (n, len(titles))).astype(float), columns=titles)


@pytest.mark.parametrize("estimator", [ExplicitMF, ImplicitMF, RankingMF])
def test_names_are_in_the_file(estimator: Any, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = estimator(n_factors=2, n_iter=2, random_state=0).fit(frame(TITLES))
    model.save(path)
    loaded = load(path)
    assert loaded.feature_names_in_.tolist() == TITLES
    if estimator is not RankingMF:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            loaded.transform(frame(TITLES))
        with pytest.raises(ValueError, match="feature names should match"):
            loaded.transform(frame(TITLES[::-1]))
    arrays, meta = model_io.read(path)
    for names in (TITLES[:2], "jaws"):
        model_io.write(path, arrays, meta | {"feature_names": names})
        with pytest.raises(ValueError, match="damaged: its feature_names do not fit"):
            load(path)
    del meta["feature_names"]
    model_io.write(path, arrays, meta)
    assert not hasattr(load(path), "feature_names_in_")


def test_partial_fit_checks_and_extends_them() -> None:
    model = ExplicitMF(n_factors=2, n_iter=2, random_state=0).fit(frame(TITLES))
    with pytest.raises(ValueError, match="column 'up' at 0, where the model has 'jaws': give its"):
        model.partial_fit(frame(["up", "jaws", "it", "her"]))
    assert model.partial_fit(frame(TITLES, 13)).feature_names_in_.tolist() == TITLES
    model.partial_fit(frame([*TITLES, "alien"], 13))
    assert model.feature_names_in_.tolist() == [*TITLES, "alien"]
    model.partial_fit(frame([*TITLES, "alien"], 13).to_numpy())
    assert model.feature_names_in_.tolist() == [*TITLES, "alien"]
    wider = frame([*TITLES, "alien", "them"], 13).to_numpy()
    assert not hasattr(model.partial_fit(wider), "feature_names_in_")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.transform(wider)
