"""The compiled core as the rest of the package sees it: set up once, its arrays made here."""

from __future__ import annotations

import atexit
import contextlib
import os
import platform
import threading
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

# libgomp reads its policy once, while it is loaded. Threads that spin where they share a core hold
# each other up for whole scheduler ticks: measured, 4 times slower sweeps. A user's choice stands.
_spins = "OMP_WAIT_POLICY" not in os.environ and "GOMP_SPINCOUNT" not in os.environ
if _spins:
    os.environ["OMP_WAIT_POLICY"] = "passive"
from matfac import _core  # noqa: E402

if _spins:
    del os.environ["OMP_WAIT_POLICY"]

Floats: TypeAlias = NDArray[Any]
Csr: TypeAlias = "_core.CsrFloat32 | _core.CsrFloat64"

_PART = 1 << 24  # bytes of a table between looks for Ctrl-C: tens of milliseconds at most


def _set_up() -> str:
    """Prepare the core; return why SciPy's BLAS is not in use, or an empty text."""
    blas_error = ""
    try:
        from matfac import _blas

        _core.set_blas(_blas.table())
    except (ImportError, TypeError) as error:
        # The core has its own routines; show_config tells that these are in use.
        blas_error = f"{type(error).__name__}: {error}"
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_core.release_thread_pool)
        os.register_at_fork(before=_core.wait_for_calls_aside)
    atexit.register(_core.wait_for_calls_aside)
    forced = os.environ.get("MATFAC_SIMD", "")
    if forced:
        try:
            _core.use_isa(forced)
        except ValueError as error:
            raise ImportError(f"MATFAC_SIMD={forced!r} cannot be honoured: {error}") from None
    return blas_error


_blas_error = _set_up()


# Scans the loaded libraries, SciPy's among them by now: 10 ms, which no fit should pay.
_controller = ThreadpoolController()


class _BlasLimit:
    """One limit for all threads of the process: the first in sets it, the last out lifts it.

    Limits of their own, ended in another order than begun, would leave BLAS at one thread.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users: list[int] = []  # a thread as often as it is in
        self.limit: Any = None

    def __enter__(self) -> None:
        with self.lock:
            if not self.users:
                self.limit = _controller.limit(limits=1, user_api="blas")
            self.users.append(threading.get_ident())

    def __exit__(self, *_: object) -> None:
        with self.lock:
            self.users.remove(threading.get_ident())
            if not self.users:
                self._lift()

    def _lift(self) -> None:
        for library in _controller.lib_controllers:
            # threadpoolctl heeds the thread alone that set the limit: here it may have gone
            if hasattr(library, "clear_controlling_thread"):
                library.clear_controlling_thread(force=True)
        self.limit.__exit__(None, None, None)

    def begin_child(self) -> None:
        """Forget the threads that are not in the child of a fork: all but the one that forked."""
        self.lock.release()  # there is no other thread yet
        own = [user for user in self.users if user == threading.get_ident()]
        if self.users and not own:
            self._lift()
        self.users = own


_blas_limit = _BlasLimit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(  # with the lock held, so that the child meets no limit half set
        before=_blas_limit.lock.acquire,
        after_in_parent=_blas_limit.lock.release,
        after_in_child=_blas_limit.begin_child,
    )


def single_threaded_blas() -> contextlib.AbstractContextManager[None]:
    """Keep BLAS to one thread while the core runs its own, and give it back after."""
    return _blas_limit


def make_csr(
    n_cols: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: Floats,
    weights: Floats | None = None,
) -> Csr:
    """Hand a canonical CSR matrix to the core, which keeps the arrays without a copy."""
    if values.dtype == np.float32:
        return _core.CsrFloat32(n_cols, indptr, indices, values, weights)
    return _core.CsrFloat64(n_cols, indptr, indices, values, weights)


def transpose(csr: Csr, n_threads: int) -> Csr:
    """Return the transpose, as a matrix of its own."""
    return make_csr(csr.shape[0], *csr.transposed_arrays(n_threads))


def narrow(indices: NDArray[Any], n_cols: int, n_threads: int = 1) -> NDArray[np.int32]:
    """Return column indices as the core takes them; scipy.sparse keeps such of 64 bits too."""
    if indices.dtype == np.int64:
        return _core.narrow_indices(np.ascontiguousarray(indices), n_cols, n_threads)
    return np.ascontiguousarray(indices, np.int32)


def number_strings(
    bounds: NDArray[np.int64], data: NDArray[np.uint8]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number strings in the order in which they first occur; return where they do, too.

    String i is ``data[bounds[i]:bounds[i + 1]]``.
    """
    return _core.number_strings(bounds, data)


