"""Solver by solver: the core against NumPy and a Cython twin, to the same objective.

    python benchmarks/run.py                      # 100k, 1M and 10M entries, d = 64
    python benchmarks/run.py --quick              # 100k, two repeats
    python benchmarks/run.py --sizes 1M --solvers sgd implicit-cg
    python benchmarks/run.py --peers              # against implicit, irspack, cmfrec, ...
    python benchmarks/run.py --peers --tasks implicit --sizes 20M --data gowalla --d 128

All start from the same factors and sweep in turn, A B C A B C. Objectives are computed in float64
by `matfac.reference` after every sweep, outside the time; the run fails where they differ at the
end. Writes results.md, results.json and results.png to --out.

With --peers: whole fits of other packages against matfac's to the same end; see peers.py. A peer
is looked for in this interpreter, or in that of --peer-python. Two are built from their sources
and named by environment variables: LIBMF's shared library by MATFAC_LIBMF, and the program
ialspp_main, from ials/vae_benchmarks of google-research, by MATFAC_IALSPP. Writes peers.md,
peers.json and peers.png to --out.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import adapter_cython
import adapter_matfac
import adapter_numpy
import cases
import machine
import measure
import peers
import report
from matfac._cores import default_threads
from peer_tasks import NAMES, REAL, TASKS
from problem import SOLVERS, Competitor, Problem

# A module per group of competitors, each with `competitors(problem, threads)`; the core is first.
GROUPS: list[Any] = [adapter_matfac, adapter_numpy, adapter_cython]


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", nargs="*", default=["100k", "1M", "10M"], help="entries")
    parser.add_argument("--d", type=int, default=64, help="length of the factors")
    parser.add_argument("--threads", type=int, default=default_threads())
    parser.add_argument("--repeats", type=int, default=5, help="timed sweeps, after one to warm up")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), help="folder")
    parser.add_argument("--solvers", nargs="+", choices=SOLVERS, default=list(SOLVERS))
    parser.add_argument("--quick", action="store_true", help="100k entries, two repeats")
    parser.add_argument("--peers", action="store_true", help="other packages, whole fits")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS), help="of --peers")
    parser.add_argument(
        "--data", nargs="+", choices=REAL, default=[], help="real sets of --peers, besides --sizes"
    )
    parser.add_argument(
        "--peer-python", metavar="NAME=PATH", action="append", default=[],
        help="the interpreter that has a peer",
    )  # fmt: skip
    parser.add_argument(
        "--curve", metavar="SHARE", type=float, nargs="+", default=[],
        help="fit peers for these shares of their iterations too, for the plot",
    )  # fmt: skip
    chosen = parser.parse_args(arguments)
    chosen.peer_python = dict(pair.partition("=")[::2] for pair in chosen.peer_python)
    if not set(chosen.peer_python) <= set(NAMES):
        parser.error(f"--peer-python takes NAME=PATH, NAME one of {', '.join(NAMES)}")
    if chosen.quick:
        chosen.sizes, chosen.repeats = ["100k"], 2
    if min(chosen.repeats, chosen.d, chosen.threads) < 1:
        parser.error("--repeats, --d and --threads must be at least 1")
    try:
        chosen.sizes = [cases.parse_size(size) for size in chosen.sizes]
    except ValueError:
        parser.error(f"--sizes are numbers such as 100k or 1M, got {' '.join(chosen.sizes)}")
    return chosen


def enter(problem: Problem, threads: int) -> list[tuple[Competitor, float]]:
    """Every group's competitors, each with the seconds that its preparation took."""
    _ = problem.columns, problem.ridges, problem.start, problem.mean  # what all share, made before
    entered: list[tuple[Competitor, float]] = []
    for group in GROUPS:
        begin = time.perf_counter()
        made = group.competitors(problem, threads)
        seconds = (time.perf_counter() - begin) / len(made)
        entered += [(competitor, seconds) for competitor in made]
    return entered


def main(arguments: list[str] | None = None) -> int:
    """Run; return 1 where objectives differ."""
    chosen = parse(arguments)
    if chosen.peers:
        return peers.main(chosen)
    flags = adapter_cython.twin().flags  # compiles, so that no case does
    described = machine.describe()
    settings = {key: getattr(chosen, key) for key in ("d", "threads", "repeats")}
    settings["cython_flags"] = flags
    entries: list[report.Entry] = []
    failures: list[str] = []
    for size in chosen.sizes:
        made: dict[str, cases.Case] = {}
        for key in chosen.solvers:
            solver = SOLVERS[key]
            if solver.data not in made:
                made[solver.data] = cases.MAKERS[solver.data](size)
            problem = Problem(solver, made[solver.data], chosen.d)
            print(f"{problem.case.name}: {solver.title} ...", file=sys.stderr, flush=True)
            try:
                results = measure.race(problem, enter(problem, chosen.threads), chosen.repeats)
            except measure.WrongAnswer as error:
                failures.append(str(error))
                continue
            entries.append(report.Entry(problem, results, machine.load()))
    if entries:
        chosen.out.mkdir(parents=True, exist_ok=True)
        parts = report.heading(described, settings), report.table(entries), report.notes(entries)
        text = "\n\n".join(parts) + "\n"
        (chosen.out / "results.md").write_text(text, encoding="utf-8")
        report.write_json(chosen.out / "results.json", entries, described, settings)
        report.plot(chosen.out / "results.png", entries)
        print(text)
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
