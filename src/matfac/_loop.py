"""The epoch loop every solver runs in: history, progress, validation, early stopping, Ctrl-C."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from tqdm import tqdm

from matfac._engine import Floats
from matfac._exceptions import ConvergenceError

Record = dict[str, float]
Callback = Callable[[int, Record], "bool | None"]


class Solver(Protocol):
    """What the loop drives: tables changed in place, one epoch at a time."""

    tables: dict[str, Floats]
    limit: float  # an objective above it is a divergence

    def epoch(self, number: int) -> Record:
        """Run epoch `number` (from 0) and return its figures, ``objective`` among them."""

    def step_size(self) -> str:
        """Describe the step size, for the message of a divergence."""


@dataclass(frozen=True)
class Validation:
    """A held-out metric: its name, how to compute it now, and which way is better."""

    name: str
    compute: Callable[[], float]
    higher_is_better: bool


@dataclass
class Schedule:
    """How long to run and whom to tell."""

    n_iter: int
    callback: Callback | None = None
    verbose: bool | None = None
    validation: Validation | None = None
    patience: int | None = None  # epochs without improvement before stopping; None: never


@dataclass
class Outcome:
    """What a run leaves beside the solver's tables."""

    history: list[Record] = field(default_factory=list)
    n_iter: int = 0  # the epoch the tables are of
    interrupted: bool = False


class _Snapshot:
    """A copy of the tables to go back to, and the epoch it is of."""

    def __init__(self, tables: dict[str, Floats]) -> None:
        self._live = tables
        self._copy = {name: np.copy(table) for name, table in tables.items()}
        self.n_iter = 0

    def take(self, n_iter: int) -> None:
        for name, table in self._live.items():
            np.copyto(self._copy[name], table)
        self.n_iter = n_iter  # last: until then the copy is not whole

    def restore(self) -> None:
        for name, table in self._live.items():
            np.copyto(table, self._copy[name])


def run(solver: Solver, schedule: Schedule, owner: str) -> Outcome:
    """Run epochs until n_iter, the callback, early stopping or Ctrl-C ends them.

    After Ctrl-C the tables are those of the last whole epoch; the caller raises KeyboardInterrupt
    once it has stored them. After early stopping they are those of the best epoch.
    """
    outcome = Outcome()
    history = outcome.history  # appending to it ends an epoch: Ctrl-C falls before or after
    last_whole = _Snapshot(solver.tables)
    best = _Best(solver, schedule) if schedule.patience is not None else None
    start = time.perf_counter()
    show = sys.stderr.isatty() if schedule.verbose is None else schedule.verbose
    bar = tqdm(total=schedule.n_iter, desc=owner, disable=not show, unit="epoch")
    try:
        while len(history) < schedule.n_iter:
            record = solver.epoch(len(history))
            _check(record, outcome, solver, owner)
            if schedule.validation is not None:
                name = f"validation_{schedule.validation.name}"
                record[name] = schedule.validation.compute()
            record["seconds"] = time.perf_counter() - start
            history.append({"epoch": float(len(history) + 1), **record})
            last_whole.take(len(history))
            bar.update()
            bar.set_postfix({k: f"{v:.5g}" for k, v in record.items() if k != "seconds"})
            if best is not None and best.exhausted(history):
                break
            if schedule.callback is not None and schedule.callback(len(history), dict(history[-1])):
                break
    except KeyboardInterrupt:
        if not history:
            raise
        if last_whole.n_iter == len(history):  # else the epoch ended and its copy did not
            last_whole.restore()
        outcome.interrupted = True
    finally:
        bar.close()
    outcome.n_iter = len(history)
    if best is not None:
        best.restore(outcome)
    return outcome


def _check(record: Record, outcome: Outcome, solver: Solver, owner: str) -> None:
    value = record["objective"]
    if math.isfinite(value) and value <= solver.limit:
        return
    before = f", after {outcome.history[-1]['objective']:.4g}" if outcome.history else ""
    raise ConvergenceError(
        f"{owner} diverged in epoch {len(outcome.history) + 1}: the objective is {value:.4g}"
        f"{before}, with {solver.step_size()}"
    )


class _Best:
    """The best epoch by the validation metric, and the patience that is left."""

    def __init__(self, solver: Solver, schedule: Schedule) -> None:
        assert schedule.validation is not None
        assert schedule.patience is not None
        self._key = f"validation_{schedule.validation.name}"
        self._sign = 1.0 if schedule.validation.higher_is_better else -1.0
        self._patience = schedule.patience
        self._snapshot = _Snapshot(solver.tables)
        self._value = -math.inf

    def exhausted(self, history: list[Record]) -> bool:
        value = self._sign * history[-1][self._key]
        if value > self._value:
            self._value = value
            self._snapshot.take(len(history))
        return len(history) - self._snapshot.n_iter >= self._patience

    def restore(self, outcome: Outcome) -> None:
        if 0 < self._snapshot.n_iter < outcome.n_iter:
            self._snapshot.restore()
            outcome.n_iter = self._snapshot.n_iter
