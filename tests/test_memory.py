"""estimate_memory against the peak of a real fit, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from matfac import ExplicitMF, ImplicitMF

FIT = """
import sys
import numpy as np
import scipy.sparse as sp
from matfac import ExplicitMF, ImplicitMF, RankingMF

def memory(name):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(name))

m, n, each = 20_000, 10_000, 500
rng = np.random.default_rng(0)
step = n // each
columns = np.sort(rng.integers(0, step, (m, each)) + step * np.arange(each), axis=1)
X = sp.csr_array((
    rng.integers(1, 6, m * each).astype(np.float32),
    columns.ravel().astype(np.int32),
    np.arange(0, m * each + 1, each, dtype=np.int32),
), shape=(m, n))
assert X.indices.dtype == np.int32 and X.has_canonical_format
model = eval(sys.argv[1])
type(model)(n_factors=4, n_iter=1).fit(X[:50])  # pages of code, pools of threads
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before = memory("VmRSS")
model.fit(X)
stored = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
print(memory("VmHWM") - before + stored, model.estimate_memory(m, n, m * each).total)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize(
    "model",
    [
        "ExplicitMF(n_factors=64, n_iter=2)",
        "ExplicitMF(n_factors=40, n_iter=1, cg_steps=None)",
        "ExplicitMF(n_factors=64, n_iter=2, solver='sgd')",
        "ImplicitMF(n_factors=64, n_iter=2)",
        "ImplicitMF(n_factors=128, n_iter=2, alpha=10.0, reg=1.0)",
        "RankingMF(n_factors=64, n_iter=1)",
    ],
)
def test_the_peak_of_a_fit_is_the_estimate(model: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIT, model], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    peak, estimate = map(int, done.stdout.split())
    assert estimate == pytest.approx(peak, rel=0.1)


def test_early_stopping_and_double_precision_need_more() -> None:
    plain = ImplicitMF(32).estimate_memory(1000, 500, 20_000)
    assert ImplicitMF(32, dtype="float64").estimate_memory(1000, 500, 20_000).total > plain.total
    stopping = ImplicitMF(32, early_stopping=True).estimate_memory(1000, 500, 20_000)
    assert stopping.total - plain.total > plain.matrix + plain.snapshots - 10_000


@pytest.mark.parametrize(
    ("sizes", "error"),
    [((0, 5, 5), "n_users must be at least 1"), ((5, 5, -1), "nnz must be at least 1")],
)
def test_sizes_are_checked(sizes: tuple[int, int, int], error: str) -> None:
    with pytest.raises(ValueError, match=error):
        ExplicitMF().estimate_memory(*sizes)
