"""estimate_memory against the peak of a real fit, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from matfac import ExplicitMF, ImplicitMF, RankingMF

FIT = """
import sys
import numpy as np
import scipy.sparse as sp
from matfac import ExplicitMF, ImplicitMF, RankingMF, _features, _pairwise
_pairwise.FOLD_IN_PASSES, _features.GRADIENT_STEPS = 1, 3  # more take time, and no memory

def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

rng = np.random.default_rng(0)

def spread(m, n, each):
    "A matrix with an entry in each of the `each` parts of a row."
    step = n // each
    columns = np.sort(rng.integers(0, step, (m, each)) + step * np.arange(each), axis=1)
    return sp.csr_array((
        rng.integers(1, 6, m * each).astype(np.float32),
        columns.ravel().astype(np.int32),
        np.arange(0, m * each + 1, each, dtype=np.int32),
    ), shape=(m, n))

m, n = 20_000, 10_000
X = spread(m, n, 500)
assert X.indices.dtype == np.int32 and X.has_canonical_format
features = {"user_features": (m, sys.argv[2]), "item_features": (n, sys.argv[3])}
features = {k: spread(rows, *eval(size)) for k, (rows, size) in features.items() if size != "None"}
model = eval(sys.argv[1])
few = {k: F[:50] if k == "user_features" else F for k, F in features.items()}
type(model)(n_factors=4, n_iter=1).fit(X[:50], **few)  # pages of code, pools of threads
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = memory("VmRSS")
model.fit(X, **features)
matrices = [X, *features.values()]
stored = sum(a.nbytes for M in matrices for a in (M.data, M.indices, M.indptr))
sizes = {k: (F.shape[1], F.nnz) for k, F in features.items()}
print(memory("VmHWM") - before + stored, model.estimate_memory(m, n, X.nnz, **sizes).total)
"""


def slow(*case: Any) -> Any:
    return pytest.param(*case, marks=pytest.mark.slow)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    ("model", "user_features", "item_features"),  # their number, and how many each row has
    [
        ("ExplicitMF(n_factors=64, n_iter=2)", None, None),
        slow("ExplicitMF(n_factors=40, n_iter=1, cg_steps=None)", None, None),
        ("ExplicitMF(n_factors=64, n_iter=2, solver='sgd')", None, None),
        ("ImplicitMF(n_factors=64, n_iter=2)", None, None),
        slow("ImplicitMF(n_factors=128, n_iter=2, alpha=10.0, reg=1.0)", None, None),
        ("RankingMF(n_factors=64, n_iter=1)", None, None),
        ("ExplicitMF(n_factors=64, n_iter=2)", (2000, 300), (500, 20)),
        ("ImplicitMF(n_factors=64, n_iter=2)", (30_000, 100), None),
    ],
)
def test_the_peak_of_a_fit_is_the_estimate(
    model: str, user_features: tuple[int, int] | None, item_features: tuple[int, int] | None
) -> None:
    arguments = [model, str(user_features), str(item_features)]
    done = subprocess.run(
        [sys.executable, "-c", FIT, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak, estimate = map(int, done.stdout.split())
    assert estimate == pytest.approx(peak, rel=0.1)


def test_early_stopping_and_double_precision_need_more() -> None:
    plain = ImplicitMF(32).estimate_memory(1000, 500, 20_000)
    assert ImplicitMF(32, dtype="float64").estimate_memory(1000, 500, 20_000).total > plain.total
    stopping = ImplicitMF(32, early_stopping=True).estimate_memory(1000, 500, 20_000)
    assert stopping.total - plain.total > 8 * 20_000 + plain.snapshots


@pytest.mark.parametrize(
    ("sizes", "error"),
    [((0, 5, 5), "n_users must be at least 1"), ((5, 5, -1), "nnz must be at least 1")],
)
def test_sizes_are_checked(sizes: tuple[int, int, int], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        ExplicitMF().estimate_memory(*sizes)


@pytest.mark.parametrize(
    ("model", "features", "error"),
    [
        (ImplicitMF(), 5, r"user_features must be a pair \(n_features, stored entries\), got 5"),
        (ImplicitMF(), (0, 5), r"user_features\[0\] must be at least 1"),
        (ImplicitMF(), (5, 1.5), r"user_features\[1\] must be an integer"),
        (ExplicitMF(solver="sgd"), (5, 5), "solver='sgd' takes no features: use solver='als'"),
        (RankingMF(), (5, 5), "RankingMF takes no features: use ImplicitMF"),
    ],
)
def test_sizes_of_features_are_checked(model: Any, features: Any, error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        model.estimate_memory(5, 5, 5, user_features=features)
