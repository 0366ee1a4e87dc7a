"""What a sweep must move and compute, against what this machine can: both measured here, now.

    python benchmarks/roofline.py --sizes 1M 10M --d 64 128 256

A sweep cannot be faster than its floating-point operations at the speed of a large matrix product
(SGEMM, same threads), nor than the bytes that have to cross the memory bus at the speed of a large
copy: every entry's index and value once a half sweep, every table of factors read once and the
solved one written. `reached` is that bound over the time taken. Beside it stands the rate at which
factor rows are fetched, one an entry, from whichever cache they are in. Writes roofline.md and
roofline.json to --out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

import adapter_matfac
import cases
import machine
from matfac._cores import default_threads
from problem import SOLVERS, Problem

FLOAT, INDEX = 4, 4
GEMM, COPY = 3000, 64 << 20  # rows and columns; entries a thread


def seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median time of a call, after one that warms up."""
    taken = []
    for _ in range(repeats + 1):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken[1:])


def peak_flops(threads: int, repeats: int) -> float:
    """Operations a second of a large single-precision matrix product."""
    a = np.random.default_rng(0).standard_normal((GEMM, GEMM), dtype=np.float32)
    out = np.empty_like(a)
    with threadpool_limits(threads, user_api="blas"):
        return 2 * GEMM**3 / seconds(lambda: np.matmul(a, a, out=out), repeats)


def bandwidth(threads: int, repeats: int) -> float:
    """Bytes a second, read and written, of copies too large for any cache."""
    pairs = [(np.ones(COPY, np.float32), np.empty(COPY, np.float32)) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def copy() -> None:
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), pairs))

        return threads * 2 * COPY * FLOAT / seconds(copy, repeats)


@dataclass(frozen=True)
class Work:
    """Of one sweep over users and items, or one pass of SGD."""

    flops: float
    bytes: float  # across the memory bus, at least
    fetched: float  # bytes of factor rows, from wherever they are


def work(problem: Problem) -> Work:
    """Count what the method cannot do without."""
    solver, k, nnz = problem.solver, problem.k, problem.case.nnz
    (m, n), entry = problem.case.shape, INDEX + FLOAT
    tables = (m + n) * k * FLOAT
    if solver.kind == "sgd":
        # The error, and both rows' steps with decay; a user's row stays in registers.
        return Work(nnz * 10.0 * k, nnz * entry + 2.0 * tables, nnz * 2.0 * k * FLOAT)
    moved = 2 * nnz * entry + 3.0 * tables
    fetched = 2.0 * nnz * k * FLOAT
    if solver.cg_steps:
        flops = 2 * nnz * 4.0 * k * (solver.cg_steps + 1)
    else:
        flops = 2 * nnz * float(k * (k + 1)) + (m + n) * (k**3 / 3 + 2.0 * k * k)
    if solver.kind == "implicit":
        flops += (m + n) * 1.0 * k * (k + 1)  # the shared Gram of both sides
        if solver.cg_steps:
            flops += (m + n) * 4.0 * k * k  # into its eigenbasis and back
    return Work(flops, moved, fetched)


@dataclass(frozen=True)
class Row:
    """One solver on one case."""

    case: str
    solver: str
    d: int
    seconds: float
    gflops: float
    of_peak: float
    gbytes: float
    of_bandwidth: float
    fetched_gbytes: float
    reached: float


def measured(problem: Problem, threads: int, repeats: int, peak: float, bus: float) -> Row:
    """Time sweeps of the core and set them against the bounds."""
    (core,) = adapter_matfac.competitors(problem, threads)
    with threadpool_limits(1, user_api="blas"):
        taken = seconds(core.sweep, repeats)
    need = work(problem)
    compute, memory = need.flops / peak, need.bytes / bus
    return Row(
        problem.case.name, problem.solver.title, problem.k, taken, need.flops / taken / 1e9,
        compute / taken, need.bytes / taken / 1e9, memory / taken, need.fetched / taken / 1e9,
        max(compute, memory) / taken,
    )  # fmt: skip


def text(rows: list[Row], described: dict[str, object], peak: float, bus: float) -> str:
    """Return the page."""
    machine_line = (
        f"{described['cpu']}: {peak / 1e9:.0f} GFLOP/s in a matrix product, "
        f"{bus / 1e9:.1f} GB/s in a copy, with the threads of the runs."
    )
    lines = [
        machine_line,
        "",
        "| case | solver | d | s | GFLOP/s | of product | GB/s | of copy | rows GB/s | reached |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.case} | {r.solver} | {r.d} | {r.seconds:.3g} | {r.gflops:.0f} | {r.of_peak:.0%} "
        f"| {r.gbytes:.2g} | {r.of_bandwidth:.0%} | {r.fetched_gbytes:.0f} | {r.reached:.0%} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="+", type=cases.parse_size, default=[1_000_000])
    parser.add_argument("--d", nargs="+", type=int, default=[64, 128, 256])
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    chosen = parser.parse_args(arguments)
    peak = peak_flops(chosen.threads, chosen.repeats)
    bus = bandwidth(chosen.threads, chosen.repeats)
    rows: list[Row] = []
    for size in chosen.sizes:
        made = {kind: make(size) for kind, make in cases.MAKERS.items()}
        for key in chosen.solvers:
            for d in chosen.d:
                problem = Problem(SOLVERS[key], made[SOLVERS[key].data], d)
                rows.append(measured(problem, chosen.threads, chosen.repeats, peak, bus))
    described = machine.describe()
    page = text(rows, described, peak, bus)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "roofline.md").write_text(page, encoding="utf-8")
    document = {"machine": described, "threads": chosen.threads, "flops": peak, "bandwidth": bus}
    document["rows"] = [asdict(row) for row in rows]
    (chosen.out / "roofline.json").write_text(json.dumps(document, indent=1) + "\n")
    print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
