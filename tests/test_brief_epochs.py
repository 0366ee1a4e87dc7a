"""Ctrl-C waits for the end of an epoch that is brief, and is never lost."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest

from matfac import ConvergenceError, _loop

pytestmark = pytest.mark.skipif(os.name == "nt", reason="POSIX signals")


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


@pytest.mark.parametrize(("brief", "kept"), [(_loop.BRIEF, 3), (0.0, 2)])
def test_ctrl_c_waits_for_the_end_of_a_brief_epoch(
    brief: float, kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is that of the last whole epoch either way; a long one needs a copy of it."""
    monkeypatch.setattr(_loop, "BRIEF", brief)
    solver, handler = Steps(), signal.getsignal(signal.SIGINT)
    outcome = _loop.run(solver, _loop.Schedule(n_iter=9), "Steps")
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
        outcome = _loop.run(Steps(number=signal.SIGTERM), _loop.Schedule(n_iter=9), "Steps")
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert outcome.interrupted
    assert outcome.n_iter == 3


def test_a_signal_that_is_ignored_stays_so() -> None:
    solver, handler = Steps(), signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert _loop.run(solver, _loop.Schedule(n_iter=9), "Steps").n_iter == 9
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)
