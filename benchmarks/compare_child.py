"""One side of compare.py: reads a case a line, answers with its seconds and its result, in JSON.

Uses the public calls that every revision has, of whichever matfac is first on the path.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp

from matfac import ExplicitMF, ImplicitMF
from matfac.datasets import planted_ratings

FIT = {"n_factors": 64, "n_iter": 3, "random_state": 0, "verbose": False}


@functools.cache
def ratings(nnz: int) -> sp.csr_array:
    n_users, n_items = round(6 * nnz**0.5), round(3.7 * nnz**0.5)
    return planted_ratings(n_users, n_items, nnz, test_fraction=0.0, seed=1).train


@functools.cache
def fitted(nnz: int) -> Any:
    return ImplicitMF(**FIT).fit(ratings(nnz))


def fit(model: Any, nnz: int) -> float:
    return float(model.fit(ratings(nnz)).objective_)


CASES: dict[str, Callable[[int], float]] = {
    "als": lambda nnz: fit(ExplicitMF(**FIT), nnz),
    "als-exact": lambda nnz: fit(ExplicitMF(cg_steps=None, **FIT), nnz),
    "implicit": lambda nnz: fit(ImplicitMF(**FIT), nnz),
    "implicit-exact": lambda nnz: fit(ImplicitMF(cg_steps=None, **FIT), nnz),
    "sgd": lambda nnz: fit(ExplicitMF(solver="sgd", **FIT), nnz),
    "fold-in": lambda nnz: float(np.abs(fitted(nnz).transform(ratings(nnz))).sum()),
    "recommend": lambda nnz: float(fitted(nnz).recommend(k=10)[1].sum()),
}


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        ratings(asked["nnz"])
        if asked["case"] in ("fold-in", "recommend"):
            fitted(asked["nnz"])
        begin = time.perf_counter()
        answer = CASES[asked["case"]](asked["nnz"])
        print(json.dumps({"seconds": time.perf_counter() - begin, "answer": answer}), flush=True)


if __name__ == "__main__":
    main()