def value_range(values: Floats, n_threads: int) -> tuple[float, float]:
    """Return the least and the largest value: both NaN where one is not finite, 0 of none."""
    return _core.value_range(values, n_threads)


def row_sums(
    indptr: NDArray[np.int64], values: Floats, weights: Floats | None, n_threads: int
) -> NDArray[np.float64]:
    """Return the sums of rows of CSR, of values times weights where there are weights."""
    return _core.row_sums(indptr, values, weights, n_threads)


def parts_of(table: Floats) -> Iterator[slice]:
    """Yield rows of a table, some at a time: NumPy sees no Ctrl-C before its call is done."""
    step = max(1, _PART * len(table) // max(1, table.nbytes))
    for start in range(0, len(table), step):
        yield slice(start, start + step)


def copy_table(to: Floats, table: Floats, n_threads: int = 1) -> None:
    """Copy a table over another, which Ctrl-C may leave half done."""
    if to.flags.c_contiguous and table.flags.c_contiguous and to.dtype == table.dtype:
        _core.copy_array(to, table, n_threads)
        return
    for rows in parts_of(table):
        to[rows] = table[rows]


def table(factors: Floats) -> Floats:
    """Return factors (n x k) as a padded table; without a copy where k needs no padding."""
    n, k = factors.shape
    if not needs_padding(factors):
        return factors
    padded = empty_table(n, k, factors.dtype)
    padded[:, :k] = factors
    return padded


def needs_padding(factors: Floats) -> bool:
    """Whether `table` makes a copy."""
    flags = factors.flags
    return bool(factors.shape[1] % _core.LANES) or not (flags.c_contiguous and flags.aligned)


def empty_table(n_rows: int, k: int, dtype: np.typing.DTypeLike) -> Floats:
    """Return a zeroed table for n_rows factors of length k."""
    return _core.empty_table(n_rows, k, np.dtype(dtype).name)


def factors_of(padded: Floats, k: int) -> Floats:
    """Return the factors of a table as a C-contiguous n x k array: a copy if it has padding."""
    if padded.shape[1] == k:
        return padded
    factors = np.empty((len(padded), k), padded.dtype)
    copy_table(factors, padded[:, :k])
    return factors


def all_finite(table: Floats) -> bool:
    """Whether a table holds neither NaN nor infinity."""
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in parts_of(table):
            # A sum is twice as fast to take, and says as much unless it overflows.
            if not np.isfinite(table[rows].sum()) and not np.isfinite(table[rows]).all():
                return False
    return True


def leading_eigen(gram: NDArray[np.float64], count: int) -> tuple[Floats, Floats]:
    """The `count` largest eigenvalues, ascending, and their vectors as columns; uses up `gram`."""
    try:
        from matfac import _blas
    except ImportError:  # show_config tells
        values, vectors = np.linalg.eigh(gram)
        return values[-count:], vectors[:, -count:]
    values, vectors = _blas.leading_eigen(gram, count)
    return values, vectors.T


def show_config() -> dict[str, str | int | bool]:
    """Tell how this installation was built and what it uses.

    Returns
    -------
    dict
        version, python, platform, compiler, its flags, the instruction sets compiled in and
        supported here (``simd_available``) and in use (``simd``), ``openmp`` (its version, or why
        there is none), ``threads`` (the default of ``n_threads=None``) and ``blas``.

    Examples
    --------
    >>> import matfac
    >>> matfac.show_config()["simd"] in ("baseline", "avx2", "avx512")
    True
    """
    from matfac import __version__
    from matfac._cores import default_threads

    build = _core.build_info()
    return {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "compiler": build["compiler"],
        "flags": build["flags"],
        "native": build["native"],
        "simd_available": " ".join(_core.isas()),
        "simd": _core.isa(),
        "openmp": build["openmp"] or "none: built without OpenMP, one thread",
        "threads": default_threads(),
        "blas": "SciPy's, through matfac._blas" if _core.has_blas() else f"none ({_blas_error})",
    }
