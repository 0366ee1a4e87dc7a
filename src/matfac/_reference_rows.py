"""CSR triplets, and the row problems behind every ALS half sweep, solved in NumPy."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]
Csr = tuple[Array, Array, Array]

_BLOCK = 8192  # entries gathered at a time: a tile of 64 float32 factors is 2 MiB and stays cached
_GUARD = 1e-20  # conjugate gradient stops once r' M^-1 r has fallen this far
_FAINT = 0.01  # c beside g, below which the core does not solve a row by its entries' products
_NEARLY = 0.5  # of a matrix scaled to a diagonal of ones: what a row is off the identity in sum


def entry_counts(csr: Csr, n_cols: int, weights: Array | None = None) -> tuple[Array, Array]:
    """Entries, or sums of the (nnz,) ``weights``, per row and per column."""
    rows = np.diff(csr[0]) if weights is None else row_sums(csr[0], weights.astype(np.float64))
    return rows.astype(np.float64), np.bincount(csr[1], weights, n_cols).astype(np.float64)


def transpose(csr: Csr, n_cols: int) -> Csr:
    """The transpose of a matrix with ``n_cols`` columns; its rows are sorted by column.

    Examples
    --------
    >>> csr = np.array([0, 1, 2]), np.array([1, 0]), np.array([5.0, 7.0])
    >>> [part.tolist() for part in transpose(csr, 2)]
    [[0, 1, 2], [1, 0], [7.0, 5.0]]
    """
    indptr, indices, values = csr
    order = np.argsort(indices, kind="stable")
    turned = np.zeros(n_cols + 1, dtype=indptr.dtype)
    np.cumsum(np.bincount(indices, minlength=n_cols), out=turned[1:])
    return turned, entry_rows(indptr).astype(indices.dtype)[order], values[order]


def entry_rows(indptr: Array) -> Array:
    """The row of every entry, (nnz,)."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def row_sums(indptr: Array, values: Array) -> Array:
    """Sums of the entries of every row; ``values`` has shape (nnz, ...)."""
    # reduceat gives an empty row its neighbour's value, so that only full rows take part.
    full = np.flatnonzero(np.diff(indptr))
    sums = np.zeros((len(indptr) - 1, *values.shape[1:]), dtype=values.dtype)
    if len(full):
        sums[full] = np.add.reduceat(values, indptr[full], axis=0)
    return sums


class RowProblems(NamedTuple):
    """One ridge problem per row u, over the fixed rows y_j of its entries.

    Each minimises ``x' (sum_j c_j y_j y_j' + shared_scale S + ridge_u I) x - 2 sum_j g_j y_j . x
    - 2 ridge_u prior_u . x``.

    Attributes
    ----------
    indptr, indices : (n_rows + 1,) and (nnz,) int arrays
        The entries of every row.
    curvature : (nnz,) array or None
        c; None is all ones.
    linear : (nnz,) array
        g.
    fixed : (n_cols, K) array
    ridge : (n_rows,) array
    shared : (K, K) array, optional
        S, symmetric positive semi-definite.
    shared_scale : float
    has_bias : bool
        Extend every y_j by a constant 1 (and S by zeros): the last unknown is a bias.
    prior : (n_rows, K) array, or (n_rows, K + 1) with the bias last, optional
        Where the ridge pulls x; None is zero.
    """

    indptr: Array
    indices: Array
    curvature: Array | None
    linear: Array
    fixed: Array
    ridge: Array
    shared: Array | None = None
    shared_scale: float = 0.0
    has_bias: bool = False
    prior: Array | None = None


def _with_ones(table: Array) -> Array:
    return np.concatenate([table, np.ones((len(table), 1), dtype=table.dtype)], axis=1)


