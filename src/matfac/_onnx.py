"""A model as an ONNX graph: user vectors in, the best items out."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from matfac._atomic import replacing
from matfac._model import FactorModel
from matfac._validation import check_integer
from matfac._vectors import item_vectors

OPSET, IR_VERSION = 17, 8  # old enough for every runtime of the last years
MAX_BYTES = 2**31 - 2**20  # of one ONNX file; the rest is the graph


def to_onnx(model: FactorModel, path: str | os.PathLike[str], *, k: int = 10) -> None:
    """Write an ONNX file that turns user vectors into the k best items.

    Parameters
    ----------
    model : ExplicitMF, ImplicitMF or RankingMF
        Fitted.
    path : path-like
        The file; replaced if it exists.
    k : int
        Length of the lists where the caller says nothing else.

    Raises
    ------
    ImportError
        If onnx is not installed (the extra ``onnx``).
    ValueError
        If the items do not fit into one ONNX file.

    Notes
    -----
    Inputs: ``user_vectors``, float32 of shape (n, n_coordinates), as `user_vectors` makes them;
    and, if wanted, ``k``, int64 of shape (1,), at most the number of items. Outputs: ``items``, ids
    (int64 or strings) or row numbers of shape (n, k), best first and equal scores by lower row;
    ``scores``, float32, the model's predictions. Items seen are not left out.
    """
    try:
        import onnx
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        raise ImportError('to_onnx needs onnx: pip install "matfac[onnx]"') from None

    items = item_vectors(model)
    k = min(check_integer("k", k, minimum=1), len(items))
    ids = model.item_ids_
    text = ids is not None and ids.dtype.kind == "U"
    if items.nbytes + (0 if ids is None else ids.nbytes) > MAX_BYTES:
        raise ValueError(
            f"{len(items)} items of {items.shape[1]} coordinates do not fit into an ONNX file, "
            "which holds 2 GiB: use to_index or export"
        )
    constants = [
        numpy_helper.from_array(np.ascontiguousarray(items.T), "item_vectors"),
        numpy_helper.from_array(np.float32(model.mean_).reshape(1), "mean"),
        numpy_helper.from_array(np.array([k]), "k"),
    ]
    nodes = [
        helper.make_node("MatMul", ["user_vectors", "item_vectors"], ["products"]),
        helper.make_node("TopK", ["products", "k"], ["best", "rows"], axis=1),
        helper.make_node("Add", ["best", "mean"], ["scores"]),
    ]
    if ids is None:
        nodes.append(helper.make_node("Identity", ["rows"], ["items"]))
    else:
        constants.append(numpy_helper.from_array(ids.astype(object) if text else ids, "ids"))
        nodes.append(helper.make_node("Gather", ["ids", "rows"], ["items"]))
    kind = TensorProto.STRING if text else TensorProto.INT64

    def described(name: str, dtype: int, shape: list[Any]) -> Any:
        return helper.make_tensor_value_info(name, dtype, shape)

    graph = helper.make_graph(
        nodes,
        "matfac",
        [
            described("user_vectors", TensorProto.FLOAT, ["n", items.shape[1]]),
            described("k", TensorProto.INT64, [1]),
        ],
        [
            described("items", kind, ["n", "length"]),
            described("scores", TensorProto.FLOAT, ["n", "length"]),
        ],
        constants,
        doc_string=f"The best items of a {type(model).__name__} for user vectors.",
    )
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="matfac",
    )
    onnx.checker.check_model(proto)
    with replacing(path) as new:
        new.write_bytes(proto.SerializeToString())
