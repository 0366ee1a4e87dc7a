// The LAPACK routine that the core may borrow from SciPy, as a plain function pointer.
//
// `matfac._blas` (Cython) fills one BlasTable from scipy.linalg.cython_lapack and hands it
// over in a capsule named kBlasCapsule; the bindings copy it with set_blas_table(). A null member
// means "not there": the core then uses its own code, so it runs without SciPy as well.
//
// Threads: the table belongs to a BLAS with threads of its own. Call a member outside parallel regions,
// or inside one only while that BLAS is limited to one thread (the Python side does that once per fit);
// otherwise every OpenMP thread starts a team of BLAS threads, measured up to 230 times slower.
//
// Convention: Fortran. Column major, all arguments by address, 32-bit integers, and no const, because
// the types must be SciPy's exactly: the assignments in _blas.pyx are checked without a cast.
#pragma once

namespace matfac {

inline constexpr char kBlasCapsule[] = "matfac.BlasTable";

struct BlasTable {
    // Eigenvalues (ascending, in w) and, with jobz 'V', eigenvectors (columns of A) of symmetric A.
    // lwork = liwork = -1 asks for the best sizes, returned in work[0] and iwork[0].
    // (jobz, uplo, n, A, lda, w, work, lwork, iwork, liwork, info)
    void (*dsyevd)(char*, char*, int*, double*, int*, double*, double*, int*, int*, int*,
                   int*) = nullptr;
};

}  // namespace matfac
