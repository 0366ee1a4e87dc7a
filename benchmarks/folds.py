"""MovieLens 100K's own five folds: matfac beside Surprise and LIBMF, each tuned inside training.

    MATFAC_DATA_DIR=... MATFAC_LIBMF=libmf.so.2 python benchmarks/folds.py \\
        --peer-python surprise=PYTHON

Every package tries its grid on a tenth of each training part that is held out, and fits the whole
part with the best; a peer that is not there is left out. Predictions are clipped to 1..5; RMSE over
each test part, the mean of the five and, for matfac, of three seeds (quality.py has the grids).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import machine
import quality
from matfac import metrics, reference
from peers import BUILT, child, interpreter

BAR = 0.925
D, THREADS, SHARE = 32, 2, 0.1
# From what their documentation suggests up to where they gain no more.
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    "surprise": {"reg": (0.05, 0.1, 0.15), "rate": (0.005, 0.01), "n_iter": (20, 80, 160)},
    "libmf": {"reg": (0.05, 0.1, 0.15), "rate": (0.05, 0.1), "n_iter": (20, 40, 80)},
}


def matrix(part: quality.Triplets, shape: tuple[int, int]) -> sp.csr_matrix:
    users, items, ratings = part
    narrow = (users.astype(np.int32), items.astype(np.int32))
    return sp.csr_matrix((ratings.astype(np.float32), narrow), shape=shape)


class Peer:
    """A package in its own interpreter."""

    def __init__(self, name: str, python: str, shape: tuple[int, int], folder: Path) -> None:
        self.name, self.python, self.shape, self.folder = name, python, shape, folder

    def error(self, train: quality.Triplets, test: quality.Triplets, **setting: float) -> float:
        """Fit and return the RMSE on the other part."""
        at, out = self.folder / "train.npz", self.folder / "factors.npz"
        sp.save_npz(at, matrix(train, self.shape))
        settings: dict[str, Any] = {
            "peer": self.name, "task": "sgd", "d": D, "threads": THREADS, "seed": 0,
            "train": str(at), "out": str(out), "built": os.environ.get(BUILT["libmf"], ""),
            **setting,
        }  # fmt: skip
        child(self.python, settings, THREADS)
        with np.load(out) as saved:
            arrays = {name: saved[name] for name in saved.files}
        mean = float(arrays.pop("mean", 0.0))
        scores = reference.predict(test[0], test[1], reference.Factors(**arrays, mean=mean))
        known = np.where(np.isnan(scores), np.mean(train[2]), scores)
        return float(metrics.rmse(test[2], np.clip(known, 1, 5)))

    def tuned(self, train: quality.Triplets, test: quality.Triplets) -> tuple[float, str]:
        """Return the error on `test` of the setting that is best on a part of `train`."""
        held = np.random.default_rng(0).random(len(train[0])) < SHARE
        inner, outer = (tuple(a[part] for a in train) for part in (~held, held))
        grid = GRIDS[self.name]
        settings = [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]
        best = min(settings, key=lambda setting: self.error(inner, outer, **setting))
        return self.error(train, test, **best), str(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", action="append", default=[], metavar="NAME=PATH")
    args = parser.parse_args()
    args.peer_python = dict(pair.split("=", 1) for pair in args.peer_python)
    z = quality.data("ml-100k")
    shape = int(z["n_users"]), int(z["n_items"])
    there = ["surprise"] if "surprise" in args.peer_python else []
    there += ["libmf"] if os.environ.get(BUILT["libmf"]) else []
    print({key: value for key, value in machine.describe().items() if key != "matfac"})
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in there:
            peer = Peer(name, interpreter(name, args), shape, Path(folder))
            found = [peer.tuned(train, test) for train, test in quality.official_folds(z)]
            rows[name] = float(np.mean([error for error, _ in found]))
            print(
                f"{name}: {rows[name]:.4f}, with {sorted({best for _, best in found})}", flush=True
            )
    for row in quality.CASES["ml-100k-folds"]():
        rows[row["model"]] = row["value"]
        print(f"matfac: {row['value']:.4f}, {row['model']}", flush=True)
        assert row["passed"], f"above the bar of {BAR}"
        assert all(row["value"] <= rows[name] for name in there), "a peer is better"


if __name__ == "__main__":
    main()
