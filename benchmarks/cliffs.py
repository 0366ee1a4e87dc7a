"""Cliffs: what an entry costs in shapes, lengths and types that are not the plain case's.

    python benchmarks/cliffs.py
    python benchmarks/cliffs.py --reads   # and what reading the rows alone costs

Each line is a fit's median sweep over its entries (and over the length of the factors, where that
changes), against the line it is set beside. Fails where the ratio is above --most. With --reads a
pass over users and items that only adds up every entry's float32 row, compiled from Cython, is
timed too: a sweep of ALS on the same matrix cannot be faster, whatever it computes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import scipy.sparse as sp

import machine
from build_twin import build
from growth import MODELS
from matfac._cores import default_threads


def even(users: int, items: int, each: int, giant: bool = False) -> sp.csr_array:
    """Every user with as many entries, spread over the items; or one of them at item 0 for all."""
    rng = np.random.default_rng(0)
    step = items // each
    columns = rng.integers(0, step, (users, each)) + step * np.arange(each)
    columns[:, 0] = 0 if giant else columns[:, 0]
    values = rng.integers(1, 6, columns.size).astype(np.float32)
    bounds = np.arange(0, columns.size + 1, each)
    return sp.csr_array((values, columns.ravel(), bounds), shape=(users, items))


@dataclass(frozen=True)
class Case:
    """A matrix, parameters, and the case to set it beside."""

    shape: tuple[int, int, int]
    beside: str
    giant: bool = False
    parameters: dict[str, Any] = field(default_factory=dict)
    d: int = 64


CASES = {
    "plain, 6k users of 160": Case((6000, 3700, 160), ""),
    "6k users of 160, 20k items": Case((6000, 20_000, 160), "plain, 6k users of 160"),
    "66k users of 15": Case((66_000, 20_000, 15), "plain, 6k users of 160"),
    "200k users of 5": Case((200_000, 20_000, 5), "plain, 6k users of 160"),
    "200k users of 5, one item of all": Case((200_000, 20_000, 5), "200k users of 5", giant=True),
    "d = 65": Case((6000, 3700, 160), "plain, 6k users of 160", d=65),
    "d = 100": Case((6000, 3700, 160), "plain, 6k users of 160", d=100),
    "float64": Case((6000, 3700, 160), "plain, 6k users of 160", parameters={"dtype": "float64"}),
}


def cost(model: str, case: Case, threads: int) -> float:
    """Nanoseconds an entry and coordinate."""
    marks = [0.0]
    X = even(*case.shape, giant=case.giant)
    fitted = MODELS[model](
        n_factors=case.d, n_iter=6, n_threads=threads, random_state=0, verbose=False,
        callback=lambda _, record: marks.append(record["seconds"]), **case.parameters,
    )  # fmt: skip
    fitted.fit(X)
    return statistics.median(np.diff(marks)[1:]) / X.nnz / case.d * 1e9


def reads(twin: ModuleType, case: Case, threads: int) -> float:
    """Nanoseconds an entry and coordinate of reading every entry's row once for either side."""
    X = even(*case.shape, giant=case.giant)
    rng = np.random.default_rng(0)
    users, items = (rng.standard_normal((n, case.d), dtype=np.float32) for n in X.shape)
    sides = []
    for matrix, fixed, solved in ((X, items, users), (X.T.tocsr(), users, items)):
        pointers, indices = matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)
        sides.append((pointers, indices, fixed, np.empty_like(solved)))
    taken = []
    for _ in range(7):
        begin = time.perf_counter()
        for side in sides:
            twin.read_rows(*side, threads)
        taken.append(time.perf_counter() - begin)
    pointers, indices, fixed, sums = sides[0]
    if not np.allclose(sums[-1], fixed[indices[pointers[-2] :]].sum(axis=0), atol=1e-3):
        raise SystemExit("the pass that only reads adds up to something else")
    return statistics.median(taken[1:]) / X.nnz / case.d * 1e9


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--most", type=float, default=2.0)
    parser.add_argument("--reads", action="store_true")
    chosen = parser.parse_args()
    print(f"{chosen.threads} threads; {machine.describe()['cpu']}; ns an entry and coordinate.\n")
    print("| model | case | ns | beside | ratio |\n|---|---|---|---|---|")
    worst = 0.0
    for model in chosen.models:
        costs: dict[str, float] = {}
        for name, case in CASES.items():
            costs[name] = cost(model, case, chosen.threads)
            ratio = costs[name] / costs[case.beside] if case.beside else 1.0
            worst = max(worst, ratio)
            print(f"| {model} | {name} | {costs[name]:.3f} | {case.beside} | {ratio:.2f} |")
    if chosen.reads:
        twin = build().module
        print("\n| rows read, nothing solved | ns |\n|---|---|")
        for name, case in CASES.items():
            if not case.parameters:
                print(f"| {name} | {reads(twin, case, chosen.threads):.3f} |")
    if worst > chosen.most:
        print(f"FAILED: a cliff of {worst:.2f}", file=sys.stderr)
    return int(worst > chosen.most)


if __name__ == "__main__":
    sys.exit(main())
