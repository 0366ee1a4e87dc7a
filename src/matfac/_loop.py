"""The epoch loop every solver runs in: history, validation, divergence, Ctrl-C, checkpoints."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from matfac._engine import Floats, copy_table
from matfac._exceptions import ConvergenceError
from matfac._interruptible import held_back
from matfac._progress import Bar, shown

Record = dict[str, float]
Callback = Callable[[int, Record], "bool | None"]

# A diverged epoch is run again from the epoch before, with steps this much smaller, and no more
# often in one fit than this.
SHRINK = 0.25
MOST_RETRIES = 8

# Where the next epoch should take less, Ctrl-C waits for its end: there is no need of a copy then.
# Where one may diverge, a copy is made before the epochs since the last would take more again.
BRIEF = 0.1  # seconds


class Solver(Protocol):
    """What the loop drives: tables changed in place, one epoch at a time."""

    tables: dict[str, Floats]  # all that an epoch changes
    n_threads: int
    limit: float  # an objective above it is a divergence
    step_factor: float  # its steps are multiplied with it; 0: there are none to shrink

    def epoch(self, number: int) -> Record:
        """Run epoch `number` (from 0) and return its figures, ``objective`` among them."""

    def step_size(self) -> str:
        """Describe the step size, for the message of a divergence."""

    def finish(self) -> float:
        """Solve every user once more, where the solver does, and return the objective."""

    def stop(self) -> None:
        """Make the tables of a whole epoch a model, at once: Ctrl-C has come."""


@dataclass(frozen=True)
class Validation:
    """A held-out metric: its name, how to compute it now, and which way is better."""

    name: str
    compute: Callable[[], float]
    higher_is_better: bool


@dataclass
class State:
    """A run after a whole epoch, beside the tables: what a checkpoint has to hold."""

    history: list[Record]
    step_factor: float = 0.0
    best_n_iter: int = 0  # early stopping: the best epoch so far, its metric, its tables
    best_value: float = -math.inf
    best_tables: dict[str, Floats] = field(default_factory=dict)


class Keeper(Protocol):
    """Where whole epochs are kept outside the process."""

    def keep(self, state: State, tables: dict[str, Floats], *, now: bool) -> None:
        """Store the run if its time has come, or `now`."""


@dataclass
class Schedule:
    """How long to run and whom to tell."""

    n_iter: int
    callback: Callback | None = None
    verbose: bool | None = None
    validation: Validation | None = None
    patience: int | None = None  # epochs without improvement before stopping; None: never
    keeper: Keeper | None = None
    resumed: State | None = None  # where an earlier run stopped; the solver's tables are of it


@dataclass
class Outcome:
    """What a run leaves beside the solver's tables."""

    history: list[Record] = field(default_factory=list)
    n_iter: int = 0  # the epoch the tables are of
    objective: float = math.nan
    interrupted: bool = False


class _Snapshot:
    """A copy of the tables to go back to, and the epoch it is of; none until the first is taken."""

    def __init__(self, tables: dict[str, Floats], n_threads: int) -> None:
        self.n_iter = 0
        self._live = tables
        self._n_threads = n_threads
        self._copy: dict[str, Floats] = {}

    def take(self, n_iter: int, source: dict[str, Floats] | None = None) -> None:
        self.n_iter = 0  # until the end: Ctrl-C may fall in between, and the copy is not whole
        if not self._copy:
            self._copy = {name: np.empty_like(table) for name, table in self._live.items()}
        for name, table in (source or self._live).items():
            copy_table(self._copy[name], table, self._n_threads)
        self.n_iter = n_iter

    def tables(self) -> dict[str, Floats]:
        return self._copy

    def restore(self) -> None:
        for name, table in self._live.items():
            copy_table(table, self._copy[name], self._n_threads)

    def hand_over(self) -> None:
        """Restore at once: the copy becomes the tables. The last thing to do with it."""
        self._live.update(self._copy)


