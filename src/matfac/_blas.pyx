# cython: language_level=3, freethreading_compatible=True
"""SciPy's BLAS and LAPACK routines as a table of C function pointers for the core.

The types of the routines are checked when this file is compiled (no pointer casts) and again when it is
imported (SciPy's signature strings). A SciPy whose BLAS takes other integers makes the import fail, and the
caller then leaves the core to its own routines.
"""

from cpython.pycapsule cimport PyCapsule_New
from scipy.linalg.cython_blas cimport dgemm, sgemm
from scipy.linalg.cython_lapack cimport dposv, dsyevd, sposv


cdef extern from "matfac/blas.hpp" namespace "matfac" nogil:
    const char *kBlasCapsule

    cdef struct BlasTable:
        void (*sgemm)(char *, char *, int *, int *, int *, float *, float *, int *, float *, int *,
                      float *, float *, int *) noexcept nogil
        void (*dgemm)(char *, char *, int *, int *, int *, double *, double *, int *, double *, int *,
                      double *, double *, int *) noexcept nogil
        void (*sposv)(char *, int *, int *, float *, int *, float *, int *, int *) noexcept nogil
        void (*dposv)(char *, int *, int *, double *, int *, double *, int *, int *) noexcept nogil
        void (*dsyevd)(char *, char *, int *, double *, int *, double *, double *, int *, int *, int *,
                       int *) noexcept nogil


cdef BlasTable _table
_table.sgemm = sgemm
_table.dgemm = dgemm
_table.sposv = sposv
_table.dposv = dposv
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
