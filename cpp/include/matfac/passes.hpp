// Passes over a matrix's arrays: what its checks and the ridges of a fit need.
#pragma once
#include <cstdint>
#include <utility>

#include "matfac/parallel.hpp"

namespace matfac {

// The least and the largest of n values, both NaN where one is not finite; (0, 0) of none.
template <class T>
std::pair<T, T> value_range(const T* values, std::int64_t n, int n_threads, Control& control);

// sums[i] = the sum over row i of values, times weights unless null: in double, and the same for any
// number of threads.
template <class T>
void row_sums(const std::int64_t* indptr, std::int64_t n_rows, const T* values, const T* weights,
              double* sums, int n_threads, Control& control);

// to[i] = from[i]; returns whether every one fits.
bool narrow(const std::int64_t* from, std::int64_t n, std::int32_t* to, int n_threads, Control& control);

}  // namespace matfac
