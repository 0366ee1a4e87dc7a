"""matfac against the installed peers: fresh processes in turn, to the same objective or RMSE.

Every fit, matfac's too, is a run of peer_child.py. What it ends at is computed here, in float64 by
`matfac.reference`, outside the time (ialspp_main keeps its factors: its own word is taken).
A peer fits for a set number of iterations; matfac's seconds are those of the whole fit() of the
fewest iterations that end at least as low.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import machine
import peer_report
from matfac import reference
from peer_tasks import NAMES, OWN, OWN_SETTINGS, REAL, TASKS, Data, Task, planted, real

CHILD = Path(__file__).with_name("peer_child.py")
# Peers that pip does not install, and the variables that name what was built.
BUILT = {"libmf": "MATFAC_LIBMF", "ialspp": "MATFAC_IALSPP"}
EARLIEST = 3  # iterations with which such a search begins


@dataclass
class Run:
    """One fit: what the child told, and what its factors are worth."""

    name: str
    n_iter: int
    seconds: float
    iterations: list[float]
    objectives: list[float]
    peak_mb: float
    reached: float | None = None
    rate: float | None = None

    @property
    def per_iteration(self) -> float:
        """Median seconds, or, of a package that does not tell, the fit's by their number."""
        return statistics.median(self.iterations or [self.seconds / self.n_iter])


@dataclass
class Duel:
    """A peer and matfac on a case."""

    case: str
    entries: int
    task: Task
    peer: str
    version: str
    target: float
    peer_runs: list[Run]
    own_runs: list[Run]  # the fewest iterations that reach the target; empty: not reached
    searched: list[Run]
    peer_curve: list[Run]  # shorter fits, for the plot
    load: float | None


