"""Runs to files while they last, and back, so that a killed fit goes on where it was."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from matfac import model_io
from matfac._atomic import remove_leftovers
from matfac._engine import Floats, copy_table
from matfac._feature_input import Features
from matfac._loop import State
from matfac._ratings import Ratings
from matfac._validation import check_integer, check_real

CLASS = "Checkpoint"

# What a resumed run may have different: how long, how fast and how loud it runs.
FREE = ("n_iter", "n_threads", "verbose", "patience")


@dataclass(frozen=True)
class Checkpoint:
    """Where, and how often, a fit writes what it takes to go on.

    Parameters
    ----------
    path : path-like
        The file, replaced as a whole each time: a kill while it is written leaves the one before.
    epochs : int or None
        Write after so many epochs.
    minutes : float or None
        Write after the first epoch that ends so many minutes after the last writing. With both,
        whichever comes first; with neither, only after Ctrl-C.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from matfac import Checkpoint, ExplicitMF
    >>> X = np.array([[5, 4, np.nan, 1], [4, np.nan, 1, 1], [1, 1, 5, np.nan]])
    >>> path = os.path.join(tempfile.mkdtemp(), "run.safetensors")
    >>> half = ExplicitMF(n_factors=2, n_iter=5, random_state=0)
    >>> half = half.fit(X, checkpoint=Checkpoint(path, epochs=5))
    >>> whole = ExplicitMF(n_factors=2, n_iter=10, random_state=0)
    >>> whole.fit(X, checkpoint=path, resume=True).n_iter_
    10
    """

    path: str | os.PathLike[str]
    epochs: int | None = 1
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None:
            check_integer("epochs", self.epochs, minimum=1)
        if self.minutes is not None:
            check_real("minutes", self.minutes)


def as_checkpoint(value: Any) -> Checkpoint | None:
    """Return fit's argument `checkpoint` as one, or raise."""
    if value is None or isinstance(value, Checkpoint):
        return value
    if isinstance(value, str | os.PathLike):
        return Checkpoint(value)
    raise TypeError(
        f"checkpoint must be a path or a Checkpoint, got {value!r} of type {type(value).__name__}"
    )


def fingerprint(data: tuple[Ratings, Ratings | None], features: tuple[Features, Features]) -> str:
    """Return a checksum of training and validation data, and of users' and items' features."""
    arrays: list[Any] = []
    for ratings in data:
        if ratings is not None:
            arrays += [ratings.indptr, ratings.indices, ratings.values, ratings.weights]
    for side, matrix in enumerate(features):
        if matrix is not None:
            arrays += [np.array(side), matrix.indptr, matrix.indices, matrix.data]
    return model_io.checksum(np.ascontiguousarray(a) for a in arrays if a is not None)


@dataclass
class Keeper:
    """Writes a run's checkpoints, and reads one."""

    checkpoint: Checkpoint
    owner: str  # class of the estimator
    params: Mapping[str, Any]
    data: str  # its fingerprint
    seed: int
    _written: int = 0  # epochs of the last file
    _clock: float = field(default_factory=time.monotonic)

    def keep(self, state: State, tables: dict[str, Floats], *, now: bool) -> None:
        """Write the file if its time has come, or `now`."""
        n_iter = len(state.history)
        epochs, minutes = self.checkpoint.epochs, self.checkpoint.minutes
        due = epochs is not None and n_iter - self._written >= epochs
        due |= minutes is not None and time.monotonic() - self._clock >= 60 * minutes
        if n_iter == self._written or not (due or now):
            return
        arrays = {f"tables.{name}": table for name, table in tables.items()}
        arrays |= {f"best.{name}": table for name, table in state.best_tables.items()}
        meta = {
            "class": CLASS,
            "estimator": self.owner,
            "params": dict(self.params),
            "data": self.data,
            "seed": self.seed,
            "history": state.history,
            "step_factor": state.step_factor,
            "best_n_iter": state.best_n_iter,
            "best_value": state.best_value if math.isfinite(state.best_value) else None,
        }
        if self._written == 0:
            remove_leftovers(self.checkpoint.path)  # of fits that were killed: one fit, one path
        model_io.write(self.checkpoint.path, arrays, meta)
        self._written = n_iter
        self._clock = time.monotonic()


@dataclass
class Found:
    """A checkpoint as read: the seed comes before the tables have a place."""

    path: str | os.PathLike[str]
    arrays: model_io.Arrays
    meta: dict[str, Any]
    seed: int

    def check(self, keeper: Keeper) -> None:
        """Refuse the checkpoint of another estimator, of other parameters or of other data."""
        again = "give the fit that wrote it, or start anew without resume"
        if self.meta["estimator"] != keeper.owner:
            raise ValueError(
                f"{self.path} is a checkpoint of {self.meta['estimator']}, not of {keeper.owner}"
            )
        old, new = self.meta["params"], keeper.params
        for name in sorted((old.keys() | new.keys()) - set(FREE)):
            if old.get(name) != new.get(name):
                raise ValueError(
                    f"{self.path} is a checkpoint of a fit with {name}={old.get(name)!r}, not "
                    f"{new.get(name)!r}: {again}"
                )
        if self.meta["data"] != keeper.data:
            raise ValueError(f"{self.path} is a checkpoint of a fit to other data: {again}")

    def restore(self, tables: dict[str, Floats]) -> State:
        """Set a solver's tables and return the run's state."""
        best = {name: self._array(f"best.{name}", table) for name, table in tables.items()
                if self.meta["best_n_iter"] > 0}  # fmt: skip
        for name, table in tables.items():
            copy_table(table, self._array(f"tables.{name}", table))
        value = self.meta["best_value"]
        return State(
            history=self.meta["history"],
            step_factor=self.meta["step_factor"],
            best_n_iter=self.meta["best_n_iter"],
            best_value=-math.inf if value is None else value,
            best_tables=best,
        )

    def _array(self, name: str, like: Floats) -> Floats:
        array = model_io.require(
            self.arrays, name, dtype=like.dtype, ndim=like.ndim, path=self.path
        )
        if array.shape != like.shape:
            raise ValueError(
                f"{self.path} is damaged: its array {name!r} is {array.shape}, not {like.shape}"
            )
        return array


def find(path: str | os.PathLike[str]) -> Found | None:
    """Read a checkpoint; None where there is no such file."""
    try:
        arrays, meta = model_io.read(path, mmap=False)
    except FileNotFoundError:
        return None
    if meta.get("class") != CLASS:
        raise ValueError(
            f"{path} is not a checkpoint but a file of {meta.get('class')!r}: give the path that "
            "a fit was given as checkpoint"
        )
    try:
        history = [{str(k): float(v) for k, v in record.items()} for record in meta["history"]]
        if not history or any("objective" not in r or "seconds" not in r for r in history):
            raise ValueError("its history")
        sound = dict(
            meta,
            history=history,
            params=dict(meta["params"]),
            step_factor=float(meta["step_factor"]),
            best_n_iter=int(meta["best_n_iter"]),
            best_value=None if meta["best_value"] is None else float(meta["best_value"]),
        )
        return Found(path, arrays, sound, int(meta["seed"]))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged: it does not describe a checkpoint ({error})"
        ) from None
