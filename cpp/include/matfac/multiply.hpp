// A sparse matrix times a factor table, as side features need it.
#pragma once
#include "matfac/parallel.hpp"
#include "matfac/views.hpp"

namespace matfac {

// out = matrix table; a row is summed by one thread, long ones in double.
template <class T>
void multiply(const CsrView<T>& matrix, TableView<const T> table, TableView<T> out, int n_threads,
              Control& control);

}  // namespace matfac
