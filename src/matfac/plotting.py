"""Pictures of fits and models, by matplotlib (the extra ``plot``).

Every function draws into `ax`, or into a new figure, and returns the Axes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted

from matfac._labels import place_labels
from matfac._model import FactorModel
from matfac._plot_compression import compression_curves
from matfac._titles import titles_of
from matfac._validation import check_choice, check_integer, check_length

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

__all__ = [
    "compression_curves",
    "factor_spectrum",
    "item_map",
    "learning_curves",
    "popularity_bias",
]

# Okabe and Ito's colours: told apart by the colour-blind too, and in this order by brightness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
NONE = 0.5  # where logarithmic axes, which have no 0, show it
NAMES = {"rmse": "RMSE", "mae": "MAE", "ndcg@10": "NDCG@10"}
FALLING = ("rmse", "mae", "objective", "loss")  # metrics that a fit makes smaller


def _new_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    try:
        import matplotlib.pyplot as plt
    except ImportError:
        raise ImportError('plots need matplotlib: pip install "matfac[plot]"') from None
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
        ax.spines[["top", "right"]].set_visible(False)
    return ax


def learning_curves(
    models: FactorModel | Sequence[FactorModel] | Mapping[str, FactorModel],
    *,
    metric: str | None = None,
    against: str = "epoch",
    ax: Axes | None = None,
) -> Axes:
    """Draw what `history_` recorded, of one model or of several side by side.

    Parameters
    ----------
    models : model, sequence of models, or mapping of label to model
        Fitted, or loaded from files.
    metric : str, optional
        A key of the records without ``train_`` or ``validation_``, such as "rmse". Where there are
        both, training is dashed; validation has a mark at its best epoch. None: the first that
        every model has validated, else trained, else the objective.
    against : {"epoch", "seconds"}
        The horizontal axis.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> from matfac import ExplicitMF, datasets
    >>> from matfac.plotting import learning_curves
    >>> data = datasets.planted_ratings(200, 100, 4000, seed=0)
    >>> fits = {s: ExplicitMF(8, solver=s, n_iter=5, random_state=0) for s in ("als", "sgd")}
    >>> for model in fits.values():
    ...     _ = model.fit(data.train, validation=data.test)
    >>> ax = learning_curves(fits)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('epoch', 'RMSE')
    """
    check_choice("against", against, ("epoch", "seconds"))
    named = _named(models)
    metric = _common_metric(named, metric)
    ax = _new_axes(ax, (6.4, 4.2))
    higher = not any(word in metric for word in FALLING)
    for number, (label, model) in enumerate(named.items()):
        name = f"{label}, " if len(named) > 1 else ""
        for kind, part in (("", label), ("train_", f"{name}training"), ("validation_", name)):
            rows = [(r[against], r[kind + metric]) for r in model.history_ if kind + metric in r]
            if not rows:
                continue
            values = np.array(rows)
            style: dict[str, Any] = {"linestyle": "--" if kind == "train_" else "-"}
            if kind == "validation_":
                best = int(values[:, 1].argmax() if higher else values[:, 1].argmin())
                part += f"validation (best {values[best, 1]:.4g}, epoch {best + 1})"
                style |= {"marker": MARKERS[number % len(MARKERS)], "markevery": [best]}
            colour = COLOURS[number % len(COLOURS)]
            ax.plot(*values.T, color=colour, linewidth=1.8, label=part, **style)
    if against == "epoch":
        _count_axis(ax, "epoch")
    else:
        ax.set_xlabel("time since the start (s)")
    ax.set_ylabel(NAMES.get(metric, metric))
    if ax.get_ylim()[1] >= 10_000:
        ax.yaxis.set_major_formatter("{x:,.0f}")
    ax.grid(alpha=0.25)
    if len(ax.get_lines()) > 1:
        ax.legend(frameon=False, handlelength=3.2)
    return ax


def _count_axis(ax: Axes, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_xlabel(label)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def _named(models: Any) -> dict[str, FactorModel]:
    if isinstance(models, Mapping):
        named = {str(label): model for label, model in models.items()}
    elif isinstance(models, Sequence):
        named = {f"{type(m).__name__} {i}": m for i, m in enumerate(models, 1)}
    else:
        named = {type(models).__name__: models}
    if not named:
        raise ValueError("models must hold at least one fitted model")
    for model in named.values():
        check_is_fitted(model, "history_")
        if not model.history_:
            raise ValueError(f"models holds a {type(model).__name__} whose history_ is empty")
    return named


def _common_metric(named: Mapping[str, FactorModel], metric: str | None) -> str:
    """Return the metric to draw: the one asked for, if every model has recorded it."""
    kinds = ("validation_", "train_", "")
    shared = set.intersection(
        *({key.removeprefix(kind) for kind in kinds for key in model.history_[0]
           if key.startswith(kind)} for model in named.values())
    )  # fmt: skip
    shared = {name for name in shared if not name.startswith(kinds[:2])} - {"epoch", "seconds"}
    if metric is not None:
        if metric not in shared:
            raise ValueError(
                f"metric must be one that every model has recorded, {sorted(shared)}, got "
                f"{metric!r}"
            )
        return metric
    first = next(iter(named.values())).history_[0]
    for kind in kinds:
        for key in first:
            if key.startswith(kind) and key.removeprefix(kind) in shared:
                return key.removeprefix(kind)
    raise ValueError("models have recorded no metric in common: draw them one by one")


def factor_spectrum(model: FactorModel, *, ax: Axes | None = None) -> Axes:
    """Draw the singular values of the factors' product, biases aside.

    They do not depend on how the factors are rotated. A spectrum that has fallen to nothing says
    that fewer factors would do; one that ends high, that more, or less ridge, might help.

    Parameters
    ----------
    model : fitted model
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    check_is_fitted(model, "item_factors_")
    ax = _new_axes(ax, (6.4, 4.2))
    triangles: list[NDArray[np.float64]] = [
        np.linalg.qr(factors.astype(np.float64)).R
        for factors in (model.user_factors_, model.item_factors_)
    ]
    values = np.linalg.svd(triangles[0] @ triangles[1].T, compute_uv=False)
    share = values**2 / max(float((values**2).sum()), np.finfo(float).tiny)
    rank = np.arange(1, len(values) + 1)
    most = int(np.searchsorted(np.cumsum(share), 0.9)) + 1
    ax.bar(rank[:most], 100 * share[:most], color=COLOURS[0], width=0.8)
    ax.bar(rank[most:], 100 * share[most:], color=COLOURS[5], width=0.8)
    ax.set_yscale("log")
    ax.yaxis.set_major_formatter("{x:g}")
    _count_axis(ax, "component, largest first")
    ax.set_ylabel("share of the sum of squares (%)")
    ax.set_title(
        f"{most} of {len(values)} components hold 90 % (dark)", fontsize="medium", loc="left"
    )
    ax.grid(axis="y", alpha=0.25)
    ax.set_axisbelow(True)
    return ax


