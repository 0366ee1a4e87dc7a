// Dense linear algebra on one small matrix, outside parallel regions.
#pragma once
#include <cstdint>

#include "matfac/blas.hpp"
#include "matfac/parallel.hpp"

namespace matfac {

// Eigenvalues, ascending, and eigenvectors, as rows, of a symmetric n x n matrix, in place of it.
// LAPACK's divide and conquer where the table has it, else cyclic Jacobi. Where control says stop
// a large decomposition is left to itself, and matrix and values are of no use.
void symmetric_eigen(const BlasTable& blas, std::int64_t n, double* matrix, double* values,
                     Control& control);

}  // namespace matfac