def run(solver: Solver, schedule: Schedule, owner: str) -> Outcome:
    """Run epochs until n_iter, the callback, early stopping or Ctrl-C ends them.

    After Ctrl-C the tables are those of the last whole epoch; the caller raises KeyboardInterrupt
    once it has stored them. After early stopping they are those of the best epoch.
    """
    run_ = _Run(solver, schedule, owner)
    outcome, history = run_.outcome, run_.history
    try:
        while not run_.over():
            run_.next_epoch()
            if schedule.callback is not None and schedule.callback(len(history), dict(history[-1])):
                break
        outcome.n_iter = len(history)
        run_.return_to_best()
        run_.keep_whole()
        outcome.objective = solver.finish()
    except OverflowError:
        raise ConvergenceError(
            f"{owner} overflowed in its last half sweep, with {solver.step_size()}: a larger reg "
            "makes the problem better conditioned"
        ) from None
    except KeyboardInterrupt:
        if not run_.return_to_last_whole():
            raise
        if schedule.keeper is not None:
            schedule.keeper.keep(run_.state(), solver.tables, now=True)
        run_.return_to_best(last=True)
        solver.stop()
        outcome.objective = history[outcome.n_iter - 1]["objective"]
        outcome.interrupted = True
    finally:
        run_.bar.close()
    return outcome


class _Run:
    """The state of one run, and its steps."""

    def __init__(self, solver: Solver, schedule: Schedule, owner: str) -> None:
        self.outcome = Outcome()
        self.history = self.outcome.history  # appending ends an epoch: Ctrl-C is before or after
        self._solver = solver
        self._schedule = schedule
        self._owner = owner
        self._retries = 0
        self._best = _Best(solver, schedule) if schedule.patience is not None else None
        before = 0.0
        if schedule.resumed is not None:
            self.history.extend(schedule.resumed.history)
            solver.step_factor = schedule.resumed.step_factor
            if self._best is not None:
                self._best.resume(schedule.resumed)
            before = self.history[-1]["seconds"]
        self._last_whole = _Snapshot(solver.tables, solver.n_threads)
        self._since: list[tuple[float, float]] = []  # step_factor and seconds of epochs after it
        self._brief = False
        self._changing = False  # whether the tables are between two epochs
        if self.history or solver.step_factor > 0:
            self.keep_whole()
        self._start = time.perf_counter() - before
        show = shown(schedule.verbose)
        self.bar = Bar(
            total=schedule.n_iter,
            initial=len(self.history),
            desc=owner,
            disable=not show,
            unit="epoch",
        )

    def over(self) -> bool:
        if len(self.history) >= self._schedule.n_iter:
            return True
        return self._best is not None and self._best.exhausted(self.history)

    def next_epoch(self) -> None:
        """Run the next epoch, compute its metric and keep both."""
        with held_back() if self._brief else nullcontext():
            self._changing = True
            start = time.perf_counter()
            record = self._epoch()
            self._since.append((self._solver.step_factor, time.perf_counter() - start))
            validation = self._schedule.validation
            if validation is not None:
                record[f"validation_{validation.name}"] = validation.compute()
            record["seconds"] = time.perf_counter() - self._start
            self.history.append({"epoch": float(len(self.history) + 1), **record})
            self._changing = False
        took = [seconds for _, seconds in self._since]
        again = sum(took) if self._solver.step_factor > 0 else took[-1]
        self._brief = again < BRIEF and validation is None  # a metric may take any time
        if not self._brief:
            self.keep_whole()
        if self._best is not None:
            self._best.look(self.history)
        if self._schedule.keeper is not None:
            self._schedule.keeper.keep(self.state(), self._solver.tables, now=False)
        self.bar.update()
        self.bar.set_postfix({k: f"{v:.5g}" for k, v in record.items() if k != "seconds"})

    def _epoch(self) -> Record:
        """Run an epoch; where it diverges, again with smaller steps."""
        said = ""
        while True:
            try:
                if said:
                    self._go_back()
                record = self._solver.epoch(len(self.history))
            except OverflowError:  # the core met a table with NaN or infinity
                record = {"objective": math.inf}
            value = record["objective"]
            if math.isfinite(value) and value <= self._solver.limit:
                if said:
                    again = f"; run again from the epoch before with {self._solver.step_size()}"
                    warnings.warn(said + again, ConvergenceWarning, stacklevel=6)
                return record
            after = f", after {self.history[-1]['objective']:.4g}" if self.history else ""
            said = said or (
                f"{self._owner} diverged in epoch {len(self.history) + 1}: the objective is "
                f"{value:.4g}{after}, with {self._solver.step_size()}"
            )
            if self._solver.step_factor == 0:
                raise ConvergenceError(f"{said}: a larger reg makes the problem better conditioned")
            if self._retries == MOST_RETRIES:
                raise ConvergenceError(
                    f"{said}; so it did down to {self._solver.step_size()}: give a smaller "
                    "learning_rate or another reg"
                )
            self._retries += 1
            self._solver.step_factor *= SHRINK

    def _go_back(self) -> None:
        """Make the tables those of the last epoch: of the copy, and the epochs since once more."""
        step_factor = self._solver.step_factor
        self._last_whole.restore()
        try:
            for number, (used, _) in enumerate(self._since, start=self._last_whole.n_iter):
                self._solver.step_factor = used
                self._solver.epoch(number)
        finally:  # threads that race may diverge this time
            self._solver.step_factor = step_factor

    def state(self) -> State:
        state = State(self.history, self._solver.step_factor)
        if self._best is not None:
            self._best.describe(state)
        return state

    def keep_whole(self) -> None:
        """Have a copy of the tables, which are those of the last epoch."""
        if not self.history or not self._kept:
            self._last_whole.take(len(self.history))
        self._since = []

    @property
    def _kept(self) -> bool:
        return self._last_whole.n_iter == len(self.history)

    def return_to_last_whole(self) -> bool:
        """Make the tables those of the last epoch; False: there is none, or none left."""
        if not self.history or (self._changing and not self._kept):
            return False
        if self._kept:  # else the live tables are whole
            self._last_whole.hand_over()
        self.outcome.n_iter = len(self.history)
        return True

    def return_to_best(self, *, last: bool = False) -> None:
        if self._best is not None:
            self._best.restore(self.outcome, last=last)


