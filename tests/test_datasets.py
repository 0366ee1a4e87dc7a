"""Planted data is what it says it is; loaders read what the user brings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from conftest import DATA_DIR
from matfac import _draw
from matfac.datasets import load_movielens, load_split, planted_clicks, planted_ratings


def assert_canonical(*matrices: sp.csr_array) -> None:
    for matrix in matrices:
        assert isinstance(matrix, sp.csr_array)
        assert matrix.dtype == np.float32
        fresh = sp.csr_array((matrix.data, matrix.indices, matrix.indptr), shape=matrix.shape)
        assert fresh.has_canonical_format


def pairs(matrix: sp.csr_array) -> tuple[np.ndarray, np.ndarray]:
    coo = matrix.tocoo()
    return coo.row, coo.col


# ---------------------------------------------------------------- ratings


@pytest.mark.parametrize("levels", [None, (0.5, 5.0, 0.5), (1, 5, 1)])
def test_ratings_have_the_error_they_claim(levels: Any) -> None:
    data = planted_ratings(3000, 1000, 300_000, rank=4, noise=0.6, levels=levels, seed=3)
    assert_canonical(data.train, data.test)
    assert data.train.nnz + data.test.nnz == 300_000
    assert abs(data.test.nnz - 30_000) < 1500
    assert data.train.multiply(data.test).nnz == 0
    assert np.diff(data.train.indptr).min() >= 1
    assert data.user_factors.shape == (3000, 4)
    assert data.item_bias.shape == (1000,)
    for matrix in (data.train, data.test):
        error = matrix.data - data.predict(*pairs(matrix))
        assert np.sqrt(np.mean(error**2)) == pytest.approx(data.noise_floor, rel=0.02)
        # Unbiased at every height: no better guess is left in the truth.
        truth = data.truth(*pairs(matrix))
        for part in np.array_split(np.argsort(truth), 5):
            assert abs(error[part].mean()) < 0.03
    if levels is None:
        assert data.noise_floor == pytest.approx(0.6, rel=0.02)
    else:
        low, high, step = levels
        steps = (np.concatenate([data.train.data, data.test.data]) - low) / step
        assert set(np.unique(steps)) == set(range(round((high - low) / step) + 1))


def test_ratings_without_noise_are_the_truth() -> None:
    data = planted_ratings(50, 40, 500, noise=0, levels=None)
    np.testing.assert_allclose(data.train.data, data.truth(*pairs(data.train)), rtol=1e-6)
    rounded = planted_ratings(50, 40, 500, noise=0)
    assert rounded.noise_floor == pytest.approx(0, abs=1e-7)


def test_power_laws() -> None:
    data = planted_ratings(5000, 2000, 400_000)
    popularity = np.sort(np.bincount(data.train.indices, minlength=2000))[::-1]
    activity = np.sort(np.diff(data.train.indptr))[::-1]
    assert popularity[:20].sum() > 0.05 * data.train.nnz > 5 * popularity[-20:].sum()
    assert activity[0] > 8 * np.median(activity)


def test_seeds() -> None:
    one, same, other = (planted_ratings(100, 50, 700, seed=seed) for seed in (1, 1, 2))
    assert (one.train != same.train).nnz == 0
    assert (one.train != other.train).nnz > 0
    assert one.noise_floor == same.noise_floor
    a, b = planted_clicks(80, 50, 500, seed=1), planted_clicks(80, 50, 500, seed=1)
    assert (a.train != b.train).nnz == (a.test != b.test).nnz == 0


@pytest.mark.parametrize(
    "sizes", [(1, 1, 1), (7, 5, 35), (5, 7, 34), (300, 3, 100), (3, 300, 500), (40, 30, 1100)]
)
def test_any_size(sizes: tuple[int, int, int]) -> None:
    m, n, nnz = sizes
    for data in (planted_ratings(m, n, nnz), planted_clicks(m, n, nnz)):
        assert data.train.shape == data.test.shape == (m, n)
        assert data.train.nnz + data.test.nnz == nnz
        assert data.train.multiply(data.test).nnz == 0
        assert_canonical(data.train, data.test)


def test_nothing_held_out() -> None:
    data = planted_ratings(20, 10, 50, test_fraction=0.0)
    assert data.test.nnz == 0
    assert np.isnan(data.noise_floor)
    assert planted_clicks(20, 10, 50, test_fraction=0.0).test.nnz == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_users": 0}, "n_users must be at least 1, got 0"),
        ({"n_items": 2.5}, "n_items must be an integer, got 2.5"),
        ({"rank": True}, "rank must be an integer, got True"),
        ({"nnz": 2001}, "nnz must be at most the number of cells, 50 x 40, got 2001"),
        ({"test_fraction": 1.0}, "test_fraction must be at least 0 and less than 1, got 1"),
        ({"test_fraction": "x"}, "test_fraction must be a number"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    for make in (planted_ratings, planted_clicks):
        with pytest.raises((ValueError, TypeError), match=message):
            make(**{"n_users": 50, "n_items": 40, "nnz": 100, **options})


@pytest.mark.parametrize(
    "levels", [(1, 5), (5, 1, 1), (1, 5, 0), (1, 5, 3), (0, 1, 1e-6), (0, np.inf, 1)]
)
def test_bad_levels(levels: Any) -> None:
    with pytest.raises(ValueError, match="levels must be"):
        planted_ratings(10, 10, 20, levels=levels)


def test_bad_noise_and_taste() -> None:
    for wrong in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="noise must be at least 0"):
            planted_ratings(10, 10, 20, noise=wrong)
        with pytest.raises(ValueError, match="taste must be at least 0"):
            planted_clicks(10, 10, 20, taste=wrong)


# ---------------------------------------------------------------- clicks


def test_clicks_follow_popularity_and_preference() -> None:
    data = planted_clicks(2000, 500, 60_000, seed=5)
    assert_canonical(data.train, data.test)
    assert set(data.train.data) == set(data.test.data) == {1.0}
    clicks = np.diff(data.train.indptr) + np.diff(data.test.indptr)
    held_out = np.diff(data.test.indptr)
    assert (held_out[clicks >= 2] >= 1).all()
    assert (held_out < clicks).all()
    assert held_out.sum() == pytest.approx(0.2 * 60_000, rel=0.1)
    rng = np.random.default_rng(0)
    anyone, anything = rng.integers(2000, size=20_000), rng.integers(500, size=20_000)
    base = data.preference(anyone, anything).mean()
    likes = [data.preference(*pairs(matrix)).mean() for matrix in (data.train, data.test)]
    assert min(likes) > 2 * base
    assert likes[1] == pytest.approx(likes[0], rel=0.03)  # the test is a fair draw
    drawn = np.bincount(data.train.indices, minlength=500)
    assert np.corrcoef(np.log(data.popularity), np.log(drawn + 1))[0, 1] > 0.7


def test_without_taste_only_popularity_counts() -> None:
    data = planted_clicks(400, 100, 4000, taste=0.0)
    assert (data.preference(*pairs(data.train)) == 0.5).all()


# ---------------------------------------------------------------- drawing


@pytest.mark.parametrize("count", [3, 30])
def test_both_ways_to_draw_have_the_same_odds(count: int) -> None:
    # 3 of 40 items are proposed and sifted, 30 are drawn by Gumbel's trick.
    rng = np.random.default_rng(0)
    popularity = np.concatenate([np.full(20, 3.0), np.full(20, 1.0)])
    popularity /= popularity.sum()
    items = _draw.draw_items(np.full(4000, count), popularity, rng)
    rows = items.reshape(4000, count)
    assert (np.diff(rows, axis=1) > 0).all()
    first = (rows < 20).mean()
    expected = np.mean([
        (np.random.default_rng(k).choice(40, count, replace=False, p=popularity) < 20).mean()
        for k in range(2000)
    ])  # fmt: skip
    assert first == pytest.approx(expected, abs=0.015)


def test_blocks_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_draw, "BLOCK", 1000)
    data = planted_ratings(500, 300, 9000)
    assert data.train.nnz + data.test.nnz == 9000
    assert_canonical(data.train, data.test)


@pytest.mark.parametrize("largest", [5, 2**62])
def test_first_occurrences(largest: int) -> None:
    keys = np.array([3, 1, 3, 0, 1, largest])
    assert _draw._first_occurrences(keys).tolist() == [True, True, False, True, False, True]


# ---------------------------------------------------------------- loaders


def write_movielens(folder: Path, **changes: Any) -> None:
    arrays = {
        "user": np.array([0, 1, 1, 0], np.int32), "item": np.array([0, 2, 1, 1], np.int32),
        "rating": np.array([5, 3, 4, 1], np.float32), "timestamp": np.array([10, 20, 30, 40]),
        "n_users": np.int64(2), "n_items": np.int64(3),
        "train_u1_user": np.array([0, 1], np.int32), "train_u1_item": np.array([0, 2], np.int32),
        "train_u1_rating": np.array([5, 3], np.float32),
        "test_u1_user": np.array([1], np.int32), "test_u1_item": np.array([1], np.int32),
        "test_u1_rating": np.array([4], np.float32),
    } | changes  # fmt: skip
    kept = {name: array for name, array in arrays.items() if array is not None}
    np.savez(folder / "ml-100k.npz", **kept)
    (folder / "ml-100k.titles.tsv").write_text(
        "item\tmovie_id\ttitle\tyear\n0\t30\tThird\t1990\n1\t10\tFirst\t\n2\t20\tZwölf\t2000\n",
        encoding="utf-8",
    )


def test_movielens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_movielens(tmp_path)
    monkeypatch.setenv("MATFAC_DATA_DIR", str(tmp_path))
    data = load_movielens()
    assert data.interactions.user_ids.tolist() == [1, 2]
    assert data.interactions.item_ids.tolist() == [10, 20, 30]
    assert data.titles.tolist() == ["First", "Zwölf", "Third"]
    assert data.interactions.matrix.toarray().tolist() == [[1, 0, 5], [4, 3, 0]]
    assert data.interactions.timestamps is not None
    assert data.interactions.timestamps.tolist() == [40, 10, 30, 20]
    train, test = data.folds["u1"]
    assert train.toarray().tolist() == [[0, 0, 5], [0, 3, 0]]
    assert test.toarray().tolist() == [[0, 0, 0], [4, 0, 0]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rating": None}, "lacks rating: it should be an .npz file with the arrays user, item"),
        ({"user": np.array([0, 1, 1, 7])}, "user must hold indices from 0 to 1"),
        ({"item": np.array([0, -1, 1, 1])}, "item must hold indices from 0 to 2"),
        ({"rating": np.ones(3)}, "differ in length"),
        ({"train_u1_rating": np.ones(3)}, r"the arrays train_u1_\* differ in length"),
        ({"train_u1_item": None}, "lacks the array train_u1_item"),
        ({"n_items": np.int64(4)}, "should list the items 0 to 3 in order"),
        ({"item": np.array([0, 2, 2, 0])}, "is not ml-100k: some users or films have no ratings"),
        ({"user": np.array([None] * 4)}, "cannot be read: .*it should be an .npz file"),
    ],
)
def test_wrong_data(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    write_movielens(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load_movielens("ml-100k", tmp_path)


def test_absent_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"ml-1m\.npz does not exist: put an \.npz file with"
    ):
        load_movielens("ml-1m", tmp_path)
    with pytest.raises(ValueError, match="name must be one of 'ml-100k', 'ml-1m', got 'ml-25m'"):
        load_movielens("ml-25m", tmp_path)
    monkeypatch.delenv("MATFAC_DATA_DIR", raising=False)
    with pytest.raises(ValueError, match=r"data_dir must name the folder .* MATFAC_DATA_DIR must"):
        load_movielens()
    write_movielens(tmp_path)
    titles = tmp_path / "ml-100k.titles.tsv"
    titles.write_text("item\ttitle\n0\tX\n", encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"should be a table with tabs .* 'movie_id' is not in list"
    ):
        load_movielens(data_dir=tmp_path)
    titles.unlink()
    with pytest.raises(FileNotFoundError, match=r"titles\.tsv does not exist: put a table"):
        load_movielens(data_dir=tmp_path)
    (tmp_path / "ml-100k.npz").write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match="cannot be read"):
        load_movielens(data_dir=tmp_path)


def test_published_split(tmp_path: Path) -> None:
    arrays = {
        "train_user": np.array([0, 1]), "train_item": np.array([1, 0]),
        "test_user": np.array([1, 0]), "test_item": np.array([2, 0]),
        "train_rating": np.array([5.0, 4.0]), "n_users": np.int64(2), "n_items": np.int64(3),
        "test_negatives": np.array([[1, 1], [2, 2]]),
    }  # fmt: skip
    np.savez(tmp_path / "ncf-ml-1m.npz", **arrays)
    data = load_split("ncf-ml-1m", tmp_path)
    assert data.train.toarray().tolist() == [[0, 1, 0], [1, 0, 0]]
    assert data.test.toarray().tolist() == [[1, 0, 0], [0, 0, 1]]
    assert data.negatives is not None
    assert data.negatives.tolist() == [[2, 2], [1, 1]]  # in the order of the users
    with pytest.raises(ValueError, match="name must be one of 'ncf-ml-1m'"):
        load_split("ml-100k", tmp_path)


@pytest.mark.parametrize(
    ("name", "shape", "nnz", "folds"),
    [("ml-100k", (943, 1682), 100_000, 7), ("ml-1m", (6040, 3706), 1_000_209, 0)],
)
def test_real_movielens(name: str, shape: tuple[int, int], nnz: int, folds: int) -> None:
    if not (DATA_DIR / f"{name}.npz").exists():
        pytest.skip(f"{DATA_DIR} holds no {name}: set MATFAC_DATA_DIR to the folder that does")
    data = load_movielens(name, DATA_DIR)
    assert (data.interactions.shape, data.interactions.nnz) == (shape, nnz)
    assert len(data.folds) == folds
    assert data.titles[data.interactions.item_index(1)].startswith("Toy Story")
    for train, test in data.folds.values():
        assert (train + test != data.interactions.matrix).nnz == 0 or train.nnz + test.nnz < nnz
        assert train.multiply(test).nnz == 0


@pytest.mark.parametrize(
    ("name", "train", "test"),
    [("ncf-ml-1m", 994_169, 6040), ("lightgcn-gowalla", 810_128, 217_242)],
)
def test_real_splits(name: str, train: int, test: int) -> None:
    if not (DATA_DIR / f"{name}.npz").exists():
        pytest.skip(f"{DATA_DIR} holds no {name}: set MATFAC_DATA_DIR to the folder that does")
    data = load_split(name, DATA_DIR)
    assert (data.train.nnz, data.test.nnz) == (train, test)
    assert data.train.multiply(data.test).nnz == 0
    assert (data.negatives is not None) == (name == "ncf-ml-1m")
