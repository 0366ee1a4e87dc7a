// CSR of the transpose, by a parallel counting sort.
#pragma once
#include <cstdint>

#include "matfac/parallel.hpp"
#include "matfac/views.hpp"

namespace matfac {

// Writes the transpose of `from`: indptr (n_cols + 1), indices, values and, where `from` has
// weights, weights (nnz each). Row numbers within a column come out in rising order.
template <class T>
void transpose(const CsrView<T>& from, std::int64_t* indptr, std::int32_t* indices, T* values,
               T* weights, int n_threads, Control& control);

}  // namespace matfac