def _blocks(indptr: Array, least: int, apart: int = 0) -> list[Array]:
    """Groups of rows of about one length, `_BLOCK` entries a group (a row counts for ``least``).

    Rows of at most ``apart`` entries are in no group with longer ones.
    """
    lengths = np.diff(indptr)
    order = np.argsort(lengths, kind="stable")
    ordered = lengths[order]
    begin, blocks = int(np.searchsorted(ordered, 0, side="right")), []
    while begin < len(order):
        shortest = int(ordered[begin])
        most = shortest + shortest // 8
        most = min(most, apart) if shortest <= apart else most
        alike = int(np.searchsorted(ordered, most, side="right"))
        end = min(alike, begin + max(1, _BLOCK // max(shortest, least)))
        blocks.append(order[begin:end])
        begin = end
    return blocks


def _priors(problems: RowProblems, width: int) -> Array:
    priors: Array = np.zeros((len(problems.indptr) - 1, width), dtype=problems.fixed.dtype)
    if problems.prior is not None:
        priors += problems.prior
    return priors


def _gather(problems: RowProblems, fixed: Array, rows: Array) -> tuple[Array, Array]:
    """The rows' entries (rows x n), and their fixed rows (rows x n x K), padded with zeros."""
    begins, ends = problems.indptr[rows, None], problems.indptr[rows + 1, None]
    at = begins + np.arange((ends - begins).max())
    padding = at >= ends
    at[padding] = 0
    tile = fixed.take(problems.indices[at], axis=0)
    tile[padding] = 0
    return at, tile


def solve_rows_exact(problems: RowProblems) -> Array:
    """Every row's minimiser by its normal equations.

    Parameters
    ----------
    problems : RowProblems

    Returns
    -------
    (n_rows, K) array, or (n_rows, K + 1) with the bias last
        Rows without entries are their prior. The dtype is that of ``problems.fixed``.

    Raises
    ------
    numpy.linalg.LinAlgError
        If a row's system is exactly singular, as a ridge of 0 can make it.

    Examples
    --------
    >>> one = np.ones(1)
    >>> p = RowProblems(np.array([0, 1]), np.array([0]), one, 3 * one, np.eye(2), ridge=2 * one)
    >>> solve_rows_exact(p).tolist()
    [[1.0, 0.0]]
    """
    width = problems.fixed.shape[1] + problems.has_bias
    solution = _priors(problems, width)
    for rows, systems, right in normal_equations(problems):
        solution[rows] = np.linalg.solve(systems, right[:, :, None])[:, :, 0]
    return solution


def normal_equations(problems: RowProblems) -> Iterator[tuple[Array, Array, Array]]:
    """Yield blocks of rows with their systems (rows x K x K) and right sides (rows x K).

    K counts the bias, which comes last. Rows without entries are left out.
    """
    p = problems
    fixed = _with_ones(p.fixed) if p.has_bias else p.fixed
    k, width = p.fixed.shape[1], fixed.shape[1]
    pull = p.ridge[:, None] * _priors(p, width)
    for rows in _blocks(p.indptr, least=width):
        at, tile = _gather(p, fixed, rows)
        left = tile if p.curvature is None else tile * p.curvature[at][:, :, None]
        systems = left.swapaxes(1, 2) @ tile
        if p.shared is not None and p.shared_scale:
            systems[:, :k, :k] += p.shared_scale * p.shared
        systems.reshape(len(rows), -1)[:, :: width + 1] += p.ridge[rows, None]
        yield rows, systems, (p.linear[at][:, None, :] @ tile)[:, 0] + pull[rows]


def solve_rows_cg(
    problems: RowProblems,
    start: Array,
    steps: int,
    precond_scale: ArrayLike,
    relaxation: float = 1.0,
    *,
    exact_short: bool = False,
) -> Array:
    """``steps`` steps of preconditioned conjugate gradient for every row, from ``start``.

    The preconditioner M is ``precond_scale_u S + ridge_u I`` for the factors and
    ``sum_j c_j + ridge_u`` for the bias; of an S that serves it alone and is diagonal but for
    little, the diagonal. A row ends early once r' M^-1 r is at most 1e-20 of its first value.

    Parameters
    ----------
    problems : RowProblems
    start : (n_rows, K) array, or (n_rows, K + 1) with the bias last
    steps : int
    precond_scale : float or (n_rows,) array
    relaxation : float
        Each step goes this many times as far, past the minimum along its direction where above 1.
    exact_short : bool
        Rows of at most `shorter_than_steps` entries, with a ridge that pulls to zero, take one step
        instead, likewise times ``relaxation``: that to their minimum. Not so where all cells count
        and an entry's c is below a hundredth of its g.

    Returns
    -------
    array of the shape of ``start``
        Rows without entries are their prior.
    """
    p, k, dtype = problems, problems.fixed.shape[1], problems.fixed.dtype
    spectrum, basis = _preconditioner(p)
    fixed, ridge = p.fixed @ basis, p.ridge[:, None]
    start = np.concatenate([start[:, :k] @ basis, start[:, k:]], axis=1)
    solution = _priors(p, start.shape[1])
    solution[:, :k] = solution[:, :k] @ basis
    pull = ridge * solution
    scale = np.broadcast_to(np.asarray(precond_scale, dtype=dtype), p.ridge.shape)[:, None]
    diagonal, metric = p.shared_scale * spectrum + ridge, scale * spectrum + ridge
    if p.has_bias:
        c = np.ones(len(p.indices)) if p.curvature is None else p.curvature.astype(np.float64)
        sums = row_sums(p.indptr, c)
        fixed, diagonal = _with_ones(fixed), np.concatenate([diagonal, ridge], axis=1)
        metric = np.concatenate([metric, ridge + sums.astype(dtype)[:, None]], axis=1)
    # A ridge of 0 can leave directions that no fixed row has: nothing is to be solved there.
    inverse = np.divide(1, metric, out=np.zeros_like(metric), where=metric > 0)
    longest = shorter_than_steps(steps, k) if exact_short and p.prior is None else 0
    short = (np.diff(p.indptr) <= longest) & (p.ridge > 0) & ~_faint(p)
    for block in _blocks(p.indptr, 1, longest):
        rows = block[short[block]]
        if len(rows):
            solution[rows] = _short(p, fixed, rows, diagonal[rows], start[rows], relaxation)
        rows = block[~short[block]]
        if not len(rows):
            continue
        at, tile = _gather(p, fixed, rows)
        curvature = None if p.curvature is None else p.curvature[at]
        x, own = start[rows], diagonal[rows]
        residual = _combine(p.linear[at] - _scores(tile, curvature, x), tile) - own * x
        residual += pull[rows]
        _cg(tile, curvature, own, inverse[rows], x, residual, steps, relaxation)
        solution[rows] = x
    solution[:, :k] = solution[:, :k] @ basis.T
    return solution


def shorter_than_steps(steps: int, k: int) -> int:
    """Entries up to which the core solves a row of ``k`` factors exactly rather than by steps.

    Examples
    --------
    >>> [shorter_than_steps(steps=2, k=k) for k in (64, 65, 128, 2000)]
    [12, 12, 8, 0]
    """
    return min(16, 4 * (steps + 1), 1024 // (-(-k // 16) * 16))


def _faint(problems: RowProblems) -> Array:
    p = problems
    rows: Array = np.zeros(len(p.ridge), dtype=bool)
    if p.shared_scale and p.curvature is not None:
        of = np.repeat(np.arange(len(rows)), np.diff(p.indptr))
        rows[of[p.curvature < _FAINT * p.linear]] = True
    return rows


def _preconditioner(problems: RowProblems) -> tuple[Array, Array]:
    """Eigenvalues and eigenvectors of the matrix all rows share, or what stands for them."""
    k, dtype, shared = problems.fixed.shape[1], problems.fixed.dtype, problems.shared
    if shared is None:
        return np.zeros(k, dtype=dtype), np.eye(k, dtype=dtype)
    diagonal = np.diag(shared).astype(np.float64)
    if problems.shared_scale == 0 and (diagonal > 0).all():
        scaled = shared / np.sqrt(np.outer(diagonal, diagonal))
        if np.abs(scaled - np.eye(k)).sum(axis=1).max() <= _NEARLY:
            return diagonal.astype(dtype), np.eye(k, dtype=dtype)
    spectrum, basis = np.linalg.eigh(shared)
    return np.maximum(spectrum, 0), basis


def _short(
    problems: RowProblems,
    fixed: Array,
    rows: Array,
    diagonal: Array,
    start: Array,
    relaxation: float,
) -> Array:
    """Rows of few entries by the entries' products: x = D^-1 Y' a with (I + C Y D^-1 Y') a = g."""
    at, tile = _gather(problems, fixed, rows)
    mapped = tile / diagonal[:, None, :]
    kernel = mapped @ tile.swapaxes(1, 2)
    if problems.curvature is not None:
        kernel *= problems.curvature[at][:, :, None]
    kernel.reshape(len(rows), -1)[:, :: kernel.shape[1] + 1] += 1
    a = np.linalg.solve(kernel, problems.linear[at][:, :, None])[:, :, 0]
    moved: Array = start + relaxation * (_combine(a, mapped) - start)
    return moved


def _scores(tile: Array, c: Array | None, x: Array) -> Array:
    scores: Array = (tile @ x[:, :, None])[:, :, 0]
    return scores if c is None else c * scores


def _combine(a: Array, tile: Array) -> Array:
    sums: Array = (a[:, None, :] @ tile)[:, 0]
    return sums


def _dots(a: Array, b: Array) -> Array:
    dots: Array = np.einsum("uk,uk->u", a, b)
    return dots[:, None]


def _cg(
    tile: Array,
    c: Array | None,
    diagonal: Array,
    inverse: Array,
    x: Array,
    r: Array,
    steps: int,
    relaxation: float,
) -> None:
    direction = inverse * r
    size = _dots(r, direction)
    enough, active = _GUARD * size, np.ones(size.shape, dtype=bool)
    for _ in range(steps):
        active &= size > enough
        if not active.any():
            break
        image = _combine(_scores(tile, c, direction), tile) + diagonal * direction
        curvature = _dots(direction, image)
        active &= curvature > 0
        step = np.divide(size, curvature, out=np.zeros_like(size), where=active)
        x += relaxation * step * direction
        r -= step * image
        z = inverse * r
        following = _dots(r, z)
        direction *= np.divide(following, size, out=np.zeros_like(size), where=active)
        direction += z
        size = following
