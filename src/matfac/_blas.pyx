# cython: language_level=3, freethreading_compatible=True
"""SciPy's LAPACK: a table of C function pointers for the core, and a routine for Python.

The types are checked when this file is compiled (no pointer casts) and again when it is
imported (SciPy's signature strings). A SciPy whose BLAS takes other integers makes the import fail, and the
caller then leaves the core to its own routines.
"""

from cpython.pycapsule cimport PyCapsule_New
from scipy.linalg.cython_lapack cimport dsyevd, dsyevr

import numpy as np


cdef extern from "matfac/blas.hpp" namespace "matfac" nogil:
    const char *kBlasCapsule

    cdef struct BlasTable:
        void (*dsyevd)(char *, char *, int *, double *, int *, double *, double *, int *, int *, int *,
                       int *) noexcept nogil


cdef BlasTable _table
_table.dsyevd = dsyevd


def table():
    """Return the table of routines.

    Returns
    -------
    capsule : PyCapsule
        Named ``"matfac.BlasTable"``; points to the ``matfac::BlasTable`` of ``matfac/blas.hpp``,
        which lives as long as the process.

    Examples
    --------
    >>> from matfac import _blas
    >>> "matfac.BlasTable" in repr(_blas.table())
    True
    """
    return PyCapsule_New(&_table, kBlasCapsule, NULL)


def leading_eigen(double[:, ::1] matrix, int count):
    """Return the `count` largest eigenvalues of a symmetric matrix and their vectors.

    SciPy's own `eigh` holds Python's lock all the while; this lets others run.

    Parameters
    ----------
    matrix : (n, n) array
        Symmetric, C order; overwritten.
    count : int
        From 1 to n.

    Returns
    -------
    values : (count,) array
        Ascending.
    vectors : (count, n) array
        Of length 1, one in each row.

    Raises
    ------
    ArithmeticError
        Where LAPACK finds no convergence.
    """
    cdef int n = <int>matrix.shape[0], low = n - count + 1, found = 0, info = 0
    cdef int work_size = -1, iwork_size = -1
    cdef double bound = 0, tolerance = 0
    cdef char jobz = b"V", which = b"I", uplo = b"U"
    if matrix.shape[1] != n or not 1 <= count <= n:
        raise ValueError(f"no {count} eigenvalues of {n} x {matrix.shape[1]}")
    cdef double[::1] values = np.empty(n)
    cdef double[:, ::1] vectors = np.empty((count, n))
    cdef int[::1] support = np.empty(2 * count, np.intc)
    cdef double[::1] work = np.empty(1)
    cdef int[::1] iwork = np.empty(1, np.intc)
    for _ in range(2):  # asks for the sizes of the workspaces first
        with nogil:
            dsyevr(&jobz, &which, &uplo, &n, &matrix[0, 0], &n, &bound, &bound, &low, &n,
                   &tolerance, &found, &values[0], &vectors[0, 0], &n, &support[0],
                   &work[0], &work_size, &iwork[0], &iwork_size, &info)
        if work_size < 0:
            work_size, iwork_size = <int>work[0], iwork[0]
            work, iwork = np.empty(work_size), np.empty(iwork_size, np.intc)
    if info != 0 or found != count:
        raise ArithmeticError("the eigenvalues of a Gram matrix did not converge")
    return np.asarray(values)[:count], np.asarray(vectors)
