"""Conversions of other packages' parameters: at their optimum our objective has none lower nearby.

A peer is used where it can be imported, or where MATFAC_PEER_PYTHON_<NAME> names an interpreter
that can; LIBMF where MATFAC_LIBMF names its library.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from matfac import ExplicitMF, ImplicitMF, parameters_from, reference

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
K, SWEEPS = 4, 300

HEAD = """
import numpy as np, scipy.sparse as sp, sys
X = sp.csr_matrix(sp.load_npz(sys.argv[1]))
bias, mean = {}, 0.0
"""
TAIL = "\nnp.savez(sys.argv[2], users=U, items=V, mean=mean, **bias)\n"
SCRIPTS = {
    "implicit": """
from implicit.cpu.als import AlternatingLeastSquares
model = AlternatingLeastSquares(
    dtype=np.float64, use_cg=False, num_threads=1, random_state=0, **theirs)
model.fit(X, show_progress=False)
U, V = model.user_factors, model.item_factors
""",
    "irspack": """
from irspack import IALSRecommender
model = IALSRecommender(X, solver_type="CHOLESKY", n_threads=1, **theirs).learn()
U, V = model.get_user_embedding(), model.get_item_embedding()
""",
    "cmfrec-implicit": """
from cmfrec import CMF_implicit
model = CMF_implicit(use_cg=False, use_float=False, nthreads=1, verbose=False, **theirs)
model.fit(X.tocoo())
U, V = model.A_, model.B_
""",
    "cmfrec": """
from cmfrec import CMF
model = CMF(method="als", use_cg=False, use_float=False, nthreads=1, verbose=False, **theirs)
model.fit(X.tocoo())
U, V, mean = model.A_, model.B_, model.glob_mean_
bias = {"user_bias": model.user_bias_, "item_bias": model.item_bias_}
""",
    "spark": """
from pyspark.ml.recommendation import ALS
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
spark.sparkContext.setCheckpointDir(sys.argv[2] + ".steps")  # else 60 sweeps overflow its stack
coo = X.tocoo()
mean = 0.0 if "implicitPrefs" in theirs else float(coo.data.mean())
rows = [(int(u), int(i), float(r - mean)) for u, i, r in zip(coo.row, coo.col, coo.data)]
frame = spark.createDataFrame(rows, ["user", "item", "rating"])
model = ALS(seed=0, numUserBlocks=1, numItemBlocks=1, **theirs).fit(frame)
tables = []
for found, n in ((model.userFactors, X.shape[0]), (model.itemFactors, X.shape[1])):
    table = np.zeros((n, theirs["rank"]))
    for row in found.collect():
        table[row["id"]] = row["features"]
    tables.append(table)
U, V = tables
""",
}
SCRIPTS["spark-implicit"] = SCRIPTS["spark"]

CASES: dict[str, dict[str, Any]] = {
    "implicit": {"factors": K, "regularization": 1.3, "alpha": 5.0, "iterations": SWEEPS},
    "irspack": {"n_components": K, "alpha0": 0.2, "reg": 0.05, "nu": 1.0, "train_epochs": SWEEPS},
    "cmfrec-implicit": {"k": K, "lambda_": 1.3, "alpha": 4.0, "niter": SWEEPS},
    "cmfrec": {"k": K, "lambda_": 0.07, "scale_lam": True, "niter": SWEEPS},
    "spark": {"rank": K, "regParam": 0.07, "maxIter": 300},
    "spark-implicit": {"rank": K, "regParam": 0.05, "alpha": 4.0, "maxIter": 300},
}


def interpreter(package: str) -> str:
    """Where the peer can be imported, or skip."""
    peer = package.removesuffix("-implicit")
    name = "pyspark" if peer == "spark" else peer
    variable = f"MATFAC_PEER_PYTHON_{peer.upper()}"
    if variable in os.environ:
        return os.environ[variable]
    if importlib.util.find_spec(name) is not None:
        return sys.executable
    return pytest.skip(f"{name} is not installed: install it, or set {variable}")


def matrix(explicit: bool) -> sp.csr_array:
    rng = np.random.default_rng(0)
    known = rng.random((60, 40)) < 0.3
    return sp.csr_array(np.where(known, rng.integers(1, 6, known.shape) if explicit else 1.0, 0.0))


def objective_and_slope(
    ours: dict[str, Any], X: sp.csr_array, model: reference.Factors
) -> tuple[float, float]:
    csr, reg = (X.indptr, X.indices, X.data), {"reg": ours["reg"], "exponent": ours["reg_exponent"]}
    weight = {name: ours[name] for name in ("alpha", "alpha0") if name in ours}
    if weight:
        value = reference.implicit_objective(csr, model, **reg, **weight)
        slopes = reference.implicit_gradient(csr, model, **reg, **weight)
    else:
        value = reference.explicit_objective(csr, model, **reg)
        slopes = reference.explicit_gradient(csr, model, **reg)
    tables = [slopes.users, slopes.items]
    if model.user_bias is not None:
        tables += [slopes.user_bias, slopes.item_bias]
    return value, max(float(np.abs(table).max()) for table in tables)


@pytest.mark.parametrize("package", CASES)
def test_their_optimum_is_ours(package: str, tmp_path: Path) -> None:
    python, theirs = interpreter(package), dict(CASES[package])
    ours = parameters_from(package, **theirs)
    explicit = "alpha" not in ours and "alpha0" not in ours
    X = matrix(explicit)
    sp.save_npz(tmp_path / "X.npz", sp.csr_matrix(X))
    if package == "spark-implicit":
        theirs["implicitPrefs"] = True
    script = f"theirs = {theirs!r}\n" + HEAD + SCRIPTS[package] + TAIL
    command = [python, "-c", script, str(tmp_path / "X.npz"), str(tmp_path / "out.npz")]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    subprocess.run(command, check=True, capture_output=True, env=environment, timeout=300)
    with np.load(tmp_path / "out.npz") as found:
        arrays = {name: found[name].astype(np.float64) for name in found}
    mean = float(arrays.pop("mean"))
    value, slope = objective_and_slope(ours, X, reference.Factors(**arrays, mean=mean))
    assert slope < 1e-2  # of an objective of several hundreds, at entries of about 1
    off = {**ours, "reg": 1.5 * ours["reg"]}
    assert objective_and_slope(off, X, reference.Factors(**arrays, mean=mean))[1] > 30 * slope
    shared = {**ours, "n_iter": SWEEPS, "cg_steps": None, "dtype": "float64"}
    kind = ExplicitMF if explicit else ImplicitMF
    fits = [kind(**shared, random_state=seed).fit(X).objective_ for seed in range(40)]
    # There are several minima: theirs lies among ours.
    assert 0.995 * min(fits) <= value <= 1.005 * max(fits)


def test_libmfs_optimum_is_near_ours(tmp_path: Path) -> None:
    """LIBMF steps in float32 from a start of its own: near is as far as it gets."""
    library = os.environ.get("MATFAC_LIBMF", "")
    if not library:
        pytest.skip("MATFAC_LIBMF does not name LIBMF's shared library")
    X = matrix(explicit=True)
    X.data -= X.data.mean()
    sp.save_npz(tmp_path / "X.npz", sp.csr_matrix(X.astype(np.float32)))
    script = f"""
