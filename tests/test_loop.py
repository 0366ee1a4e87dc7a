"""The epoch loop: Ctrl-C in epochs long and brief, and the way back from one that diverged."""

from __future__ import annotations

import os
import signal
from typing import Any

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from conftest import random_ratings
from matfac import ConvergenceError, ExplicitMF, RankingMF, _loop
from matfac._pairwise import PairwiseSolver
from matfac._sgd import SgdSolver


class Steps:
    """Adds 1 to its table each epoch; a signal comes in the middle of the third."""

    limit = np.inf
    n_threads = 1
    step_factor = 0.0

    def __init__(self, third: float = 1.0, number: int = signal.SIGINT) -> None:
        self.tables = {"x": np.zeros(1)}
        self.third = third  # the objective of that epoch
        self.number = number

    def epoch(self, number: int) -> dict[str, float]:
        self.tables["x"] += 0.5
        if number == 2:
            os.kill(os.getpid(), self.number)
        self.tables["x"] += 0.5
        return {"objective": self.third if number == 2 else 1.0}

    def step_size(self) -> str:
        return "none"

    def finish(self) -> float:
        return 1.0

    def stop(self) -> None:
        pass


def outcome_of(solver: Steps) -> _loop.Outcome:
    try:
        return _loop.run(solver, _loop.Schedule(n_iter=9), "Steps")
    except KeyboardInterrupt:
        pytest.fail("the epochs before are lost")


@pytest.mark.parametrize(("brief", "kept"), [(_loop.BRIEF, 3), (0.0, 2)])
def test_ctrl_c_waits_for_the_end_of_a_brief_epoch(
    brief: float, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is that of the last whole epoch either way; a long one needs a copy of it."""
    monkeypatch.setattr(_loop, "BRIEF", brief)
    solver, handler = Steps(), signal.getsignal(signal.SIGINT)
    outcome = outcome_of(solver)
    assert outcome.interrupted
    assert outcome.n_iter == len(outcome.history) == solver.tables["x"][0] == kept
    assert signal.getsignal(signal.SIGINT) is handler


def test_ctrl_c_in_a_brief_epoch_that_fails_leaves_no_model() -> None:
    with pytest.raises(KeyboardInterrupt) as stopped:
        _loop.run(Steps(third=np.nan), _loop.Schedule(n_iter=9), "Steps")
    assert isinstance(stopped.value.__context__, ConvergenceError)


def test_a_request_to_end_waits_too() -> None:
    """Where a handler makes it Ctrl-C: else it ends the process."""
    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        outcome = outcome_of(Steps(number=signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert outcome.interrupted
    assert outcome.n_iter == 3


def test_a_signal_that_is_ignored_stays_so() -> None:
    solver, handler = Steps(), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert outcome_of(solver).n_iter == 9
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)


def test_a_later_divergence_returns_to_the_last_good_epoch() -> None:
    class Wild:
        """Halves its table each epoch; the third epoch overflows until its steps are small."""

        limit = 100.0
        n_threads = 1
        step_factor = 1.0

        def __init__(self) -> None:
            self.tables = {"x": np.array([64.0])}

        def epoch(self, number: int) -> dict[str, float]:
            self.tables["x"] /= 2
            if number == 2 and self.step_factor > 0.1:
                self.tables["x"][:] = np.nan
            return {"objective": float(self.tables["x"][0])}

        def step_size(self) -> str:
            return f"step {self.step_factor:g}"

        def finish(self) -> float:
            return float(self.tables["x"][0])

    with pytest.warns(ConvergenceWarning, match="diverged in epoch 3.*nan, after 16, with step 1;"):
        outcome = _loop.run(Wild(), _loop.Schedule(n_iter=4), "Wild")
    assert [record["objective"] for record in outcome.history] == [32, 16, 8, 4]


@pytest.mark.parametrize("cls", [ExplicitMF, RankingMF])
def test_going_back_without_a_copy_comes_to_the_same(
    cls: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The epochs since the last copy are run again, with the steps they had."""
    X = random_ratings(60, 40, 0.3, seed=1, implicit=cls is RankingMF)
    params = {"solver": "sgd"} if cls is ExplicitMF else {"loss": "logistic"}
    diverges = {1: 0.3, 4: 0.1, 5: 0.1}  # while the factor of its steps is above
    solver = SgdSolver if cls is ExplicitMF else PairwiseSolver
    epoch, models, run = solver.epoch, [], []

    def wild(self: Any, number: int) -> dict[str, float]:
        run.append(number)
        record = epoch(self, number)
        if self.step_factor > diverges.get(number, 1.0):
            self.tables["users"][:] = np.nan
            return {"objective": np.nan}
        return record

    monkeypatch.setattr(solver, "epoch", wild)
    for brief in (0.0, 60.0):
        monkeypatch.setattr(_loop, "BRIEF", brief)
        model = cls(4, n_iter=8, deterministic=True, random_state=0, n_threads=1, **params)
        with pytest.warns(ConvergenceWarning, match="diverged in epoch"):
            models.append(model.fit(X))
    first = [0, 1, 1, 2, 3, 4, 4, 5, 6, 7]
    assert run == [*first, 0, 1, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 6, 7]
    one, other = models
    np.testing.assert_array_equal(one.user_factors_, other.user_factors_)
    np.testing.assert_array_equal(one.item_factors_, other.item_factors_)
    drop = [{k: v for k, v in r.items() if k != "seconds"} for r in one.history_]
    assert drop == [{k: v for k, v in r.items() if k != "seconds"} for r in other.history_]


def test_steps_shrink_though_going_back_diverges() -> None:
    """As it may where threads race: it counts as one more divergence."""

    class Racing(Steps):
        step_factor = 1.0
        run = 0

        def epoch(self, number: int) -> dict[str, float]:
            self.run += 1
            if self.run == 3:  # epoch 0 again, after 1
                raise OverflowError
            self.tables["x"] += 1
            return {"objective": np.nan if number == 1 and self.step_factor > 0.25 else 1.0}

    solver = Racing()
    with pytest.warns(ConvergenceWarning, match="diverged in epoch 2"):
        outcome = _loop.run(solver, _loop.Schedule(n_iter=2), "Racing")
    assert outcome.n_iter == solver.tables["x"][0] == 2
    assert solver.step_factor == 0.25**2
