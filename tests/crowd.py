"""What fits cost in company: `python tests/crowd.py [--repeats 5]`, on an otherwise idle machine.

Each line: seconds together over the sum of seconds one after the other, medians of interleaved
runs. More than 1.2, or another result than alone, fails. Torch is tried where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

import joblib
import numpy as np
from sklearn.cluster import KMeans

from matfac import ExplicitMF, datasets

BAR = 1.2
DATA = datasets.planted_ratings(6000, 3000, 1_500_000, rank=8, seed=0).train
POINTS = np.random.default_rng(0).normal(size=(60_000, 32))


def fit(seed: int) -> np.ndarray:
    """Fit by exact least squares: the same bits for any number of threads."""
    factors: np.ndarray = ExplicitMF(64, n_iter=5, random_state=seed).fit(DATA).item_factors_
    return factors


def cluster() -> None:
    KMeans(32, n_init=1, max_iter=30, tol=0.0, random_state=0).fit(POINTS)


def multiply() -> None:
    import torch

    a = torch.ones(1200, 1200)
    for _ in range(40):
        torch.relu(a @ a)


def together(*works: Callable[[], Any]) -> None:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_jobs(backend: str) -> None:
    found = joblib.Parallel(n_jobs=2, backend=backend)(joblib.delayed(fit)(i) for i in range(4))
    for i, factors in enumerate(found):
        np.testing.assert_array_equal(factors, RESULTS[i])


def four_fits() -> None:
    for i in range(4):
        np.testing.assert_array_equal(fit(i), RESULTS[i])


def seconds(work: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


RESULTS: list[np.ndarray] = []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    RESULTS.extend(fit(i) for i in range(4))
    others = [cluster]
    if importlib.util.find_spec("torch") is not None:
        others.append(multiply)
    cases: dict[str, tuple[list[Callable[[], Any]], Callable[[], Any]]] = {
        f"4 fits in 2 jobs of joblib's {backend}": ([four_fits], lambda b=backend: in_jobs(b))
        for backend in ("threading", "loky")
    }
    for other in others:
        cases[f"4 fits beside {other.__name__}"] = (
            [four_fits, other],
            lambda other=other: together(four_fits, other),
        )
    cases["2 x 4 fits in 2 Python threads"] = (
        [four_fits, four_fits],
        lambda: together(four_fits, four_fits),
    )
    slow = []
    for name, (alone, crowded) in cases.items():
        crowded()  # joblib's workers start
        ratios = []
        for _ in range(args.repeats):
            quiet = sum(seconds(work) for work in alone)
            ratios.append(seconds(crowded) / quiet)
        ratio = statistics.median(ratios)
        print(f"{name}: {ratio:.2f} ({min(ratios):.2f}-{max(ratios):.2f})", flush=True)
        if ratio > BAR:
            slow.append(name)
    if slow:
        raise SystemExit(f"more than {BAR} times the quiet time: {', '.join(slow)}")


if __name__ == "__main__":
    main()