import sys
sys.path.insert(0, {str(BENCHMARKS)!r})
import numpy as np
from peer_fit import Fit
from peer_libmf import fit_libmf
fit = Fit({{"task": "sgd", "d": 8, "n_iter": 3000, "threads": 1, "reg": 0.1, "rate": 0.3,
           "seed": 0, "built": {library!r}, "train": sys.argv[1]}})
np.savez(sys.argv[2], **fit_libmf(fit))
"""
    command = [sys.executable, "-c", script, str(tmp_path / "X.npz"), str(tmp_path / "out.npz")]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    with np.load(tmp_path / "out.npz") as found:
        factors = reference.Factors(*(found[n].astype(np.float64) for n in ("users", "items")))
    ours = parameters_from("libmf", k=8, l2=0.1)
    value, _ = objective_and_slope(ours, X, factors)
    ours.pop("solver")
    shared = {**ours, "n_iter": SWEEPS, "cg_steps": None, "dtype": "float64", "init_std": 1.0}
    best = min(ExplicitMF(**shared, random_state=seed).fit(X).objective_ for seed in range(4))
    assert value == pytest.approx(best, rel=0.01)


def test_defaults_are_the_other_packages() -> None:
    assert parameters_from("implicit") == {"alpha": 0.0, "reg": 0.01, "reg_exponent": 0.0}
    assert parameters_from("irspack")["reg_exponent"] == 1.0
    assert parameters_from("cmfrec", lambda_=5, nonneg=True, l1_lambda=0.5) == {
        "reg": 5, "reg_exponent": 0.0, "fit_bias": True, "l1_reg": 0.5, "nonnegative": True,
    }  # fmt: skip
    assert parameters_from("libmf", k=8, nmf=True)["nonnegative"]
    for package in ("implicit", "irspack", "spark-implicit", "cmfrec-implicit"):
        ImplicitMF(**parameters_from(package), n_factors=2, n_iter=1).fit(matrix(explicit=False))
    for package in ("spark", "cmfrec", "libmf"):
        ExplicitMF(**parameters_from(package), n_factors=2, n_iter=1).fit(matrix(explicit=True))


def test_what_cannot_be_stated_is_refused() -> None:
    with pytest.raises(ValueError, match="package must be one of 'implicit'"):
        parameters_from("surprise")
    with pytest.raises(ValueError, match="does not know 'lambda' of implicit"):
        parameters_from("implicit", **{"lambda": 1.0})
    with pytest.raises(ValueError, match=r"nu_star=1\.0 makes reg depend on the data"):
        parameters_from("irspack", nu=0.5, nu_star=1.0)
    with pytest.raises(ValueError, match="loss_type must be 'IALSPP'"):
        parameters_from("irspack", loss_type="ORIGINAL")
    with pytest.raises(ValueError, match=r"alpha=0.5 weighs what was seen less"):
        parameters_from("implicit", alpha=0.5)
