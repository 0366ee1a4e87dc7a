"""One fit of one package, in a process of its own: `python peer_child.py SETTINGS`, in JSON.

Runs in the peer's interpreter and needs NumPy, SciPy and the peer. SETTINGS["probe"] asks for the
version alone. Otherwise the matrix is read from SETTINGS["train"], brought into the form that the
package takes, fitted, and the factors go to SETTINGS["out"]; only the fit is in the time. Prints
one line of JSON; whatever the package prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import importlib.metadata
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

STATUS = Path("/proc/self/status")


class Fit:
    """Settings, clock and memory of a fit."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.task: str = settings["task"]
        self.d: int = settings["d"]
        self.n_iter: int = settings["n_iter"]
        self.threads: int = settings["threads"]
        self.reg: float = settings["reg"]
        self.alpha: float = settings.get("alpha", 0.0)
        self.rate: float = settings.get("rate", 0.0)
        self.seed: int = settings["seed"]
        self.library: str = settings.get("library", "")
        self.train: str = settings["train"]
        self.iterations: list[float] = []  # seconds of each, where the package tells
        self.objectives: list[float] = []  # after each, where the package tells
        self.seconds = self.peak_mb = 0.0

    def matrix(self) -> sp.csr_matrix:
        """Users x items, float32, with 32-bit indices."""
        return sp.csr_matrix(sp.load_npz(self.train))

    def __enter__(self) -> None:
        self._begin = time.perf_counter()

    def __exit__(self, *exception: object) -> None:
        self.seconds = time.perf_counter() - self._begin
        self.peak_mb = peak_mb()


def peak_mb() -> float:
    """Peak resident memory of the process."""
    if STATUS.exists():
        for line in STATUS.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def fit_matfac(fit: Fit) -> dict[str, Any]:
    from matfac import ExplicitMF, ImplicitMF

    matrix = fit.matrix()
    marks: list[float] = []

    def callback(number: int, record: dict[str, float]) -> None:
        marks.append(record["seconds"])
        fit.objectives.append(record["objective"])

    shared: dict[str, Any] = {"n_factors": fit.d, "reg": fit.reg, "n_iter": fit.n_iter}
    shared |= {"n_threads": fit.threads, "random_state": fit.seed, "callback": callback}
    shared["verbose"] = False
    model: Any
    if fit.task == "implicit":
        model = ImplicitMF(alpha=fit.alpha, **shared)
    elif fit.task == "explicit":
        model = ExplicitMF(**shared)
    else:
        model = ExplicitMF(solver="sgd", learning_rate=fit.rate, **shared)
    with fit:
        model.fit(matrix)
    fit.iterations = np.diff(marks, prepend=0.0).tolist()
    made = {"users": model.user_factors_, "items": model.item_factors_}
    if model.user_bias_ is not None:
        made |= {"user_bias": model.user_bias_, "item_bias": model.item_bias_, "mean": model.mean_}
    return made


def fit_implicit(fit: Fit) -> dict[str, Any]:
    from implicit.cpu.als import AlternatingLeastSquares

    confidence = fit.matrix()
    confidence.data = 1 + np.float32(fit.alpha) * confidence.data
    model = AlternatingLeastSquares(
        factors=fit.d, regularization=fit.reg, alpha=1.0, iterations=fit.n_iter, use_cg=True,
        num_threads=fit.threads, random_state=fit.seed,
    )  # fmt: skip
    with fit:
        model.fit(
            confidence,
            show_progress=False,
            callback=lambda number, seconds, loss: fit.iterations.append(float(seconds)),
        )
    return {"users": model.user_factors, "items": model.item_factors}


def fit_irspack(fit: Fit) -> dict[str, Any]:
    from irspack import IALSRecommender

    weights = fit.matrix()
    weights.data *= np.float32(fit.alpha)
    model = IALSRecommender(
        weights, n_components=fit.d, alpha0=1.0, reg=fit.reg, nu=0.0, loss_type="ORIGINAL",
        solver_type="CG", max_cg_steps=3, random_seed=fit.seed, n_threads=fit.threads,
        train_epochs=fit.n_iter,
    )  # fmt: skip
    with fit:
        model.start_learning()
        for _ in range(fit.n_iter):
            begin = time.perf_counter()
            model.run_epoch()
            fit.iterations.append(time.perf_counter() - begin)
    return {"users": model.get_user_embedding(), "items": model.get_item_embedding()}


def fit_cmfrec(fit: Fit) -> dict[str, Any]:
    from cmfrec import CMF, CMF_implicit

    triplets = fit.matrix().tocoo()
    shared: dict[str, Any] = {"k": fit.d, "niter": fit.n_iter, "use_cg": True, "max_cg_steps": 3}
    shared |= {"finalize_chol": False, "use_float": True, "precompute_for_predictions": False}
    shared |= {"random_state": fit.seed, "nthreads": fit.threads, "verbose": False}
    if fit.task == "explicit":
        model = CMF(lambda_=fit.reg, method="als", scale_lam=True, **shared)
        with fit:
            model.fit(triplets)
        bias = {"user_bias": model.user_bias_, "item_bias": model.item_bias_}
        return {"users": model.A_, "items": model.B_, "mean": model.glob_mean_, **bias}
    # Its gradient steps weigh a one by 2 + alpha and aim at alpha / (2 + alpha). With these two its
    # minimum is that of Hu and Koren's objective, the factors shrunk by the root of `aim`.
    aim = (fit.alpha - 1) / (fit.alpha + 1)
    model = CMF_implicit(lambda_=fit.reg * aim, alpha=fit.alpha - 1, **shared)
    with fit:
        model.fit(triplets)
    return {"users": model.A_ / aim**0.5, "items": model.B_ / aim**0.5}


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
    library = ctypes.CDLL(fit.library)
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


FITS = {
    name.removeprefix("fit_"): made for name, made in globals().items() if name.startswith("fit_")
}


def main() -> None:
    settings = json.loads(sys.argv[1])
    line = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    if "probe" in settings:
        print(json.dumps({"version": importlib.metadata.version(settings["probe"])}), file=line)
        return
    fit = Fit(settings)
    np.savez(settings["out"], **FITS[settings["peer"]](fit))
    told = ("seconds", "iterations", "objectives", "peak_mb")
    print(json.dumps({name: getattr(fit, name) for name in told}), file=line)


if __name__ == "__main__":
    main()