def item_map(
    model: FactorModel,
    titles: Mapping[Any, str] | None = None,
    *,
    items: ArrayLike | None = None,
    n_items: int = 300,
    n_labels: int = 60,
    ax: Axes | None = None,
) -> Axes:
    """Draw items as points in the plane, near where their factors point the same way.

    The two directions are those of the greatest variance of the factors scaled to length 1 (PCA),
    as cosine, and so `similar_items`, sees them. The axes tell how much of it they show:
    usually little, so that near points need not be near in all dimensions.

    Parameters
    ----------
    model : fitted model
    titles : mapping of id to str, optional
        Labels by id; ids without one, and all ids where this is None, stand for themselves.
    items : array-like, optional
        Ids or indices to draw. None: the `n_items` of most entries in training, or, of a model
        saved without these, with the longest factors.
    n_items : int
    n_labels : int
        At most so many labels, for the items of most entries first; one that would cover another
        is left out.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    check_is_fitted(model, "item_factors_")
    check_integer("n_items", n_items, minimum=2)
    check_integer("n_labels", n_labels, minimum=0)
    counts = _counts(model)
    weight = np.linalg.norm(model.item_factors_, axis=1) if counts is None else counts
    if items is None:
        index = np.argsort(-weight, kind="stable")[:n_items]
    else:
        index = np.unique(model._lookup(items, "items"))
        index = index[np.argsort(-weight[index], kind="stable")]
        if len(index) < 2:
            raise ValueError(f"items must hold at least two different items, got {len(index)}")
    ids = np.arange(len(model.item_factors_)) if model.item_ids_ is None else model.item_ids_
    found = titles_of(ids[index], titles)
    words = [str(value) for value in ids[index].tolist()]
    if found is not None:
        words = [title or word for title, word in zip(found.tolist(), words, strict=True)]
    points, shares = _principal_plane(model.item_factors_[index])
    ax = _new_axes(ax, (11, 8.5))
    areas = 6 + 60 * weight[index] / max(float(weight[index].max()), 1e-300)
    ax.scatter(points[:, 0], points[:, 1], areas, color="0.75", lw=0)
    for axis, share, number in ((ax.xaxis, shares[0], 1), (ax.yaxis, shares[1], 2)):
        axis.set_label_text(f"principal component {number} ({100 * share:.0f} % of variance)")
    what = "of most entries" if items is None and counts is not None else "chosen"
    sized = "entries in training" if counts is not None else "length of the factor"
    ax.set_title(
        f"{len(index)} items {what}; a dot's area grows with its {sized}",
        fontsize="medium", loc="left",
    )  # fmt: skip
    labelled = place_labels(ax, points, words, n_labels)
    x, y = points[labelled].T
    ax.scatter(x, y, areas[labelled], color=COLOURS[0], lw=0)
    return ax


def _principal_plane(factors: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each row's two principal coordinates after scaling to length 1, and their shares."""
    rows = factors.astype(np.float64)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows / np.where(norms > 0, norms, 1)
    rows -= rows.mean(axis=0)
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    points = np.zeros((len(rows), 2))
    kept = min(2, len(values))
    # The sign of a direction is free: the entry that is largest counts as positive.
    signs = np.sign(right[np.arange(kept), np.abs(right[:kept]).argmax(axis=1)])
    points[:, :kept] = left[:, :kept] * values[:kept] * signs
    shares = np.zeros(2)
    shares[:kept] = values[:kept] ** 2 / max(float((values**2).sum()), np.finfo(float).tiny)
    return points, shares


