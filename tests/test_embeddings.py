"""Vectors for other programs: they rank as the model does, in every format."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import safetensors
import safetensors.numpy
import scipy.sparse as sp

from conftest import load_data, random_ratings
from matfac import ExplicitMF, ImplicitMF, Interactions, datasets, model_io
from matfac._model import FactorModel
from matfac._titles import read_titles
from matfac.embeddings import export, item_vectors, to_index, to_onnx, user_vectors

N_USERS, N_ITEMS = 40, 60
RATINGS = random_ratings(N_USERS, N_ITEMS, 0.2, seed=3)
NAMED = Interactions(
    RATINGS, [f"u{i}" for i in range(N_USERS)], [f"film {i:02}" for i in range(N_ITEMS)]
)
NUMBERED = Interactions(RATINGS, np.arange(N_USERS) + 100, 7 * np.arange(N_ITEMS) + 5)


def fitted(kind: str, X: Any = RATINGS, **parameters: Any) -> FactorModel:
    shared = {"n_factors": 6, "n_iter": 4, "random_state": 0, "n_threads": 2, **parameters}
    if kind == "explicit":
        return ExplicitMF(reg=0.02, **shared).fit(X)
    if kind == "no bias":
        return ExplicitMF(reg=0.02, fit_bias=False, **shared).fit(X)
    return ImplicitMF(reg=0.01, **shared).fit(X)


KINDS = ("explicit", "no bias", "implicit")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_inner_product_is_the_prediction(kind: str, dtype: str) -> None:
    model = fitted(kind, dtype=dtype)
    users, items = user_vectors(model), item_vectors(model)
    for vectors, n in ((users, N_USERS), (items, N_ITEMS)):
        assert vectors.shape == (n, 6 + 2 * (kind == "explicit"))
        assert vectors.dtype == np.float32
        assert vectors.flags.c_contiguous
    exact = users.astype(np.float64) @ items.astype(np.float64).T + model.mean_
    predicted = model.predict(np.arange(N_USERS)[:, None], np.arange(N_ITEMS))
    np.testing.assert_allclose(exact, predicted, atol=2e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_order_is_the_models_both_ways(kind: str) -> None:
    model = fitted(kind)
    scores = user_vectors(model).astype(np.float64) @ item_vectors(model).astype(np.float64).T
    lists, _ = model.recommend(k=N_ITEMS, exclude_seen=False)
    ranked = np.take_along_axis(scores, lists, axis=1)
    assert (np.diff(ranked, axis=1) < 1e-6).all()  # falling, but for ties of float32
    # And over the users of one item, where the users' biases count.
    predicted = model.predict(np.arange(N_USERS)[:, None], np.arange(N_ITEMS))
    by_model = np.take_along_axis(scores, np.argsort(-predicted, axis=0), axis=0)
    assert (np.diff(by_model, axis=0) < 1e-6).all()


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_of_chosen_and_of_new_users(kind: str) -> None:
    model = fitted(kind, NAMED)
    every = user_vectors(model)
    np.testing.assert_array_equal(user_vectors(model, ["u7", "u3"]), every[[7, 3]])
    new = user_vectors(model, X=RATINGS[:5])
    assert new.shape == (5, every.shape[1])
    scores = new @ item_vectors(model).T + np.float32(model.mean_)
    np.testing.assert_allclose(scores, model.predict(RATINGS[:5]), atol=1e-5)
    with pytest.raises(ValueError, match="exclude each other"):
        user_vectors(model, ["u7"], X=RATINGS[:5])
    with pytest.raises(ValueError, match="nobody"):
        user_vectors(model, ["nobody"])


# ---------------------------------------------------------------- files

TITLES = {f"film {i:02}": f"Tïtle {i}" for i in range(0, N_ITEMS, 2)}
EXPECTED = [TITLES.get(f"film {i:02}", "") for i in range(N_ITEMS)]


def test_npy(tmp_path: Path) -> None:
    model = fitted("explicit", NAMED)
    export(model, tmp_path / "a.npy", titles=TITLES)
    vectors = np.load(tmp_path / "a.npy")
    np.testing.assert_array_equal(vectors, item_vectors(model))
    assert np.load(tmp_path / "a.ids.npy").tolist() == NAMED.item_ids.tolist()
    assert np.load(tmp_path / "a.titles.npy").tolist() == EXPECTED
    export(model, tmp_path / "u.npy", side="users")
    np.testing.assert_array_equal(np.load(tmp_path / "u.npy"), user_vectors(model))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.ids.npy", "a.npy", "a.titles.npy", "u.ids.npy", "u.npy",
    ]  # fmt: skip


def test_parquet(tmp_path: Path) -> None:
    model = fitted("explicit", NAMED)
    export(model, tmp_path / "a.parquet", titles=TITLES)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["id", "title", "vector"]
    kind = table.schema.field("vector").type
    assert (kind.list_size, str(kind.value_type)) == (8, "float")
    vectors = np.stack(table["vector"].to_numpy())
    np.testing.assert_array_equal(vectors, item_vectors(model))
    assert table["id"].to_pylist() == NAMED.item_ids.tolist()
    assert table["title"].to_pylist() == EXPECTED
    assert b'"similarity": "inner product"' in table.schema.metadata[b"matfac"]


def test_safetensors(tmp_path: Path) -> None:
    model = fitted("implicit", NAMED)
    export(model, tmp_path / "a.safetensors", titles=TITLES)
    arrays = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(arrays["vectors"], item_vectors(model))
    for name, wanted in (("ids", NAMED.item_ids.tolist()), ("titles", EXPECTED)):
        assert model_io.unpack_strings(arrays, name, path="a").tolist() == wanted
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="np") as file:
        assert file.metadata()["format"] == "matfac-embeddings"
        assert file.metadata()["side"] == "items"
    with pytest.raises(ValueError, match="not a matfac model"):
        model_io.read(tmp_path / "a.safetensors")


def test_a_short_line_of_a_table_has_no_title(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,year,title\nfilm 00,1999,Up\nfilm 01,2000\n")
    assert read_titles(tmp_path / "t.csv") == {"film 00": "Up", "film 01": ""}


@pytest.mark.parametrize("suffix", ["NPY", "Parquet", "SAFETENSORS"])
def test_the_file_has_the_name_that_is_given(tmp_path: Path, suffix: str) -> None:
    export(ImplicitMF(n_factors=2, n_iter=1).fit(NAMED), tmp_path / f"a.{suffix}")
    assert f"a.{suffix}" in {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize("suffix", ["npy", "parquet", "safetensors"])
@pytest.mark.parametrize("data", [NUMBERED, RATINGS], ids=["numbered", "bare"])
def test_integer_ids(data: Any, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    model = fitted("implicit", data)
    export(model, path, side="users", titles={"100": "first", 101: "second", 0: "bare"})
    if suffix == "npy":
        ids, titles = np.load(tmp_path / "a.ids.npy"), np.load(tmp_path / "a.titles.npy").tolist()
    elif suffix == "parquet":
        table = pq.read_table(path)
        ids, titles = table["id"].to_numpy(), table["title"].to_pylist()
    else:
        arrays = safetensors.numpy.load_file(path)
        ids = arrays["ids"]
        titles = model_io.unpack_strings(arrays, "titles", path=path).tolist()
    bare = data is RATINGS
    np.testing.assert_array_equal(ids, np.arange(N_USERS) + 100 * (not bare))
    assert titles[:2] == (["bare", ""] if bare else ["first", "second"])


def test_export_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("implicit")
    with pytest.raises(ValueError, match=r"path must end in \.npy, \.parquet, \.safetensors, got"):
        export(model, tmp_path / "a.csv")
    with pytest.raises(ValueError, match="side must be one of 'items', 'users', got 'films'"):
        export(model, tmp_path / "a.npy", side="films")
    with pytest.raises(TypeError, match="titles must map ids to titles, got list"):
        export(model, tmp_path / "a.npy", titles=["a"])  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="there is no directory"):
        export(model, tmp_path / "none" / "a.npy")
    with pytest.raises(ValueError, match="not fitted"):
        export(ImplicitMF(), tmp_path / "a.npy")
    for name, call in (
        ("pyarrow", lambda: export(model, tmp_path / "a.parquet")),
        ("usearch.index", lambda: to_index(model)),
        ("onnx", lambda: to_onnx(model, tmp_path / "a.onnx")),
    ):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ImportError, match=r"pip install .matfac\[(frames|ann|onnx)\]"):
            call()
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.parquet"
    export(fitted("implicit"), path)
    before = path.read_bytes()

    def fail(*args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        export(fitted("explicit"), path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.parquet"]


# ---------------------------------------------------------------- vector index


def index_recall(model: FactorModel, n_users: int) -> float:
    """Return the share of the exact ten best items that the index finds."""
    users = np.random.default_rng(0).choice(len(model.user_factors_), n_users, replace=False)
    exact, scores = model.recommend(users, k=10, exclude_seen=False)
    matches = to_index(model).search(user_vectors(model, users), 10)
    found = (matches.keys[:, :, None] == exact[:, None, :]).any(axis=1)
    # What it calls a distance is 1 minus the inner product.
    hits = matches.keys == exact
    np.testing.assert_allclose((1 - matches.distances + model.mean_)[hits], scores[hits], atol=1e-4)
    return float(found.mean())


def test_index_refuses_sizes_that_no_memory_holds() -> None:
    pytest.importorskip("usearch")
    model = fitted("implicit")
    with pytest.raises(ValueError, match="connectivity must be at most 4096, got 1000000"):
        to_index(model, connectivity=10**6)
    with pytest.raises(ValueError, match="expansion must be at most 1048576, got 1000000000"):
        to_index(model, expansion=10**9)


@pytest.mark.parametrize("kind", ["explicit", "implicit"])
def test_index_finds_the_best_on_movielens(kind: str) -> None:
    pytest.importorskip("usearch", reason="needs the extra ann")
    data = load_data("ml-1m")
    X = sp.csr_array((data["rating"], (data["user"], data["item"])))
    cls = ExplicitMF if kind == "explicit" else ImplicitMF
    model = cls(n_factors=64, n_iter=4, random_state=0, n_threads=2).fit(X)
    assert index_recall(model, 1000) >= 0.99


@pytest.mark.parametrize(
    ("n_users", "n_items", "nnz"),
    [(1000, 2000, 50_000), pytest.param(10_000, 27_000, 600_000, marks=pytest.mark.slow)],
)
def test_index_finds_the_best_of_a_planted_catalogue(n_users: int, n_items: int, nnz: int) -> None:
    pytest.importorskip("usearch", reason="needs the extra ann")
    data = datasets.planted_clicks(n_users, n_items, nnz, rank=16, seed=4)
    model = ImplicitMF(n_factors=64, n_iter=8, random_state=0, n_threads=2).fit(data.train)
    norms = np.linalg.norm(model.item_factors_, axis=1)
    assert norms.max() > 2 * np.median(norms)  # where an index made for cosine fails
    assert index_recall(model, 500) >= 0.99


# ---------------------------------------------------------------- ONNX


def onnx_lists(path: Path, vectors: np.ndarray, **inputs: Any) -> tuple[np.ndarray, np.ndarray]:
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    items, scores = session.run(["items", "scores"], {"user_vectors": vectors, **inputs})
    return items, scores


@pytest.mark.parametrize("data", [NAMED, NUMBERED, RATINGS], ids=["named", "numbered", "bare"])
@pytest.mark.parametrize("kind", KINDS)
def test_onnx_gives_the_models_answer(kind: str, data: Any, tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the extra onnx")
    model = fitted(kind, data)
    to_onnx(model, tmp_path / "m.onnx", k=7)
    for k, inputs in ((7, {}), (12, {"k": np.array([12])})):
        items, scores = onnx_lists(tmp_path / "m.onnx", user_vectors(model), **inputs)
        wanted_items, wanted = model.recommend(k=k, exclude_seen=False)
        assert items.shape == (N_USERS, k)
        np.testing.assert_allclose(scores, wanted, atol=1e-5)
        gaps = np.abs(np.diff(wanted, axis=1)) < 1e-5  # neighbours that rounding may swap
        clear = ~(np.pad(gaps, ((0, 0), (0, 1))) | np.pad(gaps, ((0, 0), (1, 0))))
        clear[:, -1] = False  # its rival may be the first that is left out
        assert clear.mean() > 0.7
        np.testing.assert_array_equal(items[clear], wanted_items[clear])


def test_onnx_breaks_ties_as_the_model_does(tmp_path: Path) -> None:
    pytest.importorskip("onnx", reason="needs the extra onnx")
    model = fitted("implicit")
    model.item_factors_ = np.tile(model.item_factors_[0], (len(model.item_factors_), 1))
    to_onnx(model, tmp_path / "m.onnx", k=500)
    items, _ = onnx_lists(tmp_path / "m.onnx", user_vectors(model, [3]))
    assert items.tolist() == [list(range(N_ITEMS))]
