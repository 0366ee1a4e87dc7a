"""Growth: seconds a sweep and peak memory from a million ratings to a hundred million.

    python benchmarks/growth.py                       # 1M, 10M and 100M, d = 64
    python benchmarks/growth.py --sizes 1M 20M --models sgd

Each fit is a process of its own, which loads the matrix, notes its memory, fits, and tells the
median seconds of its sweeps and the peak. With --repeats all of them go in turn that often, and
the median of the medians and the highest peak count. `needed` is both CSR orientations and the
factors; `estimate` is what `estimate_memory` said before. Fails where a million entries cost more
than --slope times as much time in a larger matrix as in the smallest, the peak is above --over
times what is needed in the largest, or the estimate is off by a tenth of the peak there. Writes
growth.md and growth.json to --out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import cases
import machine
from matfac import ExplicitMF, ImplicitMF
from matfac._cores import default_threads
from matfac.datasets import planted_ratings

MODELS: dict[str, Any] = {
    "explicit": ExplicitMF,
    "exact": lambda **shared: ExplicitMF(cg_steps=None, **shared),
    "sgd": lambda **shared: ExplicitMF(solver="sgd", **shared),
    "implicit": ImplicitMF,
}
MB = 1e6


def memory(name: str) -> int:
    """Bytes of this process, as the kernel counts them."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def child(path: str, model: str, d: int, threads: int, n_iter: int) -> None:
    """Fit, and print what it took."""
    marks = [0.0]
    shared = {"n_factors": d, "n_threads": threads, "random_state": 0, "verbose": False}
    X = sp.load_npz(path)
    MODELS[model](**{**shared, "n_factors": 4}, n_iter=1).fit(X[:100])  # code and threads
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = memory("VmRSS")
    fitted = MODELS[model](
        **shared, n_iter=n_iter, callback=lambda _, record: marks.append(record["seconds"])
    )
    fitted.fit(X)
    stored = X.data.nbytes + X.indices.nbytes + X.indptr.nbytes
    told = {
        "sweep": statistics.median(np.diff(marks)),
        "peak": memory("VmHWM") - before + stored,
        "needed": 2 * X.nnz * 8 + sum(X.shape) * (4 * d + 8),
        "estimate": fitted.estimate_memory(*X.shape, X.nnz).total,
        "reached": fitted.history_[-1]["objective"],
    }
    print(json.dumps(told))


@dataclass(frozen=True)
class Row:
    """One fit."""

    model: str
    size: str
    nnz: int
    sweep: float
    peak: int
    needed: int
    estimate: int
    reached: float

    @property
    def per_million(self) -> float:
        return self.sweep / self.nnz * 1e6

    def cells(self) -> str:
        return (
            f"| {self.model} | {self.size} | {self.sweep:.4g} | {self.per_million:.4f} "
            f"| {self.peak / MB:.0f} | {self.needed / MB:.0f} | {self.peak / self.needed:.2f} "
            f"| {self.estimate / MB:.0f} | {self.estimate / self.peak - 1:+.1%} "
            f"| {self.reached:.6g} |"
        )


def make(size: int, path: Path) -> None:
    users, items = cases.shape_of(size)
    train = planted_ratings(
        users, items, size, rank=cases.RANK, test_fraction=0.0, seed=cases.SEED
    ).train
    narrow = train.data, train.indices.astype(np.int32), train.indptr.astype(np.int32)
    sp.save_npz(path, sp.csr_matrix(narrow, train.shape), compressed=False)


def measured(path: Path, size: int, model: str, chosen: argparse.Namespace) -> Row:
    settings = ["--child", str(path), "--models", model, "--d", str(chosen.d)]
    settings += ["--threads", str(chosen.threads), "--n-iter", str(chosen.n_iter)]
    command = [sys.executable, __file__, *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{model}, {size}: {done.stderr[-2000:]}")
    return Row(model, cases.size_name(size), size, **json.loads(done.stdout))


def together(runs: tuple[Row, ...]) -> Row:
    """One row for the runs of one fit."""
    sweep = statistics.median(run.sweep for run in runs)
    return replace(runs[0], sweep=sweep, peak=max(run.peak for run in runs))


def failures(rows: list[Row], chosen: argparse.Namespace) -> list[str]:
    """What is not as it should be."""
    found = []
    for model in chosen.models:
        own = sorted((row for row in rows if row.model == model), key=lambda row: row.nnz)
        last = own[-1]
        found += [
            f"{model}: a million entries of {row.size} take {row.per_million:.4f} s, of "
            f"{own[0].size} {own[0].per_million:.4f} s"
            for row in own
            if row.per_million > chosen.slope * own[0].per_million
        ]
        if last.peak > chosen.over * last.needed:
            found.append(f"{model} {last.size}: the peak is {last.peak / last.needed:.2f} of need")
        if abs(last.estimate / last.peak - 1) > 0.1:
            found.append(f"{model} {last.size}: estimated {last.estimate}, took {last.peak}")
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", default=["1M", "10M", "100M"])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--d", type=int, default=64)
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--n-iter", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--slope", type=float, default=1.3)
    parser.add_argument("--over", type=float, default=1.3)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--folder", type=Path, help="keep the matrices there, for the next run")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.child:
        child(chosen.child, chosen.models[0], chosen.d, chosen.threads, chosen.n_iter)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        kept, models = chosen.folder or Path(folder), chosen.models
        paths = {size: kept / f"{size}.npz" for size in map(cases.parse_size, chosen.sizes)}
        for size, path in paths.items():
            if not path.exists():
                make(size, path)
        rounds = [
            [
                measured(path, size, model, chosen)
                for size, path in paths.items()
                for model in models
            ]
            for _ in range(chosen.repeats)
        ]
    rows = [together(runs) for runs in zip(*rounds, strict=True)]
    described = machine.describe()
    head = (
        "| model | entries | s/sweep | s per million | peak MB | needed | ratio | estimate | off "
    )
    lines = [f"{head}| objective |", "|---" * 10 + "|", *(row.cells() for row in rows)]
    how = f"d = {chosen.d}, {chosen.threads} threads, {chosen.repeats} in turn"
    page = f"{how}; {described['cpu']}.\n\n" + "\n".join(lines)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "growth.md").write_text(page + "\n", encoding="utf-8")
    document = {"machine": described, "rows": [asdict(row) for row in rows]}
    (chosen.out / "growth.json").write_text(json.dumps(document, indent=1) + "\n")
    print(page)
    wrong = failures(rows, chosen)
    for line in wrong:
        print(f"FAILED: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