def _counts(model: FactorModel) -> NDArray[np.int64] | None:
    """Return each item's entries in training, None where the model was saved without them."""
    if model._seen is None:
        return None
    return np.bincount(model._seen[1], minlength=len(model.item_factors_))


def popularity_bias(model: FactorModel, *, k: int = 10, ax: Axes | None = None) -> Axes:
    """Draw how often items are recommended against how often they occur in training.

    The line is where every item is recommended in proportion to its entries. The title tells the
    share of items in some list (coverage) and how unequal the items' shares of the lists are (Gini
    coefficient: 0 if all equal, 1 if one item takes all).

    Parameters
    ----------
    model : fitted model
        With its training entries.
    k : int
        Length of the lists that every user is given, items seen left out.
    ax : matplotlib.axes.Axes, optional

    Returns
    -------
    matplotlib.axes.Axes
    """
    check_is_fitted(model)
    entries = _counts(model)
    if entries is None:
        raise ValueError(
            "popularity_bias needs the training entries, which this model was saved without: "
            "save it with_seen=True"
        )
    n_users, n_items = len(model.user_factors_), len(entries)
    k = check_length(k, n_items)
    shown = np.zeros(n_items, np.int64)
    for start in range(0, n_users, 4096):
        index = np.arange(start, min(start + 4096, n_users), dtype=np.int32)
        lists, _ = model._top_k(
            model.user_factors_[index], model.item_factors_, model.item_bias_, k,
            exclude=[model._seen_rows(index, "users")],
        )  # fmt: skip
        shown += np.bincount(lists[lists >= 0], minlength=n_items)
    ax = _new_axes(ax, (6.4, 5))
    ever = shown > 0
    x, y = np.maximum(entries, NONE), np.maximum(shown, NONE)
    style: dict[str, Any] = {"s": 14, "alpha": 0.45, "lw": 0}
    ax.scatter(x[ever], y[ever], color=COLOURS[0], label=f"recommended: {ever.sum():,}", **style)
    never = f"never recommended: {(~ever).sum():,}"
    ax.scatter(x[~ever], y[~ever], color=COLOURS[1], marker="v", label=never, **style)
    span = np.array([max(int(entries[entries > 0].min(initial=1)), 1), max(entries.max(), 1)])
    ax.plot(
        span,
        span * shown.sum() / max(entries.sum(), 1),
        color="0.3",
        linewidth=1.2,
        linestyle="--",
        label="in proportion to training",
    )
    _log_axis(ax.xaxis, x)
    _log_axis(ax.yaxis, y)
    ax.set_xlabel("entries in training (users per item)")
    ax.set_ylabel(f"top-{k} lists that hold the item")
    ax.set_title(
        f"Top-{k} lists of {n_users:,} users over {n_items:,} items: "
        f"coverage {100 * ever.mean():.0f} %, Gini {_gini(shown):.2f}",
        fontsize="medium", loc="left",
    )  # fmt: skip
    ax.legend(frameon=False, loc="upper left")
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)
    return ax


def _log_axis(axis: Axis, values: NDArray[np.float64]) -> None:
    """Scale by logarithms, with plain numbers, and with 0 where there are any."""
    powers = 10.0 ** np.arange(0, np.ceil(np.log10(max(values.max(), 10))) + 1)
    ticks = powers[powers <= 3 * values.max()]
    labels = [f"{tick:,.0f}" for tick in ticks]
    if values.min() == NONE:
        ticks, labels = np.append(ticks, NONE), [*labels, "0"]
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})  # type: ignore[attr-defined]
    axis.set_ticks(ticks, labels)
    axis.axes.set(**{f"{axis.axis_name}lim": (values.min() / 1.5, values.max() * 1.5)})  # type: ignore[attr-defined]


def _gini(counts: NDArray[np.int64]) -> float:
    ordered = np.sort(counts).astype(np.float64)
    n, total = len(ordered), ordered.sum()
    if total == 0:
        return 0.0
    return float(2 * (np.arange(1, n + 1) * ordered).sum() / (n * total) - (n + 1) / n)
