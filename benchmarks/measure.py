"""The race: sweep by sweep in turn, the objective checked at the end."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from typing import Any

from threadpoolctl import ThreadpoolController

from problem import Competitor, Problem

PAUSE = 0.1  # seconds before each sweep: the threads of the one before still spin


@dataclass
class Result:
    """What one competitor did; the first sweep warms up and is not in the figures."""

    name: str
    blas_threads: int
    note: str
    prepare_seconds: float
    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    objectives: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds[1:])

    @property
    def span(self) -> tuple[float, float]:
        return min(self.seconds[1:]), max(self.seconds[1:])

    def as_json(self) -> dict[str, Any]:
        low, high = self.span
        cpu = statistics.median(self.cpu_seconds[1:])
        figures = {"median": self.median, "min": low, "max": high, "cpu_median": cpu}
        return {**figures, **vars(self)}


class WrongAnswer(AssertionError):
    """Competitors ended at different objectives: their times cannot be compared."""


def race(
    problem: Problem, competitors: list[tuple[Competitor, float]], repeats: int
) -> list[Result]:
    """Run a warming sweep and `repeats` timed ones, A B C A B C; raise where objectives differ."""
    results = [Result(c.name, c.blas_threads, c.note, seconds) for c, seconds in competitors]
    blas = ThreadpoolController()
    for _ in range(repeats + 1):
        for (competitor, _), result in zip(competitors, results, strict=True):
            with blas.limit(limits=competitor.blas_threads, user_api="blas"):
                time.sleep(PAUSE)
                cpu, begin = time.process_time(), time.perf_counter()
                competitor.sweep()
                result.seconds.append(time.perf_counter() - begin)
                result.cpu_seconds.append(time.process_time() - cpu)
            result.objectives.append(problem.objective(competitor.factors()))
    check(problem, results)
    return results


def check(problem: Problem, results: list[Result]) -> None:
    """Raise unless all objectives agree with the first competitor's after the last sweep."""
    wanted = results[0].objectives[-1]
    tolerance = problem.solver.tolerance
    for result in results[1:]:
        reached = result.objectives[-1]
        if not abs(reached - wanted) <= tolerance * abs(wanted):
            raise WrongAnswer(
                f"{problem.solver.key} on {problem.case.name}: after {len(result.seconds)} sweeps "
                f"{result.name} is at the objective {reached:.7g}, {results[0].name} at "
                f"{wanted:.7g}; they may differ by {tolerance:g} of it"
            )
