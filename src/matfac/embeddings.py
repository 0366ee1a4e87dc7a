"""A model's vectors for other programs: arrays, files, a vector index, an ONNX graph.

The biases are folded in as coordinates, so that one plain inner product ranks as the model does:
``user_vectors(model)[u] @ item_vectors(model)[i] + model.mean_`` is ``model.predict(u, i)``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from matfac import model_io
from matfac._atomic import replacing
from matfac._model import FactorModel
from matfac._onnx import to_onnx
from matfac._titles import titles_of
from matfac._validation import check_choice, check_integer
from matfac._vectors import item_vectors, user_vectors

if TYPE_CHECKING:
    from usearch.index import Index

__all__ = ["export", "item_vectors", "to_index", "to_onnx", "user_vectors"]

FORMAT = "matfac-embeddings"


def export(
    model: FactorModel,
    path: str | os.PathLike[str],
    *,
    side: str = "items",
    titles: Mapping[Any, str] | None = None,
) -> None:
    """Write the item or user vectors with their ids, and titles, to a file.

    Parameters
    ----------
    model : ExplicitMF, ImplicitMF or RankingMF
        Fitted.
    path : path-like
        Its suffix chooses the format. ``.npy``: the vectors, and beside them ``NAME.ids.npy`` and
        ``NAME.titles.npy``. ``.parquet``: columns id, title and vector (needs the extra
        ``frames``). ``.safetensors``: arrays vectors and ids, and strings as UTF-8 bytes with
        offsets.
    side : {"items", "users"}
        Which vectors: those of `item_vectors` or of `user_vectors`.
    titles : mapping of id to str, optional
        Titles by id, or by the id's decimal digits. Ids without a title get an empty string.

    Raises
    ------
    ValueError, TypeError
        Naming the argument.
    ImportError
        If Parquet is asked for and pyarrow is not installed.

    Notes
    -----
    Ids are row numbers where the model was fitted on a bare matrix. An error, such as a full disk,
    leaves the files that were there.

    Examples
    --------
    >>> import numpy as np
    >>> from matfac import Interactions, ImplicitMF
    >>> from matfac.embeddings import export
    >>> clicks = Interactions.from_arrays(["ann", "ann", "bob"], [10, 30, 20])
    >>> model = ImplicitMF(n_factors=2, random_state=0).fit(clicks)
    >>> export(model, "items.npy", titles={10: "Jaws", 20: "Up"})
    >>> np.load("items.npy").shape, np.load("items.ids.npy"), np.load("items.titles.npy")
    ((3, 2), array([10, 20, 30]), array(['Jaws', 'Up', ''], dtype='<U4'))
    """
    check_choice("side", side, ("items", "users"))
    suffix = Path(path).suffix.lower()
    if suffix not in WRITERS:
        raise ValueError(f"path must end in {', '.join(WRITERS)}, got {os.fspath(path)!r}")
    vectors = item_vectors(model) if side == "items" else user_vectors(model)
    ids = model.item_ids_ if side == "items" else model.user_ids_
    if ids is None:
        ids = np.arange(len(vectors))
    meta = {
        "format": FORMAT,
        "class": type(model).__name__,
        "side": side,
        "similarity": "inner product",
        "offset": str(model.mean_),
    }
    WRITERS[suffix](Path(path), vectors, ids, titles_of(ids, titles), meta)


def _write_npy(
    path: Path,
    vectors: NDArray[np.float32],
    ids: NDArray[Any],
    titles: NDArray[np.str_] | None,
    meta: dict[str, str],
) -> None:
    with ExitStack() as files:  # all are replaced, once all are written
        beside = (path.with_suffix(f".{name}.npy") for name in ("ids", "titles"))
        for place, array in zip((*beside, path), (ids, titles, vectors), strict=True):
            if array is not None:
                new = files.enter_context(replacing(place))
                with open(new, "wb") as file:
                    # Given the file itself, NumPy's error would not say that the disk is full.
                    np.save(SimpleNamespace(write=file.write), array, allow_pickle=False)


def _write_parquet(
    path: Path,
    vectors: NDArray[np.float32],
    ids: NDArray[Any],
    titles: NDArray[np.str_] | None,
    meta: dict[str, str],
) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ImportError('Parquet needs pyarrow: pip install "matfac[frames]"') from None
    columns: dict[str, Any] = {"id": pa.array(ids)}
    if titles is not None:
        columns["title"] = pa.array(titles)
    flat = pa.array(vectors.ravel())
    columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    table = pa.table(columns).replace_schema_metadata({"matfac": json.dumps(meta)})
    with replacing(path) as new:
        pq.write_table(table, new)


def _write_safetensors(
    path: Path,
    vectors: NDArray[np.float32],
    ids: NDArray[Any],
    titles: NDArray[np.str_] | None,
    meta: dict[str, str],
) -> None:
    arrays: model_io.Arrays = {"vectors": vectors}
    for name, array in (("ids", ids), ("titles", titles)):
        if array is not None:
            text = array.dtype.kind == "U"
            arrays.update(model_io.pack_strings(name, array) if text else {name: array})
    model_io.write_safetensors(path, arrays, meta)


WRITERS = {".npy": _write_npy, ".parquet": _write_parquet, ".safetensors": _write_safetensors}


def to_index(model: FactorModel, *, connectivity: int = 32, expansion: int = 200) -> Index:
    """Put the items into a vector index that finds about the best ones without scoring all.

    For catalogues of hundreds of thousands of items, or a vector database: with tens of thousands
    `recommend`, which is exact, is faster.

    Parameters
    ----------
    model : ExplicitMF, ImplicitMF or RankingMF
        Fitted.
    connectivity : int
        Neighbours of each item in the graph: more neighbours cost memory and time, and improve
        recall.
    expansion : int
        Candidates kept while the graph is built and searched, likewise.

    Returns
    -------
    usearch.index.Index
        Of float32, by inner product; its keys are row numbers of `item_vectors`, its distances
        1 minus the inner product. One thread builds it. Search it with `user_vectors`; save it with
        its own `save`. Items seen are not left out: ask for more than you need.

    Raises
    ------
    ImportError
        If usearch is not installed (the extra ``ann``).
    """
    try:
        from usearch.index import Index
    except ImportError:
        raise ImportError('to_index needs usearch: pip install "matfac[ann]"') from None
    check_integer("connectivity", connectivity, minimum=2, maximum=4096)
    check_integer("expansion", expansion, minimum=1, maximum=2**20)
    vectors = item_vectors(model)
    index = Index(
        ndim=vectors.shape[1],
        metric="ip",
        dtype="f32",  # its default, half the length, swaps neighbours
        connectivity=connectivity,
        expansion_add=expansion,
        expansion_search=expansion,
    )
    # Threads that insert at once can leave an item that no search comes to (USearch issue 735).
    index.add(np.arange(len(vectors)), vectors, threads=1)
    return index
