"""Pictures: what is drawn is what the model holds, and labels can be read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.text import Annotation

from conftest import random_ratings
from matfac import ExplicitMF, ImplicitMF, Interactions, plotting
from matfac.cli import main

mpl.use("Agg")

RATINGS = random_ratings(80, 50, 0.2, seed=2)
HELD_OUT = random_ratings(80, 50, 0.05, seed=3)
SHARED: dict[str, Any] = {"n_factors": 6, "n_iter": 5, "random_state": 0, "n_threads": 1}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def explicit(**parameters: Any) -> ExplicitMF:
    return ExplicitMF(**SHARED, **parameters).fit(RATINGS, validation=HELD_OUT)


def clicks(data: Any = RATINGS) -> ImplicitMF:
    return ImplicitMF(**SHARED).fit(data)


def test_learning_curves_of_several_models() -> None:
    models = {"ALS": explicit(), "SGD": explicit(solver="sgd")}
    ax = plotting.learning_curves(models)
    lines = {str(line.get_label()).split(" (")[0]: line for line in ax.get_lines()}
    assert list(lines) == ["ALS, training", "ALS, validation", "SGD, training", "SGD, validation"]
    history = models["SGD"].history_
    drawn = lines["SGD, validation"]
    np.testing.assert_array_equal(drawn.get_xdata(), [1, 2, 3, 4, 5])
    np.testing.assert_array_equal(drawn.get_ydata(), [r["validation_rmse"] for r in history])
    best = int(np.argmin(drawn.get_ydata()))
    assert f"epoch {best + 1})" in str(drawn.get_label())
    assert lines["ALS, training"].get_linestyle() == "--"
    assert lines["ALS, training"].get_color() == lines["ALS, validation"].get_color()
    assert lines["ALS, training"].get_color() != drawn.get_color()
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "RMSE")
    assert ax.get_legend() is not None


def test_learning_curves_of_one_model_and_in_seconds() -> None:
    ax = plotting.learning_curves(clicks(), against="seconds")
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time since the start (s)", "objective")
    assert len(ax.get_lines()) == 1
    ax = plotting.learning_curves([explicit(), clicks()])  # objective is all they share
    assert ax.get_ylabel() == "objective"
    ax = plotting.learning_curves(explicit(), metric="objective")
    assert ax.get_ylabel() == "objective"


def test_learning_curves_mark_the_highest_ndcg() -> None:
    model = ImplicitMF(**SHARED).fit(RATINGS, validation=HELD_OUT)
    values = [record["validation_ndcg@10"] for record in model.history_]
    (line,) = plotting.learning_curves(model).get_lines()
    assert line.get_markevery() == [int(np.argmax(values))]


def test_learning_curves_refuse() -> None:
    with pytest.raises(ValueError, match=r"metric must be .*\['objective', 'rmse'\], got 'auc'"):
        plotting.learning_curves(explicit(), metric="auc")
    with pytest.raises(ValueError, match="models must hold at least one"):
        plotting.learning_curves([])
    with pytest.raises(ValueError, match="not fitted"):
        plotting.learning_curves(ExplicitMF())
    with pytest.raises(ValueError, match="against must be one of"):
        plotting.learning_curves(explicit(), against="minutes")


def test_spectrum_is_that_of_the_product() -> None:
    model = clicks()
    ax = plotting.factor_spectrum(model)
    drawn = [bar.get_height() for bar in ax.patches]
    product = model.user_factors_.astype(np.float64) @ model.item_factors_.T
    squares = np.linalg.svd(product, compute_uv=False)[:6] ** 2
    np.testing.assert_allclose(drawn, 100 * squares / squares.sum(), rtol=1e-5)
    dark = sum(bar.get_facecolor() == ax.patches[0].get_facecolor() for bar in ax.patches)
    assert drawn[:dark] == pytest.approx(drawn[:dark])
    assert sum(drawn[:dark]) >= 90 > sum(drawn[: dark - 1])
    assert f"{dark} of 6" in ax.get_title(loc="left")


def named() -> Interactions:
    return Interactions(RATINGS, np.arange(80), [f"i{i}" for i in range(50)])


def test_map_shows_the_popular_items_and_no_labels_overlap() -> None:
    titles = {
        f"i{i}": f"A film of some length $ no. {i} and of an even longer name" for i in range(50)
    }
    del titles["i3"]
    ax = plotting.item_map(clicks(named()), titles, n_items=40, n_labels=25)
    figure: Any = ax.get_figure()
    figure.canvas.draw()
    notes = [child for child in ax.get_children() if isinstance(child, Annotation)]
    assert 10 <= len(notes) <= 25
    boxes = [note.get_window_extent() for note in notes]
    frame = ax.get_window_extent()
    assert not any(a.overlaps(b) for a, b in combinations(boxes, 2))
    assert all(frame.x0 - 1 <= box.x0 and box.x1 <= frame.x1 + 1 for box in boxes)
    assert all(len(note.get_text().replace("\\", "")) <= 36 for note in notes)
    popular = np.argsort(-np.bincount(RATINGS.indices, minlength=50), kind="stable")[:40]
    numbers = [int(note.get_text().split("no. ")[1].split()[0].rstrip("…")) for note in notes
               if "no. " in note.get_text()]  # fmt: skip
    assert set(numbers) <= set(popular.tolist())
    points, labelled = (child.get_offsets() for child in ax.collections)
    assert len(points) == 40
    assert len(labelled) == len(notes)
    assert "% of variance" in ax.get_xlabel()


def test_map_is_the_plane_of_greatest_variance_of_directions() -> None:
    model = clicks()
    chosen = np.arange(10, 40)
    ax = plotting.item_map(model, items=chosen, n_labels=0)
    points = np.asarray(ax.collections[0].get_offsets())
    rows = model.item_factors_[chosen].astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(norms > 0, norms, 1)
    spread = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    np.testing.assert_allclose(np.sort(points.var(axis=0, ddof=1))[::-1], spread[:2], rtol=1e-6)
    assert abs(np.cov(points.T)[0, 1]) < 1e-8
    share = 100 * spread[0] / spread.sum()
    assert f"({share:.0f} % of variance)" in ax.get_xlabel()


def test_map_of_few_factors_and_refusals() -> None:
    model = ImplicitMF(**{**SHARED, "n_factors": 1}).fit(RATINGS)
    plotting.item_map(model, n_items=5)
    with pytest.raises(ValueError, match="items must hold at least two different items, got 1"):
        plotting.item_map(model, items=[3, 3])
    with pytest.raises(ValueError, match="n_items must be at least 2"):
        plotting.item_map(model, n_items=1)


@pytest.mark.parametrize("data", [RATINGS, named()], ids=["bare", "named"])
def test_popularity_counts_the_lists(data: Any) -> None:
    model = clicks(data)
    ax = plotting.popularity_bias(model, k=3)
    bare = clicks()
    lists, _ = bare.recommend(k=3)
    shown = np.bincount(lists.ravel(), minlength=50)
    entries = np.bincount(RATINGS.indices, minlength=50)
    drawn = np.vstack([child.get_offsets() for child in ax.collections])
    wanted = np.column_stack((np.maximum(entries, 0.5), np.maximum(shown, 0.5)))
    order = [np.lexsort(table.T) for table in (drawn, wanted)]
    np.testing.assert_allclose(drawn[order[0]], wanted[order[1]])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert f"coverage {100 * (shown > 0).mean():.0f} %" in ax.get_title(loc="left")
    pairs = np.abs(shown[:, None] - shown).sum() / (2 * 50 * shown.sum())  # Gini's definition
    assert f"Gini {pairs:.2f}" in ax.get_title(loc="left")
    assert "0" in [label.get_text() for label in ax.get_yticklabels()]


def test_popularity_of_lists_that_are_padded() -> None:
    ax = plotting.popularity_bias(clicks(named()), k=50)  # no user has that many unseen
    assert "coverage 100 %" in ax.get_title(loc="left")


def test_popularity_needs_the_training_entries(tmp_path: Path) -> None:
    from matfac import load

    clicks().save(tmp_path / "m", with_seen=False)
    with pytest.raises(ValueError, match="saved without"):
        plotting.popularity_bias(load(tmp_path / "m"))
    plotting.item_map(load(tmp_path / "m"), n_items=10)  # by the factors' length


def test_axes_given_are_used() -> None:
    _, axes = plt.subplots(2, 2)
    model = clicks()
    for draw, ax in zip(
        (plotting.learning_curves, plotting.factor_spectrum, plotting.item_map,
         plotting.popularity_bias), axes.flat, strict=True,
    ):  # fmt: skip
        assert draw(model, ax=ax) is ax  # type: ignore[operator]


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install .matfac\[plot\]"):
        plotting.factor_spectrum(clicks())


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clicks(named()).save(tmp_path / "a")
    explicit().save(tmp_path / "b")
    titles = tmp_path / "titles.csv"
    titles.write_text("id,title\ni1,One\n")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    for words in (
        ["curves", a, b], ["curves", b], ["spectrum", a], ["map", a, "--titles", str(titles)],
        ["popularity", b, "-k", "3"],
    ):  # fmt: skip
        for suffix, start in (("png", b"\x89PNG"), ("svg", b"<?xml")):
            out = tmp_path / f"out.{suffix}"
            assert main(["plot", *words, "--out", str(out)]) == 0, capsys.readouterr().err
            assert out.read_bytes().startswith(start)
            out.unlink()
    for words, message in (
        (["spectrum", a, b, "--out", "x.png"], "draws one model, got 2"),
        (["curves", a, "--titles", str(titles), "--out", "x.png"], "--titles goes with plot map"),
        (["map", a, "--out", str(tmp_path / "x.gpx")], "gpx"),
    ):
        assert main(["plot", *words]) == 2
        assert message in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", "titles.csv"}
