"""The verdicts of benchmarks/compare.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.mark.parametrize(
    ("base", "head", "answers", "told"),
    [
        ([1.0, 1.0, 1.0], [1.05, 1.05, 9.0], (5.0, 5.0), "same"),  # within 10 %, but once
        ([1.0, 1.0, 1.0], [1.2, 1.3, 1.2], (5.0, 5.0), "SLOWER"),
        ([1.0, 1.0, 1.0], [0.7, 0.8, 0.7], (5.0, 5.001), "faster"),
        ([1e-3, 1e-3, 1e-3], [2e-3, 2e-3, 2e-3], (5.0, 5.0), "same"),  # a millisecond
        ([1.0, 1.0, 1.0], [0.7, 0.8, 0.7], (5.0, 5.1), "ANSWERS DIFFER"),
    ],
)
def test_verdicts(
    monkeypatch: pytest.MonkeyPatch,
    base: list[float],
    head: list[float],
    answers: tuple[float, float],
    told: str,
) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "compare", raising=False)
    from compare import Verdict

    assert Verdict("als", base, head, answers).told(relative=0.1, absolute=0.002) == told
