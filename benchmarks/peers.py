"""matfac against the installed peers: fresh processes in turn, to the same objective or RMSE.

Every fit, matfac's too, is a run of peer_child.py. What it ends at is computed here, in float64 by
`matfac.reference`, outside the time. A peer fits for a set number of iterations; matfac's seconds
are those of the whole fit() of the fewest iterations that end at least as low.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

import cases
import machine
import peer_report
from matfac import reference
from matfac.datasets import planted_ratings

CHILD = Path(__file__).with_name("peer_child.py")
LIBMF = "MATFAC_LIBMF"
OWN = "matfac"
TEST_SHARE = 0.1


@dataclass(frozen=True)
class Task:
    """A model, its peers, and the settings of both sides."""

    key: str
    title: str
    peers: tuple[str, ...]
    goal: str
    n_iter: dict[str, int]  # the peers', and where the search for matfac's begins
    shared: dict[str, float]
    rate: dict[str, float] = field(default_factory=dict)


TASKS = (
    Task(
        "implicit", "implicit ALS", ("implicit", "irspack", "cmfrec"), "objective",
        {"peer": 10, OWN: 10}, {"reg": 1.0, "alpha": 10.0},
    ),
    Task(
        "explicit", "explicit ALS", ("cmfrec",), "objective", {"peer": 10, OWN: 10}, {"reg": 0.05}
    ),
    Task(
        "sgd", "explicit SGD", ("libmf",), "held-out RMSE", {"peer": 20, OWN: 8}, {"reg": 0.05},
        {"peer": 0.1, OWN: 2.0},
    ),
)  # fmt: skip
NAMES = tuple(dict.fromkeys(name for task in TASKS for name in task.peers))


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

    @property
    def per_iteration(self) -> float:
        """Median seconds, or, of a package that does not tell, the fit's by their number."""
        return statistics.median(self.iterations or [self.seconds / self.n_iter])


@dataclass
class Duel:
    """A peer and matfac on a case."""

    case: str
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

    def __init__(self, task: Task, size: int, chosen: argparse.Namespace, folder: Path) -> None:
        self.task, self.chosen, self.folder = task, chosen, folder
        self.own: dict[int, Run] = {}
        if task.key == "implicit":
            case = cases.clicks(size)
            train = sp.csr_array((case.csr[2], case.csr[1], case.csr[0]), shape=case.shape)
        else:
            users, items = cases.shape_of(size)
            entries = round(size / (1 - TEST_SHARE))
            made = planted_ratings(
                users, items, entries, rank=cases.RANK, test_fraction=TEST_SHARE, seed=cases.SEED
            )
            train, self.test = made.train, made.test.tocoo()
        train.sort_indices()
        self.name = f"{task.title} {cases.size_name(size)}"
        self.csr = train.indptr.astype(np.int64), train.indices, train.data
        narrow = train.data, train.indices.astype(np.int32), train.indptr.astype(np.int32)
        sp.save_npz(folder / "train.npz", sp.csr_matrix(narrow, train.shape), compressed=False)

    def fit(self, name: str, n_iter: int, evaluate: bool = True) -> Run:
        """Run a child."""
        side = OWN if name == OWN else "peer"
        out = self.folder / "factors.npz"
        settings: dict[str, Any] = {
            "peer": name, "task": self.task.key, "n_iter": n_iter, "d": self.chosen.d,
            "threads": self.chosen.threads, "seed": 1, "train": str(self.folder / "train.npz"),
            "out": str(out), "library": os.environ.get(LIBMF, ""), **self.task.shared,
        }  # fmt: skip
        if self.task.rate:
            settings["rate"] = self.task.rate[side]
        told = child(interpreter(name, self.chosen), settings, self.chosen.threads)
        run = Run(name, n_iter, **told)
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
        mean = float(arrays.pop("mean", 0.0))
        model = reference.Factors(**arrays, mean=mean)
        if self.task.key == "sgd":
            scores = reference.predict(self.test.coords[0], self.test.coords[1], model)
            scores[np.isnan(scores)] = self.csr[2].mean(dtype=np.float64)  # of rows without entries
            return float(np.sqrt(np.mean((scores - self.test.data) ** 2)))
        if self.task.key == "implicit":
            return reference.implicit_objective(self.csr, model, exponent=0.0, **self.task.shared)
        return reference.explicit_objective(self.csr, model, exponent=1.0, **self.task.shared)

    def duel(self, peer: str, version: str) -> Duel:
        """The peer, the search for matfac's iterations, then both again in turn."""
        first = self.fit(peer, self.task.n_iter["peer"])
        assert first.reached is not None
        best = self.fewest(first.reached)
        peer_runs, own_runs = [first], [] if best is None else [self.own[best]]
        for _ in range(self.chosen.repeats - 1):
            if best is not None:
                own_runs.append(self.fit(OWN, best, evaluate=False))
            peer_runs.append(self.fit(peer, first.n_iter, evaluate=False))
        load = machine.load()
        shorter = sorted({max(1, round(first.n_iter * share)) for share in self.chosen.curve})
        curve = [self.fit(peer, n_iter) for n_iter in shorter if n_iter < first.n_iter]
        searched = [self.own[n_iter] for n_iter in sorted(self.own)]
        return Duel(
            self.name, self.task, peer, version, first.reached, peer_runs, own_runs, searched,
            curve, load,
        )  # fmt: skip

    def fewest(self, target: float) -> int | None:
        """The fewest iterations after which matfac's fit ends at `target` or below."""

        def reaches(n_iter: int) -> bool:
            if n_iter not in self.own:
                self.own[n_iter] = self.fit(OWN, n_iter)
            reached = self.own[n_iter].reached
            return reached is not None and reached <= target

        start = self.task.n_iter[OWN]
        low, high = (1, start) if reaches(start) else (start + 1, 3 * start)
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
        if name == "libmf":
            found[name] = Path(os.environ[LIBMF]).name if os.environ.get(LIBMF) else None
            continue
        try:
            found[name] = child(interpreter(name, chosen), {"probe": name}, 1)["version"]
        except (OSError, RuntimeError):
            found[name] = None
    return found


def main(chosen: argparse.Namespace) -> int:
    """Every task of every size against every peer that is there; return 1 where a fit failed."""
    there = versions(chosen)
    duels: list[Duel] = []
    failures: list[str] = []
    for size in chosen.sizes:
        for task in TASKS:
            present = [name for name in task.peers if there[name] is not None]
            if not present:
                continue
            with tempfile.TemporaryDirectory() as folder:
                arena = Field(task, size, chosen, Path(folder))
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
