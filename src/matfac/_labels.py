"""Labels of points that cover neither each other nor leave the picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST = 36  # characters; longer labels are cut
GAP = 3.0  # points between a dot and its label
# Horizontal and vertical alignment of the label to its dot, in the order they are tried.
PLACES = (
    ("left", "center"), ("right", "center"), ("center", "bottom"), ("center", "top"),
    ("left", "bottom"), ("left", "top"), ("right", "bottom"), ("right", "top"),
)  # fmt: skip
STEP = {"left": 1.0, "right": -1.0, "bottom": 1.0, "top": -1.0, "center": 0.0}


def place_labels(
    ax: Axes, points: NDArray[np.float64], words: Sequence[str], n_labels: int
) -> list[int]:
    """Write labels beside points, the first ones first; return which points got theirs.

    A label takes that of eight places round its point which covers the fewest other points, covers
    no other label and stays inside the axes. All is judged for the figure's size at this moment.
    """
    from matplotlib.patheffects import withStroke

    figure: Any = ax.figure.canvas.figure
    ax.autoscale_view()
    figure.draw_without_rendering()  # layouts move the axes: pixels count from here on
    frame = ax.get_window_extent()
    ax.set_xlim(ax.get_xlim())
    ax.set_ylim(ax.get_ylim())
    at = ax.transData.transform(points)
    gap = GAP * figure.dpi / 72
    halo = [withStroke(linewidth=2, foreground=ax.get_facecolor())]
    taken = np.empty((0, 4))
    placed: list[int] = []
    for which, (word, point, pixel) in enumerate(zip(words, points, at, strict=True)):
        if len(placed) >= n_labels:
            break
        text = word if len(word) <= LONGEST else word[: LONGEST - 1].rstrip() + "…"
        note = ax.annotate(
            text.replace("$", r"\$"), point, xytext=(0, 0), textcoords="offset points",
            fontsize=8, path_effects=halo,
        )  # fmt: skip
        size = note.get_window_extent()
        best: tuple[int, int, NDArray[np.float64]] | None = None
        for number, (horizontal, vertical) in enumerate(PLACES):
            x = pixel[0] + STEP[horizontal] * gap - _shift(horizontal) * size.width
            y = pixel[1] + STEP[vertical] * gap - _shift(vertical) * size.height
            box = np.array([x, y, x + size.width, y + size.height])
            inside = frame.x0 <= x and box[2] <= frame.x1 and frame.y0 <= y and box[3] <= frame.y1
            if inside and not _meets(box, taken).any():
                hidden = int(_meets(box, np.hstack((at, at))).sum())
                if best is None or hidden < best[0]:
                    best = hidden, number, box
        if best is None:
            note.remove()
            continue
        taken = np.vstack((taken, best[2]))
        placed.append(which)
        horizontal, vertical = PLACES[best[1]]
        note.set(ha=horizontal, va=vertical)
        note.set_position((STEP[horizontal] * GAP, STEP[vertical] * GAP))
    return placed


def _shift(alignment: str) -> float:
    return {"left": 0.0, "bottom": 0.0, "center": 0.5, "right": 1.0, "top": 1.0}[alignment]


def _meets(box: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which of the other boxes (left, bottom, right, top) share a point with this one."""
    apart: NDArray[np.bool_] = (
        (box[2] < others[:, 0])
        | (box[0] > others[:, 2])
        | (box[3] < others[:, 1])
        | (box[1] > others[:, 3])
    )
    return ~apart
