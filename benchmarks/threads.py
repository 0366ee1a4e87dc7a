"""Threads: what a sweep takes on one thread and on more, and that the answer stays the same.

    python benchmarks/threads.py                      # 1, 2, 4, ... as many as can be had
    python benchmarks/threads.py --size 20M --threads 1 8 16

The numbers of threads take turns. Fails where factors, lists or folded-in users differ between them
in a bit (Hogwild SGD: the held-out error by a hundredth), or 2 threads are less than --least times
as fast as one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import cases
import machine
from growth import MODELS
from matfac import ExplicitMF, ImplicitMF
from matfac._cores import default_threads
from matfac.datasets import PlantedRatings, planted_ratings

SWEEPS = {
    **MODELS,
    "sgd, deterministic": lambda **shared: ExplicitMF(solver="sgd", deterministic=True, **shared),
    "implicit, exact": lambda **shared: ImplicitMF(cg_steps=None, **shared),
}
SERVING = ("lists", "fold-in")
Run = Callable[[int], tuple[float, Any]]


def sweeps(make: Any, planted: PlantedRatings, d: int, n_iter: int) -> Run:
    """Median seconds of a sweep but the first, and the model."""

    def run(threads: int) -> tuple[float, Any]:
        marks: list[float] = []
        model = make(
            n_factors=d, n_iter=n_iter, n_threads=threads, random_state=0, verbose=False,
            callback=lambda _, record: marks.append(record["seconds"]),
        )  # fmt: skip
        model.fit(planted.train)
        return statistics.median(np.diff(marks)), model

    return run


def serving(planted: PlantedRatings, d: int) -> dict[str, Run]:
    """Seconds of everyone's list, and of folding everyone in, by one model."""
    model = ImplicitMF(n_factors=d, n_iter=1, random_state=0, verbose=False).fit(planted.train)

    def timed(call: Callable[[], Any]) -> Run:
        def run(threads: int) -> tuple[float, Any]:
            model.set_params(n_threads=threads)
            start = time.perf_counter()
            found = call()
            return time.perf_counter() - start, found

        return run

    everyone = np.arange(planted.train.shape[0])
    return {
        "lists": timed(lambda: model.recommend(everyone, k=10)[0]),
        "fold-in": timed(lambda: model.transform(planted.train)),
    }


def difference(name: str, one: Any, other: Any, planted: PlantedRatings) -> str:
    """How two answers differ, or nothing."""
    if name == "sgd":
        wanted = planted.test.tocoo()
        off = [m.predict(*wanted.coords) - wanted.data for m in (one, other)]
        rmse = [float(np.sqrt(np.mean(each**2))) for each in off]
        return f"held-out RMSE {rmse}" if abs(rmse[0] - rmse[1]) > 0.01 * rmse[0] else ""
    if isinstance(one, np.ndarray):
        return "" if np.array_equal(one, other) else "answers differ"
    same = np.array_equal(one.user_factors_, other.user_factors_) and np.array_equal(
        one.item_factors_, other.item_factors_
    )
    return "" if same else "factors differ"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    most = default_threads()
    counts = sorted({1, *(2**k for k in range(1, most.bit_length()) if 2**k <= most), most})
    parser.add_argument("--size", type=cases.parse_size, default=10_000_000)
    parser.add_argument("--d", type=int, default=64)
    parser.add_argument("--threads", type=int, nargs="+", default=counts)
    parser.add_argument("--only", nargs="+", choices=[*SWEEPS, *SERVING])
    parser.add_argument("--n-iter", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--least", type=float, default=1.8)
    chosen = parser.parse_args(arguments)
    users, items = cases.shape_of(chosen.size)
    planted = planted_ratings(users, items, chosen.size, rank=cases.RANK, seed=cases.SEED)
    runs = {name: sweeps(make, planted, chosen.d, chosen.n_iter) for name, make in SWEEPS.items()}
    runs |= serving(planted, chosen.d)
    about = machine.describe()
    print(f"{about['cpu']}, {about['usable_cores']} cores, {about['matfac']['simd']}; ", end="")
    print(f"{planted.train.nnz} entries, d = {chosen.d}. Seconds, and times as fast as one.\n")
    print(
        f"| what | {' | '.join(map(str, chosen.threads))} |\n|{'---|' * (len(chosen.threads) + 1)}"
    )
    failed = []
    for name in chosen.only or runs:
        taken: dict[int, list[float]] = {threads: [] for threads in chosen.threads}
        first = None
        for _ in range(chosen.repeats):
            for threads in chosen.threads:
                seconds, answer = runs[name](threads)
                taken[threads].append(seconds)
                first = answer if first is None else first
                if wrong := difference(name, first, answer, planted):
                    failed.append(f"{name}, {threads} threads: {wrong}")
        medians = {threads: statistics.median(seconds) for threads, seconds in taken.items()}
        ratio = {threads: medians[chosen.threads[0]] / took for threads, took in medians.items()}
        cells = [f"{medians[threads]:.4f} ({ratio[threads]:.2f}x)" for threads in chosen.threads]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        if ratio.get(2, chosen.least) < chosen.least:
            failed.append(f"{name}: 2 threads are {ratio[2]:.2f} times as fast as one")
    print("\n".join(f"FAILED: {line}" for line in failed), file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
