"""Seconds per epoch and lists of RankingMF beside implicit's BPR and LightFM's WARP.

    MATFAC_DATA_DIR=... python benchmarks/ranking_pace.py --peer-python implicit=PYTHON \\
        --peer-python lightfm=PYTHON [--repeats 3] [--threads 2]

MovieLens 1M, every rating a positive, a tenth of each user's held out. An epoch is one pass over
the positives with the peer's own number of draws: one for BPR, at most ten for WARP. Both
sides run as many epochs, in turn, each fit in a process of its own. The pace compares the seconds
of the peer's fit with those of matfac's epochs; "s per fit" has what follows the last epoch too.
NDCG@10 is measured by matfac.metrics from everyone's vectors. The status tells whether matfac is
fast enough, 1.5 times a peer's pace, at an NDCG no lower.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

D, SEED, BAR = 64, 0, 1.5
SAME_NDCG = 0.003  # less than two seeds of one model differ by

# Peers at the better of a few learning rates by the held-out NDCG; what is not named is a default.
CASES: dict[str, dict[str, dict[str, Any]]] = {
    "implicit": {
        "peer": {"learning_rate": 0.01, "regularization": 0.01, "iterations": 40},
        "own": {"loss": "bpr", "negatives": 1, "n_iter": 40},
    },
    "lightfm": {
        "peer": {"learning_rate": 0.05, "max_sampled": 10, "epochs": 20},
        "own": {"loss": "warp", "negatives": 10, "n_iter": 20},
    },
}
Vectors = tuple["np.ndarray[Any, Any]", "np.ndarray[Any, Any]"]


def fit_implicit(train: sp.csr_matrix, threads: int, parameters: dict[str, Any]) -> Any:
    """BPR: the items' biases are a column of the factors."""
    from implicit.cpu.bpr import BayesianPersonalizedRanking

    model = BayesianPersonalizedRanking(
        factors=D, num_threads=threads, random_state=SEED, **parameters
    )
    start = time.perf_counter()
    model.fit(train, show_progress=False)
    seconds = time.perf_counter() - start
    return seconds, seconds, (model.user_factors, model.item_factors)


def fit_lightfm(train: sp.csr_matrix, threads: int, parameters: dict[str, Any]) -> Any:
    """WARP, ids as the only features."""
    from lightfm import LightFM

    epochs = parameters.pop("epochs")
    model = LightFM(D, loss="warp", random_state=SEED, **parameters)
    start = time.perf_counter()
    model.fit(train.tocoo(), epochs=epochs, num_threads=threads)
    seconds = time.perf_counter() - start
    _, users = model.get_user_representations()
    bias, items = model.get_item_representations()
    return seconds, seconds, (with_ones(users), np.column_stack((items, bias)))


def fit_matfac(train: sp.csr_matrix, threads: int, parameters: dict[str, Any]) -> Any:
    """RankingMF."""
    from matfac import RankingMF

    model = RankingMF(D, n_threads=threads, random_state=SEED, verbose=False, **parameters)
    start = time.perf_counter()
    model.fit(train)
    seconds = time.perf_counter() - start
    vectors = (
        with_ones(model.user_factors_),
        np.column_stack((model.item_factors_, model.item_bias_)),
    )
    return model.history_[-1]["seconds"], seconds, vectors


def with_ones(users: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.column_stack((users, np.ones(len(users), users.dtype)))


def child(settings: dict[str, Any]) -> None:
    """Fit once; the vectors go to a file, the seconds to standard output."""
    with np.load(settings["train"]) as z:
        train = sp.csr_matrix((z["data"], z["indices"], z["indptr"]), shape=tuple(z["shape"]))
    fit = {"implicit": fit_implicit, "lightfm": fit_lightfm, "matfac": fit_matfac}[settings["side"]]
    epochs, whole, (users, items) = fit(train, settings["threads"], settings["parameters"])
    np.savez(settings["out"], users=users, items=items)
    print(json.dumps({"epochs": epochs, "whole": whole}))


def ask(python: str, settings: dict[str, Any]) -> dict[str, float]:
    command = [python, __file__, "--child", json.dumps(settings)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode:
        raise SystemExit(f"{python} failed:\n{run.stderr}")
    answer: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return answer


def ndcg(vectors: Path, train: sp.csr_array, test: sp.csr_array) -> float:
    """NDCG@10 of the held-out positives among all items but the user's own of training."""
    from matfac import metrics

    with np.load(vectors) as z:
        scores = z["users"] @ z["items"].T
    scores[train.nonzero()] = -np.inf
    users = np.flatnonzero(np.diff(test.indptr))
    lists = np.argsort(-scores[users], axis=1, kind="stable")[:, :10]
    return float(np.mean(metrics.ndcg(lists, test[users])))


def main() -> int:
    """Measure each peer that has an interpreter."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--peer-python", action="append", default=[], metavar="NAME=PYTHON")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child is not None:
        child(json.loads(args.child))
        return 0
    import quality
    from matfac import splits

    z = quality.data("ml-1m")
    train, test = splits.per_user(
        quality.matrix(z["user"], z["item"], np.ones(len(z["user"]), np.float32), z), 0.1,
        random_state=SEED,
    )  # fmt: skip
    passed = True
    print("| model | s per epoch | s per fit | NDCG@10 | pace beside the peer |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.npz"
        np.savez(path, data=train.data, indices=train.indices.astype(np.int32),
                 indptr=train.indptr.astype(np.int32), shape=train.shape)  # fmt: skip
        for name, python in (pair.split("=", 1) for pair in args.peer_python):
            sides = {
                name: (python, CASES[name]["peer"]),
                "matfac": (sys.executable, CASES[name]["own"]),
            }
            told: dict[str, list[dict[str, float]]] = {side: [] for side in sides}
            found = {}
            for _ in range(args.repeats):
                for side, (interpreter, parameters) in sides.items():
                    out = Path(folder) / f"{side}.npz"
                    settings = {"side": side, "parameters": parameters, "threads": args.threads,
                                "train": str(path), "out": str(out)}  # fmt: skip
                    told[side].append(ask(interpreter, settings))
                    found[side] = ndcg(out, train, test)
            ratios = [
                peer["epochs"] / own["epochs"]
                for peer, own in zip(told[name], told["matfac"], strict=True)
            ]
            ratio = statistics.median(ratios)
            good = ratio >= BAR and found["matfac"] >= found[name] - SAME_NDCG
            passed &= good
            for side, (_, parameters) in sides.items():
                epochs = (
                    parameters.get("epochs") or parameters.get("iterations") or parameters["n_iter"]
                )
                each = [answer["epochs"] / epochs for answer in told[side]]
                whole = statistics.median(answer["whole"] for answer in told[side])
                mark = "reached" if good else "MISSED"
                pace = f"{ratio:.2f}x ({min(ratios):.2f}-{max(ratios):.2f}), bar {BAR} {mark}"
                print(
                    f"| {side} {parameters} | {statistics.median(each):.4f} ({min(each):.4f}-"
                    f"{max(each):.4f}) | {whole:.2f} | {found[side]:.4f} "
                    f"| {pace if side == 'matfac' else ''} |",
                    flush=True,
                )
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
