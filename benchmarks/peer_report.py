"""The table, the JSON and the plot of the peers."""

from __future__ import annotations

import argparse
import json
import statistics
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import machine

if TYPE_CHECKING:
    from peers import Duel, Run

HEAD = (
    "case", "peer", "s/iteration", "matfac", "ratio", "goal", "iterations", "s to it", "matfac",
    "ratio", "peak MB", "matfac", "ratio", "load",
)  # fmt: skip


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _seconds(values: list[float]) -> str:
    text = f"{statistics.median(values):.3g}"
    return text if len(values) == 1 else f"{text} ({min(values):.3g}-{max(values):.3g})"


def _compared(peer: list[float], own: list[float]) -> list[str]:
    """Both medians and how many times as much the peer takes."""
    if not own:
        return [_seconds(peer), "not reached", ""]
    ratio = statistics.median(peer) / statistics.median(own)
    return [_seconds(peer), _seconds(own), f"{ratio:.2f}x"]


def _memory(runs: list[Run]) -> list[float]:
    return [statistics.median(run.peak_mb for run in runs)] if runs else []


def _line(duel: Duel) -> str:
    theirs, ours = duel.peer_runs, duel.own_runs
    iterations = f"{theirs[0].n_iter}, {ours[0].n_iter if ours else 'none'}"
    rates = [[run.per_iteration for run in runs] for runs in (theirs, ours or duel.searched)]
    rate = "" if theirs[0].rate is None else f", rate {theirs[0].rate:g}"
    cells = [duel.case, f"{duel.peer} {duel.version}{rate}", *_compared(*rates)]
    if duel.task.goal:
        cells += [f"{duel.target:.6g} {duel.task.goal}", iterations]
        cells += _compared([run.seconds for run in theirs], [run.seconds for run in ours])
    else:
        cells += ["another objective", iterations, "", "", ""]
    theirs_mb, ours_mb = _memory(theirs), _memory(ours or duel.searched)
    cells += [f"{theirs_mb[0]:.0f}", f"{ours_mb[0]:.0f}", f"{theirs_mb[0] / ours_mb[0]:.2f}x"]
    cells.append("" if duel.load is None else f"{duel.load:.1f}")
    return _row(cells)


def _updates(duel: Duel) -> str:
    """Ratings a second, in passes over all of them."""
    rates = [
        duel.entries / statistics.median(run.per_iteration for run in runs) / 1e6
        for runs in (duel.peer_runs, duel.own_runs or duel.searched)
    ]
    return (
        f"{duel.case}: {rates[0]:.1f} ({duel.peer}) and {rates[1]:.1f} (matfac) million updates "
        "a second."
    )


def text(
    chosen: argparse.Namespace,
    duels: list[Duel],
    there: dict[str, str | None],
    described: dict[str, Any],
) -> str:
    """What was measured on what, the table, and who is missing."""
    lines = [
        (
            "Each fit is a process of its own, in turn. Seconds: median (min-max) of "
            f"{chosen.repeats}; a ratio is how many times as much the peer takes."
        ),
        (
            "Seconds to the goal: the peer's fit, and matfac's whole fit() of the fewest "
            "iterations that end as low. Peak memory: resident, to the end of the fit."
        ),
        (
            f"d = {chosen.d}, {chosen.threads} threads; {described['cpu']}, "
            f"{described['usable_cores']} cores, matfac on {described['matfac']['simd']}."
        ),
        "",
        _row(list(HEAD)),
        _row(["---"] * len(HEAD)),
        *(_line(duel) for duel in duels),
        "",
        (
            "implicit, irspack, ialspp and LensKit tell the seconds of each iteration; of the "
            "others it is the fit's by their number."
        ),
    ]
    lines += [_updates(duel) for duel in duels if duel.task.key == "sgd"]
    missing = [name for name, version in there.items() if version is None]
    if missing:
        lines.append(f"Not installed: {', '.join(missing)}.")
    return "\n".join(lines) + "\n"


def plot(chosen: argparse.Namespace, duels: list[Duel]) -> None:
    """What was reached against seconds, one panel per case; a point is the end of a fit."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(duel.case for duel in duels))
    figure, axes = plt.subplots(1, len(names), figsize=(4.2 * len(names), 3.6), squeeze=False)
    for name, axis in zip(names, axes.flat, strict=True):
        shown = [duel for duel in duels if duel.case == name]
        runs = {run.n_iter: run for duel in shown for run in duel.searched}
        for label, drawn in [
            ("matfac", [runs[n_iter] for n_iter in sorted(runs)]),
            *((duel.peer, [*duel.peer_curve, duel.peer_runs[0]]) for duel in shown),
        ]:
            points = [(run.seconds, run.reached) for run in drawn if run.reached is not None]
            axis.plot(*zip(*points, strict=True), "o-", ms=4, label=label)
        axis.set_title(name, fontsize=10)
        axis.set_xlabel("seconds of the whole fit", fontsize=8)
        axis.set_ylabel(shown[0].task.goal or "held-out RMSE", fontsize=8)
        axis.set_xlim(left=0)
        axis.tick_params(labelsize=7)
        axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(chosen.out / "peers.png", dpi=130)
    plt.close(figure)


def write(chosen: argparse.Namespace, duels: list[Duel], there: dict[str, str | None]) -> str:
    """Write peers.md, peers.json and peers.png to --out; return the text."""
    described = machine.describe()
    chosen.out.mkdir(parents=True, exist_ok=True)
    made = text(chosen, duels, there, described)
    (chosen.out / "peers.md").write_text(made, encoding="utf-8")
    settings = {key: getattr(chosen, key) for key in ("d", "threads", "repeats")}
    document = {
        "machine": described,
        "settings": settings,
        "peers": there,
        "duels": [asdict(duel) for duel in duels],
    }
    (chosen.out / "peers.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if duels:
        plot(chosen, duels)
    return made
