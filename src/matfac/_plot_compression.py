"""The picture of a compressed network: spectra, and error against size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from matfac.compressed_model import LayerReport, ModelReport

# Okabe and Ito's colours, as in `matfac.plotting`.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")


def compression_curves(
    report: ModelReport, *, axes: tuple[Axes, Axes] | None = None
) -> tuple[Axes, Axes]:
    """Draw every layer's spectrum, and its least error against its size, with what was chosen.

    Left, singular values over the largest one; right, the relative error of the best factors
    against their share of the matrix's parameters. A dot is the rank that `compress_model` chose, a
    ring at full size a matrix kept whole. Matrices of one shape have one colour.

    Parameters
    ----------
    report : ModelReport
        What `compress_model` returned.
    axes : pair of matplotlib.axes.Axes, optional

    Returns
    -------
    pair of matplotlib.axes.Axes

    Examples
    --------
    >>> import numpy as np
    >>> from matfac import compress_model
    >>> from matfac.plotting import compression_curves
    >>> from safetensors.numpy import save_file
    >>> save_file({"w": np.random.default_rng(0).normal(size=(40, 30))}, "net.safetensors")
    >>> report = compress_model("net.safetensors", "small.safetensors", budget=0.5)
    >>> left, right = compression_curves(report)
    >>> right.get_ylabel()
    'relative error'
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError('plots need matplotlib: pip install "matfac[plot]"') from None
    drawn = [layer for layer in report.layers if layer.ranks]
    if not drawn:
        raise ValueError("report has no matrix that could have been compressed")
    if axes is None:
        _, made = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
        axes = (made[0], made[1])
        for ax in axes:
            ax.spines[["top", "right"]].set_visible(False)
            ax.grid(alpha=0.25)
    shapes = sorted({layer.shape for layer in drawn}, key=lambda shape: -shape[0] * shape[1])
    colours = {shape: _COLOURS[i % len(_COLOURS)] for i, shape in enumerate(shapes)}
    for shape in shapes:
        alike = [layer for layer in drawn if layer.shape == shape]
        count = f"{len(alike)} of " if len(alike) > 1 else ""
        for number, layer in enumerate(alike):
            label = f"{count}{shape[0]} x {shape[1]}" if number == 0 else None
            _draw(axes, layer, colours[shape], label)
    left, right = axes
    left.set_yscale("log")
    left.set_xlabel("singular value, as a share of their number")
    left.set_ylabel("value / largest")
    right.axvline(1, color="0.4", linewidth=1, linestyle="--")
    right.text(0.99, 0.98, "no smaller than\nthe matrix", ha="right", va="top", color="0.4",
               fontsize="small", transform=right.get_xaxis_transform())  # fmt: skip
    right.set_xlim(0, 1.1)
    right.set_ylim(0, 1)
    right.set_xlabel("parameters of the factors / of the matrix")
    right.set_ylabel("relative error")
    left.legend(frameon=False, fontsize="small")
    return axes


def _draw(axes: tuple[Axes, Axes], layer: LayerReport, colour: str, label: str | None) -> None:
    m, n = layer.shape
    ranks = np.array(layer.ranks)
    values = np.maximum(np.array(layer.singular_values) / layer.singular_values[0], 1e-8)
    size = ranks * (m + n) / (m * n)
    style: dict[str, Any] = {"color": colour, "linewidth": 1.2, "alpha": 0.7}
    axes[0].plot(ranks / min(m, n), values, label=label, **style)
    axes[1].plot(size, layer.relative_errors, **style)
    chosen = layer.rank
    if chosen is None:
        axes[1].plot([1], [0], marker="o", mfc="none", color=colour, clip_on=False, zorder=3)
    else:
        at = np.interp(chosen, ranks, layer.relative_errors)
        axes[1].plot([chosen * (m + n) / (m * n)], [at], marker="o", color=colour, zorder=3)
