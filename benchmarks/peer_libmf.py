"""A fit by LIBMF, through its C interface."""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Any

import numpy as np

from peer_fit import Fit


class Problem(ctypes.Structure):
    """LIBMF's mf_problem."""

    _fields_ = (
        ("m", ctypes.c_int), ("n", ctypes.c_int), ("nnz", ctypes.c_longlong), ("R", ctypes.c_void_p)
    )  # fmt: skip


class Parameter(ctypes.Structure):
    """LIBMF's mf_parameter."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("fun", "k", "nr_threads", "nr_bins", "nr_iters")),
        *((name, ctypes.c_float) for name in ("lambda_p1", "lambda_p2", "lambda_q1", "lambda_q2")),
        *((name, ctypes.c_float) for name in ("eta", "alpha", "c")),
        *((name, ctypes.c_bool) for name in ("do_nmf", "quiet", "copy_data")),
    )


class Model(ctypes.Structure):
    """LIBMF's mf_model."""

    _fields_ = (
        *((name, ctypes.c_int) for name in ("fun", "m", "n", "k")), ("b", ctypes.c_float),
        ("P", ctypes.POINTER(ctypes.c_float)), ("Q", ctypes.POINTER(ctypes.c_float)),
    )  # fmt: skip


def fit_libmf(fit: Fit) -> dict[str, Any]:
    openmp = ctypes.util.find_library("gomp")  # which its Makefile may leave out
    if openmp:
        ctypes.CDLL(openmp, mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(fit.built)
    library.mf_get_default_param.restype = Parameter
    library.mf_train.restype = ctypes.POINTER(Model)
    library.mf_train.argtypes = [ctypes.POINTER(Problem), Parameter]
    triplets = fit.matrix().tocoo()
    nodes = np.empty(triplets.nnz, [("u", np.int32), ("v", np.int32), ("r", np.float32)])
    nodes["u"], nodes["v"], nodes["r"] = triplets.row, triplets.col, triplets.data
    problem = Problem(*triplets.shape, len(nodes), nodes.ctypes.data)
    del triplets
    parameter = library.mf_get_default_param()
    parameter.fun, parameter.k, parameter.nr_threads = 0, fit.d, fit.threads
    parameter.nr_iters, parameter.eta = fit.n_iter, fit.rate
    parameter.lambda_p1 = parameter.lambda_q1 = 0.0
    parameter.lambda_p2 = parameter.lambda_q2 = fit.reg
    parameter.quiet = True
    parameter.copy_data = True
    with fit:
        trained = library.mf_train(ctypes.byref(problem), parameter)
    if not trained:
        raise SystemExit("mf_train failed")
    model = trained.contents
    users, items = (
        np.ctypeslib.as_array(table, (rows, model.k))[:, : fit.d].copy()
        for table, rows in ((model.P, model.m), (model.Q, model.n))
    )
    return {"users": users, "items": items}
