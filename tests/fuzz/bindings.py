"""Calls of the compiled core with one argument made wrong: each must raise, none may crash."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from matfac import _core, _engine

M, N, K = 7, 5, 3
Arguments = dict[str, Any]
Rng = np.random.Generator

REFUSED = (TypeError, ValueError, OverflowError, MemoryError)
SIZES = (0, -1, -(2**31), 2**31, 2**40, 2**62, 2**63 - 1, 2**63, -(2**63), 1.5, "3", None)


def csr(dtype: Any, *, weights: bool = False) -> _engine.Csr:
    """Return 7 x 5 ratings."""
    indptr = np.array([0, 2, 2, 4, 5, 7, 8, 10], np.int64)
    indices = np.array([0, 3, 1, 2, 4, 0, 1, 2, 3, 4], np.int32)
    values = np.ones(10, dtype)
    return _engine.make_csr(N, indptr, indices, values, values.copy() if weights else None)


def table(n: int, dtype: Any) -> Any:
    return np.ones((n, _core.LANES), dtype)


# ------------------------------------------------------------------ calls that are right


def calls(dtype: Any) -> dict[str, tuple[Callable[..., Any], Arguments]]:
    """Every entry point with arguments that work; each is called as f(**arguments)."""
    pattern = csr(dtype)
    lists = (np.arange(0, 2 * M + 1, 2), np.tile(np.array([1, 3], np.int32), M))
    make_csr = _core.CsrFloat32 if dtype == np.float32 else _core.CsrFloat64
    make_plan = _core.SgdPlanFloat32 if dtype == np.float32 else _core.SgdPlanFloat64
    make_pairs = _core.PairwisePlanFloat32 if dtype == np.float32 else _core.PairwisePlanFloat64
    plan = make_plan(pattern, K, 0, 1)  # type: ignore[arg-type]
    pairs = make_pairs(pattern, K, 0, False, 1)  # type: ignore[arg-type]
    threads = {"n_threads": 1}
    steps = {
        "k": K, "users": table(M, dtype), "items": table(N, dtype),
        "user_rows": np.ones((M, 4), dtype), "item_rows": np.ones((N, 4), dtype), "mean": 1.0,
        "bias": True, **threads,
    }  # fmt: skip
    sampled = {**steps, "loss": "bpr", "negatives": 2}
    half = {
        "csr": pattern, "loss": "ratings", "k": K, "fixed": table(N, dtype),
        "solved": table(M, dtype), "fixed_bias": np.ones(N, dtype),
        "solved_bias": np.ones(M, dtype), "ridge": np.ones(M, dtype), "cg_steps": 0, "mean": 1.0,
        "alpha": 1.0, "tolerance": 0.1, "prior": table(M, dtype), "prior_bias": np.ones(M, dtype),
        "along": [table(2, dtype)], **threads,
    }  # fmt: skip
    descent = {**half, "fixed_weight": np.ones(N, dtype), "lasso": np.ones(M, dtype),
               "nonnegative": True}  # fmt: skip
    for name in ("prior", "prior_bias"):
        del descent[name]
    model = {
        "k": K, "users": table(M, dtype), "items": table(N, dtype),
        "user_bias": np.ones(M, dtype), "item_bias": np.ones(N, dtype), **threads,
    }  # fmt: skip
    scoring = {"k": K, "queries": table(M, dtype), "items": table(N, dtype),
               "item_bias": np.ones(N, dtype), "exclude": [lists], **threads}  # fmt: skip
    return {
        "Csr": (make_csr, {"n_cols": N, "indptr": pattern.indptr, "indices": pattern.indices,
                           "values": pattern.values, "weights": pattern.values}),
        "transposed_arrays": (pattern.transposed_arrays, dict(threads)),
        "half_sweep": (_core.half_sweep, half),
        "half_sweep by coordinates": (_core.half_sweep, descent),
        "multiply": (_core.multiply, {"csr": pattern, "k": K, "table": table(N, dtype),
                                      "out": table(M, dtype), **threads}),
        "loss_value": (_core.loss_value, {"csr": pattern, "loss": "ratings", **model}),
        "ridge_value": (_core.ridge_value, {"table": table(M, dtype), "k": K,
                                            "bias": np.ones(M, dtype),
                                            "ridge": np.ones(M, dtype), **threads}),
        "SgdPlan": (make_plan, {"csr": pattern, "k": K, "seed": 0, **threads}),
        "visits": (plan.visits, {"number": 0}),
        "epoch": (plan.epoch, {**steps, "rate": 0.1, "bias_rate": 1.0, "number": 0,
                               "deterministic": True, "limit": 1e30}),
        "PairwisePlan": (make_pairs, {"csr": pattern, "k": K, "seed": 0, "by_popularity": True,
                                      **threads}),
        "samples": (pairs.samples, {"number": 0, "negatives": 2}),
        "pairwise epoch": (pairs.epoch, {**sampled, "rate": 0.1, "number": 0,
                                         "deterministic": True}),
        "pairwise_fold_in": (_core.pairwise_fold_in, {
            **sampled, "csr": pattern, "rates": [0.1], "pool": np.array([0, 1, 4], np.int32)}),
        "predict": (_core.predict, {**model, "user_index": np.array([0, 6], np.int32),
                                    "item_index": np.array([4, 0], np.int32)}),
        "top_k": (_core.top_k, {**scoring, "n_best": 2, "include": lists,
                                "candidates": np.array([0, 1, 4], np.int32)}),
        "list_metrics": (_core.list_metrics, {
            "lists": np.zeros((M, 2), np.int32), "relevant_indptr": lists[0],
            "relevant_indices": lists[1], "k": 2, **threads}),
        "auc": (_core.auc, {**scoring, "relevant_indptr": lists[0],
                            "relevant_indices": lists[1]}),
        "empty_table": (_core.empty_table, {"n_rows": 3, "k": K, "dtype": "float32"}),
        "random_table": (_core.random_table, {
            "n_rows": 3, "k": K, "dtype": "float32", "std": 0.1, "seed": 0, "nonnegative": False,
            **threads}),
        "copy_array": (_core.copy_array, {"to": table(M, dtype), "array": table(M, dtype),
                                          **threads}),
    }  # fmt: skip


# ------------------------------------------------------------------ ways to be wrong


def wrong_array(rng: Rng, array: Any) -> Any:
    """Return an array that cannot stand for `array`: another shape, dtype, order or kind."""
    kinds = [
        array[:-1].copy,
        lambda: np.concatenate((array, array[:1])),
        lambda: np.concatenate([array] * int(rng.integers(2, 9))),
        lambda: array[None],
        lambda: array[..., None],
        lambda: array.astype(rng.choice(["f2", "c8", "i2", "u4", "u8", "b1", "O", "S4", "M8[s]"])),
        lambda: array.astype(array.dtype.newbyteorder()),
        lambda: np.repeat(array, 2, axis=0)[::2],
        array[:0].copy,
        array.tolist,
        lambda: None,
        lambda: float(rng.random()),
        lambda: "array",
        lambda: np.broadcast_to(array[:1], array.shape),
        lambda: array[::-1],
        lambda: np.frombuffer(b"\0" + array.tobytes(), np.uint8)[1:],
    ]
    if array.ndim == 2:
        kinds += [
            lambda: np.asfortranarray(array),
            array[:, :-1].copy,
            array.ravel,
            lambda: np.hstack((array, array)),
        ]
    return kinds[rng.integers(len(kinds))]()


def wrong_index(rng: Rng, array: Any) -> Any:
    """Return index arrays that point outside, fall, or lie about their length."""
    bad = array.copy()
    at = rng.integers(len(bad))
    info = np.iinfo(bad.dtype)
    bad[at] = rng.choice([-1, info.max, info.min, int(rng.integers(100, info.max))])
    return bad


def wrong(rng: Rng, name: str, value: Any, optional: bool) -> Any:
    """Return something that the argument `name` must not accept; the value itself if none fits."""
    if isinstance(value, np.ndarray):
        if value.dtype.kind == "i" and name != "lists" and rng.random() < 0.5:
            return wrong_index(rng, value)
        bad = wrong_array(rng, value)
        return value if bad is None and optional else bad
    if name in ("k", "n_threads", "n_best", "n_rows", "negatives"):
        return SIZES[rng.integers(len(SIZES))]
    if name == "n_cols":
        return rng.choice([-1, 0, 4, 2**31, 2**62])
    if name == "cg_steps":
        return [-1, -(2**31), 2**31, 2**63, 1.5, None, "1"][rng.integers(7)]
    if name in ("seed", "number"):
        return [-1, -(2**63), 2**64, 1.5, None, "1", [0]][rng.integers(7)]
    if name == "rates":
        return [None, 0.1, "0.1", [None], ["0.1"], [[0.1]]][rng.integers(6)]
    if isinstance(value, float):
        return [None, "1", 1j, [1.0], 10**400, b"1"][rng.integers(6)]
    if name in ("loss", "dtype"):
        return rng.choice(["", "Ratings", "float16", "\0", "x" * 1000])
    if name == "csr":
        return [None, 3, "csr", np.ones((M, N))][rng.integers(4)]
    if name == "along":
        turned = value[0]
        return [[np.asfortranarray(turned)], [turned[:, :-1].copy()], [turned.astype("f2")],
                [turned, turned[0]], [None], turned, 5][rng.integers(7)]  # fmt: skip
    if name == "include":
        indptr, indices = value
        return [(wrong_index(rng, indptr), indices), (indptr, wrong_index(rng, indices)),
                (indptr,), indptr, 5, [indptr, indices, indices]][rng.integers(6)]  # fmt: skip
    if name == "exclude":
        indptr, indices = value[0]
        if rng.random() < 0.5:
            return [(wrong_index(rng, indptr), indices)]
        return [[(indptr, wrong_index(rng, indices))], [(indptr,)], [value[0]] * 3, 5,
                [(indptr, indices[::-1])]][rng.integers(5)]  # fmt: skip
    return value


OPTIONAL = {
    "weights", "user_bias", "item_bias", "candidates", "include", "prior", "prior_bias", "lasso",
    "fixed_weight",
}  # fmt: skip


def one(rng: Rng, entry: str, call: Callable[..., Any], right: Arguments) -> bool:
    """Try one wrong call; False where the draw changed nothing. AssertionError: accepted."""
    name = list(right)[rng.integers(len(right))]
    value = right[name]
    optional = (name in OPTIONAL and entry != "predict") or (entry, name) == ("ridge_value", "bias")
    bad = wrong(rng, name, value, optional)
    if bad is value or still_right(entry, name, bad):
        return False
    try:
        call(**{**right, name: bad})
    except REFUSED:
        return True
    raise AssertionError(f"{entry} accepted {name}={bad!r}")


def still_right(entry: str, name: str, bad: Any) -> bool:
    """Tell whether a changed argument is one that the core may take after all."""
    if name in ("candidates", "pool"):  # fewer of them
        return isinstance(bad, np.ndarray) and bad.dtype == np.int32 and bad.ndim == 1 and (
            bad.flags.c_contiguous and set(bad.tolist()) <= {0, 1, 4}
            and (len(bad) > 0 if name == "pool" else bool((np.diff(bad) > 0).all()))
        )  # fmt: skip
    if entry == "random_table" and name in ("std", "seed"):
        most = np.inf if name == "std" else 2**64
        return (
            type(bad) in (int, float) and (bad > 0 or (bad == 0 and name == "seed")) and bad < most
        )
    if entry in ("empty_table", "random_table") and name == "n_rows":
        return type(bad) is int and bad == 0
    if entry in ("SgdPlan", "PairwisePlan") and name == "k":
        return type(bad) is int and 1 <= bad <= 2**20
    if entry == "list_metrics":
        if name == "k":
            return type(bad) is int and 1 <= bad < 2**63
        if name == "lists":  # any width, any ids
            return isinstance(bad, np.ndarray) and bad.shape[:1] == (M,) and bad.ndim == 2
        if name == "relevant_indices":  # ids of anything
            return isinstance(bad, np.ndarray) and bad.shape == (2 * M,) and bad.dtype == np.int32
    return False


def run(n: int, seed: int = 0) -> int:
    """Try n wrong calls."""
    rng = np.random.default_rng(seed)
    tables = [calls(dtype) for dtype in (np.float32, np.float64)]
    for entries in tables:
        for call, right in entries.values():
            call(**right)  # it is the change that is refused
    tried = 0
    while tried < n:
        entries = tables[rng.integers(2)]
        entry = list(entries)[rng.integers(len(entries))]
        tried += one(rng, entry, *entries[entry])
    return tried
