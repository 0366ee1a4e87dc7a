"""Fitted models to files and back; the container itself is `model_io`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np

from matfac import model_io
from matfac._derived import freeze
from matfac._ids import IdIndex
from matfac._validation import check_path

if TYPE_CHECKING:
    from matfac._model import FactorModel

ARRAYS = ("user_factors", "item_factors", "user_bias", "item_bias", "item_counts")
FEATURE_ARRAYS = tuple(
    f"{side}_feature_{part}" for side in ("user", "item") for part in ("factors", "bias")
)


def save(model: FactorModel, path: str | os.PathLike[str], *, with_seen: bool) -> None:
    """Write a fitted model."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    for name in (*ARRAYS, *FEATURE_ARRAYS):
        value = getattr(model, f"{name}_", None)  # item_counts_: RankingMF alone
        if value is not None:
            arrays[name] = np.ascontiguousarray(value)
    if with_seen and model._seen is not None:
        arrays["seen.indptr"], arrays["seen.indices"] = model._seen
    for name in ("user_ids", "item_ids"):
        ids = getattr(model, f"{name}_")
        if ids is None:
            continue
        if ids.dtype.kind in "US":
            arrays.update(model_io.pack_strings(name, ids))
        else:
            arrays[name] = ids
    names = getattr(model, "feature_names_in_", None)  # of a frame
    meta = {
        "class": type(model).__name__,
        "params": plain_params(model),
        "mean": model.mean_,
        "n_iter": model.n_iter_,
        "objective": model.objective_,
        "history": model.history_,
        "rating_range": getattr(model, "rating_range_", None),  # ExplicitMF has one
        "feature_names": None if names is None else names.tolist(),
    }
    model_io.write(check_path("path", path), arrays, meta)


def plain_params(model: Any) -> dict[str, Any]:
    """Return the parameters that a file can hold: not a callback, nor a RandomState."""
    plain = (type(None), bool, int, float, str)
    given = model.get_params().items()
    params = {k: v.item() if isinstance(v, np.generic) else v for k, v in given}
    return {k: v for k, v in params.items() if isinstance(v, plain)}


def load(path: str | os.PathLike[str]) -> FactorModel:
    """Read a model written by `save`.

    Parameters
    ----------
    path : path-like
        The file. Its arrays are memory-mapped: nothing is read before it is used.

    Returns
    -------
    ExplicitMF, ImplicitMF or RankingMF
        Fitted, as it was saved, but for a callback or a RandomState among its parameters.

    Raises
    ------
    ValueError
        The file is truncated, foreign, damaged, or of a newer version.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np, matfac
    >>> X = np.array([[5.0, np.nan, 1.0], [4.0, 2.0, np.nan]])
    >>> model = matfac.ExplicitMF(n_factors=2, random_state=0).fit(X)
    >>> path = os.path.join(tempfile.mkdtemp(), "model.safetensors")
    >>> model.save(path)
    >>> bool(np.array_equal(matfac.load(path).predict(0, [0, 1, 2]), model.predict(0, [0, 1, 2])))
    True
    """
    from matfac.explicit import ExplicitMF
    from matfac.implicit import ImplicitMF
    from matfac.ranking import RankingMF

    arrays, meta = model_io.read(check_path("path", path))
    classes: dict[str, type[FactorModel]] = {
        c.__name__: c for c in (ExplicitMF, ImplicitMF, RankingMF)
    }
    name = meta.get("class")
    if name not in classes:
        raise ValueError(f"{path} holds a model of class {name!r}, not one of {sorted(classes)}")
    try:
        model = classes[name](**meta["params"])
        model.mean_ = float(meta["mean"])
        model.n_iter_ = int(meta["n_iter"])
        model.objective_ = float(meta["objective"])
        model.history_ = list(meta["history"])
        if isinstance(model, ExplicitMF):
            limits = meta.get("rating_range")  # the first files of version 1 lack it
            model.rating_range_ = None if limits is None else model._limits(tuple(limits))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged: its description is not a model's ({error})") from None
    _set_arrays(model, arrays, path)
    names = meta.get("feature_names")  # earlier files of version 1 lack it
    if names is not None:
        if not isinstance(names, list) or len(names) != model.n_features_in_:
            raise ValueError(f"{path} is damaged: its feature_names do not fit item_factors")
        model.feature_names_in_ = np.array(names, dtype=object)
    return model


def _set_arrays(
    model: FactorModel, arrays: dict[str, np.ndarray[Any, Any]], path: str | os.PathLike[str]
) -> None:
    for side in ("user", "item"):
        factors = model_io.require(arrays, f"{side}_factors", ndim=2, path=path)
        bias = arrays.get(f"{side}_bias")
        ids = arrays.get(f"{side}_ids")
        if ids is None and f"{side}_ids.bytes" in arrays:
            ids = model_io.unpack_strings(arrays, f"{side}_ids", path=path)
            ids.flags.writeable = False  # so that the index need not copy them
        for what, array in (("bias", bias), ("ids", ids)):
            if array is not None and array.shape != (len(factors),):
                raise ValueError(f"{path} is damaged: {side}_{what} does not fit {side}_factors")
        setattr(model, f"{side}_factors_", freeze(factors))
        setattr(model, f"{side}_bias_", bias)
        setattr(model, f"_{side}_index", None if ids is None else IdIndex(ids))
    if (
        model.user_factors_.shape[1] != model.item_factors_.shape[1]
        or model.user_factors_.dtype != model.item_factors_.dtype
        or (model.user_bias_ is None) != (model.item_bias_ is None)
    ):
        raise ValueError(f"{path} is damaged: its user and item arrays do not fit each other")
    _set_feature_arrays(model, arrays, path)
    model.n_features_in_ = len(model.item_factors_)
    if type(model).__name__ == "RankingMF":
        counts = model_io.require(arrays, "item_counts", dtype=np.int64, ndim=1, path=path)
        if len(counts) != len(model.item_factors_):
            raise ValueError(f"{path} is damaged: item_counts does not fit item_factors")
        model.item_counts_ = counts
    model._seen = None
    if "seen.indptr" in arrays:
        indptr = model_io.require(arrays, "seen.indptr", dtype=np.int64, ndim=1, path=path)
        indices = model_io.require(arrays, "seen.indices", dtype=np.int32, ndim=1, path=path)
        if len(indptr) != len(model.user_factors_) + 1 or indptr[-1] != len(indices):
            raise ValueError(f"{path} is damaged: seen does not fit user_factors")
        model._seen = (indptr, indices)


def _set_feature_arrays(
    model: FactorModel, arrays: dict[str, np.ndarray[Any, Any]], path: str | os.PathLike[str]
) -> None:
    for name in FEATURE_ARRAYS:
        setattr(model, f"{name}_", arrays.get(name))
    for side in ("user", "item"):
        factors = getattr(model, f"{side}_feature_factors_")
        bias = getattr(model, f"{side}_feature_bias_")
        if factors is None and bias is None:
            continue
        width = model.item_factors_.shape[1]
        sound = (
            factors is not None
            and factors.ndim == 2
            and factors.shape[1] == width
            and factors.dtype == model.item_factors_.dtype
            and (bias is None) == (model.item_bias_ is None)
            and (bias is None or (bias.shape == (len(factors),) and bias.dtype == factors.dtype))
        )
        if not sound:
            raise ValueError(f"{path} is damaged: its {side} feature arrays do not fit its factors")
