"""The table, the JSON and the plot of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from measure import Result
from problem import Problem

MAIN = "matfac"


@dataclass(frozen=True)
class Entry:
    """One solver on one case."""

    problem: Problem
    results: list[Result]
    load: float | None

    def result(self, name: str) -> Result:
        return next(r for r in self.results if r.name == name)

    def ratio(self, name: str) -> float:
        """How many times as long as the core a sweep takes."""
        return self.result(name).median / self.result(MAIN).median


def _seconds(result: Result) -> str:
    low, high = result.span
    return f"{result.median:.3g} ({low:.3g}-{high:.3g})"


def table(entries: list[Entry]) -> str:
    """A Markdown table: seconds per sweep, ratios to the core, the objective reached."""
    rivals = list(dict.fromkeys(r.name for e in entries for r in e.results if r.name != MAIN))
    head = ["case", "solver", MAIN]
    for name in rivals:
        head += [name, "ratio"]
    lines = [_row([*head, "objective", "load"]), _row(["---"] * (len(head) + 2))]
    for entry in entries:
        cells = [entry.problem.case.name, entry.problem.solver.title]
        cells.append(_seconds(entry.result(MAIN)))
        for name in rivals:
            there = any(r.name == name for r in entry.results)
            cells += (
                [_seconds(entry.result(name)), f"{entry.ratio(name):.3g}x"] if there else ["", ""]
            )
        reached = [r.objectives[-1] for r in entry.results]
        low, high = f"{min(reached):.5g}", f"{max(reached):.5g}"
        cells.append(low if low == high else f"{low} to {high}")
        cells.append("" if entry.load is None else f"{entry.load:.1f}")
        lines.append(_row(cells))
    return "\n".join(lines)


def notes(entries: list[Entry]) -> str:
    """What each competitor is, and its BLAS threads, as a list."""
    lines = [
        f"- {entry.problem.case.name}, {entry.problem.solver.title}, {result.name}: {result.note}"
        f" (BLAS threads: {result.blas_threads})"
        for entry in entries
        for result in entry.results
        if result.note
    ]
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def heading(machine: dict[str, Any], settings: dict[str, Any]) -> str:
    """What was measured on what, above the table."""
    versions = " ".join(f"{name} {text}" for name, text in machine["versions"].items())
    blas = ", ".join(machine["blas"])
    text = (
        f"Seconds per sweep: median (min-max) of {settings['repeats']} after one that warms up, "
        f"competitors in turn.\nd = {settings['d']}, {settings['threads']} threads; "
        "NumPy's BLAS has as many, or 1 where that is faster.\n"
        f"{machine['cpu']}, {machine['usable_cores']} cores, matfac on "
        f"{machine['matfac']['simd']}; {versions}; {blas}.\n"
    )
    flags = settings.get("cython_flags")
    return f"{text}Cython twin: {flags}." if flags else text


def write_json(
    path: Path, entries: list[Entry], machine: dict[str, Any], settings: dict[str, Any]
) -> None:
    """Everything, every sweep."""
    cases = [
        {
            "case": entry.problem.case.name,
            "solver": entry.problem.solver.key,
            "shape": entry.problem.case.shape,
            "nnz": entry.problem.case.nnz,
            "load": entry.load,
            "ratios": {r.name: entry.ratio(r.name) for r in entry.results if r.name != MAIN},
            "results": [r.as_json() for r in entry.results],
        }
        for entry in entries
    ]
    document = {"machine": machine, "settings": settings, "cases": cases}
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def plot(path: Path, entries: list[Entry]) -> None:
    """Objective against seconds, one panel per case and solver, one line per competitor."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullLocator

    columns = list(dict.fromkeys(e.problem.solver.title for e in entries))
    sizes = list(dict.fromkeys(e.problem.case.nnz for e in entries))
    names = list(dict.fromkeys(r.name for e in entries for r in e.results))
    figure, axes = plt.subplots(
        len(sizes), len(columns), figsize=(3.4 * len(columns), 2.8 * len(sizes)), squeeze=False
    )
    for axis in axes.flat:
        axis.set_visible(False)
    for entry in entries:
        row = sizes.index(entry.problem.case.nnz)
        axis = axes[row][columns.index(entry.problem.solver.title)]
        axis.set_visible(True)
        for result in entry.results:
            seconds, color = list(accumulate(result.seconds)), f"C{names.index(result.name)}"
            axis.plot(seconds, result.objectives, "o-", ms=3, color=color, label=result.name)
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_title(f"{entry.problem.solver.title}\n{entry.problem.case.name}", fontsize=9)
        axis.tick_params(labelsize=7)
        axis.set_xlabel("seconds in sweeps", fontsize=8)
        axis.set_ylabel("objective", fontsize=8)
    handles = {
        label: handle
        for axis in axes.flat
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)
    }
    figure.legend(handles.values(), handles.keys(), loc="upper center", ncols=len(names))
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.35 / figure.get_figheight()))
    figure.savefig(path, dpi=130)
    plt.close(figure)