class _Best:
    """The best epoch by the validation metric, and the patience that is left."""

    def __init__(self, solver: Solver, schedule: Schedule) -> None:
        assert schedule.validation is not None
        assert schedule.patience is not None
        self._key = f"validation_{schedule.validation.name}"
        self._sign = 1.0 if schedule.validation.higher_is_better else -1.0
        self._patience = schedule.patience
        self._snapshot = _Snapshot(solver.tables, solver.n_threads)
        self._value = -math.inf

    def look(self, history: list[Record]) -> None:
        value = self._sign * history[-1][self._key]
        if value > self._value:
            self._snapshot.take(len(history))
            self._value = value

    def exhausted(self, history: list[Record]) -> bool:
        return len(history) - self._snapshot.n_iter >= self._patience

    def restore(self, outcome: Outcome, *, last: bool) -> None:
        if 0 < self._snapshot.n_iter < outcome.n_iter:
            (self._snapshot.hand_over if last else self._snapshot.restore)()
            outcome.n_iter = self._snapshot.n_iter

    def describe(self, state: State) -> None:
        state.best_n_iter = self._snapshot.n_iter
        state.best_value = self._value
        state.best_tables = self._snapshot.tables() if self._snapshot.n_iter > 0 else {}

    def resume(self, state: State) -> None:
        self._value = state.best_value
        if state.best_n_iter > 0:
            self._snapshot.take(state.best_n_iter, state.best_tables)