class Field:
    """One task on one matrix, on disk for the children."""

    def __init__(self, task: Task, data: Data, chosen: argparse.Namespace, folder: Path) -> None:
        self.task, self.chosen, self.folder = task, chosen, folder
        self.own: dict[int, Run] = {}
        train, self.test = data.train, data.test
        train.sort_indices()
        self.data, self.name = data.name, f"{task.title} {data.name}"
        self.csr = train.indptr.astype(np.int64), train.indices, train.data
        narrow = train.data, train.indices.astype(np.int32), train.indptr.astype(np.int32)
        sp.save_npz(folder / "train.npz", sp.csr_matrix(narrow, train.shape), compressed=False)

    def fit(self, name: str, n_iter: int, evaluate: bool = True, rate: float | None = None) -> Run:
        """Run a child."""
        if rate is None and self.task.rates:
            rate = self.task.rates[OWN if name == OWN else "peer"][0]
        out = self.folder / "factors.npz"
        settings: dict[str, Any] = {
            "peer": name, "task": self.task.key, "n_iter": n_iter, "d": self.chosen.d,
            "threads": self.chosen.threads, "seed": 1, "train": str(self.folder / "train.npz"),
            "out": str(out), "built": os.environ.get(BUILT.get(name, ""), ""), **self.task.shared,
        }  # fmt: skip
        if rate is not None:
            settings["rate"] = rate
        if name == OWN:
            settings |= OWN_SETTINGS.get((self.task.key, self.data), {})
        told = child(interpreter(name, self.chosen), settings, self.chosen.threads)
        run = Run(name, n_iter, **told, rate=rate)
        if evaluate:
            run.reached = self.value(out)
        print(
            f"{self.name}: {name}, {n_iter} iterations, {run.seconds:.3g} s, {run.reached}",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        return run

    def value(self, path: Path) -> float:
        """The objective, or the RMSE on what was held out, in float64."""
        with np.load(path) as saved:
            arrays = {name: saved[name] for name in saved.files}
        if "objective" in arrays:  # of a peer that keeps its factors
            return float(arrays["objective"])
        mean = float(arrays.pop("mean", 0.0))
        model = reference.Factors(**arrays, mean=mean)
        if self.task.goal != "objective":
            assert self.test is not None
            scores = reference.predict(self.test.coords[0], self.test.coords[1], model)
            scores[np.isnan(scores)] = self.csr[2].mean(dtype=np.float64)  # of rows without entries
            return float(np.sqrt(np.mean((scores - self.test.data) ** 2)))
        return reference.implicit_objective(self.csr, model, exponent=0.0, **self.task.shared)

    def duel(self, peer: str, version: str) -> Duel:
        """The peer, the search for matfac's iterations, then both again in turn."""
        rates: tuple[float | None, ...] = self.task.rates.get("peer", (None,))
        tried = [self.fit(peer, self.task.n_iter["peer"], rate=rate) for rate in rates]
        first = min(tried, key=lambda run: run.reached or 0.0)
        assert first.reached is not None
        best = self.fewest(first.reached)
        peer_runs, own_runs = [first], [] if best is None else [self.own[best]]
        for _ in range(self.chosen.repeats - 1):
            if best is not None:
                own_runs.append(self.fit(OWN, best, evaluate=False))
            peer_runs.append(self.fit(peer, first.n_iter, evaluate=False, rate=first.rate))
        load = machine.load()
        shorter = sorted({max(1, round(first.n_iter * share)) for share in self.chosen.curve})
        curve = [
            self.fit(peer, n_iter, rate=first.rate) for n_iter in shorter if n_iter < first.n_iter
        ]
        searched = [self.own[n_iter] for n_iter in sorted(self.own)]
        return Duel(
            self.name, len(self.csr[1]), self.task, peer, version, first.reached, peer_runs,
            own_runs, searched, curve, load,
        )  # fmt: skip

    def fewest(self, target: float) -> int | None:
        """The fewest iterations after which matfac's fit ends at `target` or below."""

        def reaches(n_iter: int) -> bool:
            if n_iter not in self.own:
                self.own[n_iter] = self.fit(OWN, n_iter)
            reached = self.own[n_iter].reached
            return reached is not None and reached <= target

        start = self.task.n_iter[OWN]
        if not self.task.goal:
            self.own[start] = self.fit(OWN, start)
            return start
        low, high = (1, start) if reaches(start) else (start + 1, 3 * start)
        if low > 1 and self.task.goal != "objective":
            # What was held out may be met best before the noise is fitted.
            early = next(filter(reaches, range(EARLIEST, start)), None)
            if early is not None:
                return early
        if low == 1 and self.task.goal == "objective":
            # The last exact half sweep ends between this iteration's objective and the next one's.
            objectives = self.own[start].objectives
            high = next((i for i, value in enumerate(objectives, 1) if value <= target), start)
            low = max(1, high - 1)
        return bisect(reaches, low, high)


def bisect(holds: Callable[[int], bool], low: int, high: int) -> int | None:
    """The first number in low..high for which `holds`, which then holds for all above."""
    if not holds(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def interpreter(name: str, chosen: argparse.Namespace) -> str:
    return str(chosen.peer_python.get(name, sys.executable))


def child(python: str, settings: dict[str, Any], threads: int) -> dict[str, Any]:
    """Run peer_child.py; packages thread over rows, so that BLAS has one thread in all of them."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    environment |= {f"{blas}_NUM_THREADS": "1" for blas in ("OPENBLAS", "MKL", "BLIS")}
    command = [python, str(CHILD), json.dumps(settings)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{settings.get('peer', 'probe')}: {done.stderr.strip()[-2000:]}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def versions(chosen: argparse.Namespace) -> dict[str, str | None]:
    """Every peer's version; None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in NAMES:
        if name in BUILT:
            found[name] = Path(os.environ.get(BUILT[name], "")).name or None
            continue
        try:
            found[name] = child(interpreter(name, chosen), {"probe": name}, 1)["version"]
        except (OSError, RuntimeError):
            found[name] = None
    return found


def data_sets(task: Task, chosen: argparse.Namespace) -> Iterator[Data]:
    """Every matrix asked for that the task is for, one at a time."""
    for size in chosen.sizes:
        yield planted(task, size)
    for name in chosen.data:
        if task.key in REAL[name]:
            yield real(name)


def main(chosen: argparse.Namespace) -> int:
    """Every task on all its data against every peer that is there; return 1 where a fit failed."""
    there = versions(chosen)
    duels: list[Duel] = []
    failures: list[str] = []
    for task in (TASKS[key] for key in chosen.tasks):
        present = [name for name in task.peers if there[name] is not None]
        if not present:
            continue
        for data in data_sets(task, chosen):
            with tempfile.TemporaryDirectory() as folder:
                arena = Field(task, data, chosen, Path(folder))
                for name in present:
                    try:
                        duels.append(arena.duel(name, str(there[name])))
                    except RuntimeError as error:
                        failures.append(str(error))
                    else:
                        peer_report.write(chosen, duels, there)
    print(peer_report.write(chosen, duels, there))
    for failure in failures:
        print(f"FAILED: {failure}", file=sys.stderr)
    return 1 if failures else 0
