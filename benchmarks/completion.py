"""An image with 70 % of its pixels missing: LowRankMF, SOFT-IMPUTE, and peers where installed.

The image is scikit-image's retina, 1411 x 1411, as grey values from 0 to 1. Everyone gets the same
pixels, and chooses among the parameters listed here by its error on a tenth of them held out; the
seconds are those of the last fit, on all of them, with the parameters chosen.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

MISSING, HELD_OUT = 0.7, 0.1
SEED = 0


def image() -> np.ndarray:
    from skimage.color import rgb2gray
    from skimage.data import retina

    return np.asarray(rgb2gray(retina()), dtype=np.float64)


def psnr(wanted: np.ndarray, found: np.ndarray, at: np.ndarray) -> float:
    """Peak signal to noise in dB over pixels, for values from 0 to 1."""
    return float(-10 * np.log10(np.mean((wanted - np.clip(found, 0, 1))[at] ** 2)))


Fill = Callable[[np.ndarray], np.ndarray]


def own(n_factors: int, reg: float) -> Fill:
    from matfac import LowRankMF

    def fill(X: np.ndarray) -> np.ndarray:
        X = X.astype(np.float32)
        return LowRankMF(n_factors, reg=reg, n_iter=100, tol=1e-4).fit(X).impute(X)

    return fill


def soft_impute(threshold: float) -> Fill:
    """Along a falling path of thresholds, each from the one before, as its authors do."""
    from matfac.reference import soft_impute

    def fill(X: np.ndarray) -> np.ndarray:
        z = None
        for factor in (4.0, 2.0, 1.0):
            z = soft_impute(X, factor * threshold, n_iter=50, tol=1e-5, start=z)
        assert z is not None
        return np.where(np.isnan(X), z, X)

    return fill


def fancyimpute(shrinkage: float) -> Fill:
    from fancyimpute import SoftImpute

    def fill(X: np.ndarray) -> np.ndarray:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = SoftImpute(
                shrinkage_value=shrinkage, max_iters=100, verbose=False, init_fill_method="mean"
            )
            return np.asarray(model.fit_transform(X.copy()))

    return fill


def cmfrec(n_factors: int, reg: float) -> Fill:
    from cmfrec import CMF

    def fill(X: np.ndarray) -> np.ndarray:
        model = CMF(
            k=n_factors, lambda_=reg, scale_lam=True, niter=30, use_cg=False, use_float=True,
            nthreads=2, verbose=False,
        )  # fmt: skip
        model.fit(X.astype(np.float32))
        filled = model.A_ @ model.B_.T + model.glob_mean_
        filled += model.user_bias_[:, None] + model.item_bias_
        return np.where(np.isnan(X), filled, X)

    return fill


# Factors and ridge are scaled alike in both; thresholds are of singular values in both.
FACTORS: list[tuple[float, ...]] = [(64, 3e-4), (96, 2e-4), (128, 1e-4), (128, 2e-4), (128, 3e-4)]
THRESHOLDS: list[tuple[float, ...]] = [(0.25,), (0.5,), (1.0,), (2.0,)]
GRIDS: dict[str, tuple[Callable[..., Fill], list[tuple[float, ...]]]] = {
    "matfac": (own, FACTORS),
    "SOFT-IMPUTE (reference)": (soft_impute, THRESHOLDS),
    "fancyimpute": (fancyimpute, THRESHOLDS),
    "cmfrec": (cmfrec, FACTORS),
}


def compete(name: str, truth: np.ndarray, X: np.ndarray, tune: bool) -> dict[str, Any]:
    """Choose parameters on held-out pixels, then fit all; PSNR on the missing ones."""
    make, grid = GRIDS[name]
    known = ~np.isnan(X)
    held = known & (np.random.default_rng(SEED + 1).random(X.shape) < HELD_OUT)
    scores = {}
    if tune:
        for parameters in grid:
            scores[parameters] = psnr(truth, make(*parameters)(np.where(held, np.nan, X)), held)
            print(f"  {name} {parameters}: {scores[parameters]:.2f} dB held out", file=sys.stderr)
    best = max(scores, key=lambda parameters: scores[parameters]) if scores else grid[0]
    begin = time.perf_counter()
    filled = make(*best)(X)
    seconds = time.perf_counter() - begin
    return {
        "name": name, "parameters": best, "seconds": seconds, "psnr": psnr(truth, filled, ~known)
    }  # fmt: skip


def elsewhere(python: str, name: str, truth: np.ndarray, X: np.ndarray) -> dict[str, Any]:
    """Run one competitor by another interpreter, which has that package."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder) / "truth.npy", truth)
        np.save(Path(folder) / "X.npy", X)
        done = subprocess.run(
            [python, __file__, "--child", name, folder],
            check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": ""},
        )  # fmt: skip
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peer-python", action="append", default=[], help="NAME=interpreter")
    parser.add_argument("--every", type=int, default=1, help="take every n-th row and column")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        name, folder = args.child
        arrays = (np.load(Path(folder) / f"{part}.npy") for part in ("truth", "X"))
        print(json.dumps(compete(name, *arrays, tune=True)))
        return
    truth = image()[:: args.every, :: args.every]
    X = np.where(np.random.default_rng(SEED).random(truth.shape) < MISSING, np.nan, truth)
    peers = dict(pair.split("=", 1) for pair in args.peer_python)
    results = []
    for name in GRIDS:
        if name in peers:
            results.append(elsewhere(peers[name], name, truth, X))
        elif name in ("fancyimpute", "cmfrec") and importlib.util.find_spec(name) is None:
            print(f"{name} is not installed: left out", file=sys.stderr)
        else:
            results.append(compete(name, truth, X, tune=True))
    print(f"\n{truth.shape[0]} x {truth.shape[1]} pixels, {np.isnan(X).mean():.1%} missing\n")
    print("| | parameters | PSNR at the missing pixels, dB | seconds |")
    print("|---|---|---|---|")
    for found in results:
        parameters = ", ".join(f"{value:g}" for value in found["parameters"])
        print(f"| {found['name']} | {parameters} | {found['psnr']:.2f} | {found['seconds']:.1f} |")
    for found in results[1:]:
        assert results[0]["psnr"] >= found["psnr"], found
        assert results[0]["seconds"] <= found["seconds"], found


if __name__ == "__main__":
    main()
