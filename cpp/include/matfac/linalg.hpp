// Dense linear algebra on one small matrix, outside parallel regions.
#pragma once
#include <cstdint>

#include "matfac/blas.hpp"

namespace matfac {

// Eigenvalues, ascending, and eigenvectors, as rows, of a symmetric n x n matrix, in place of it.
// LAPACK's divide and conquer where the table has it, else cyclic Jacobi.
void symmetric_eigen(const BlasTable& blas, std::int64_t n, double* matrix, double* values);

}  // namespace matfac
