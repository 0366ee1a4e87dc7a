// Where factors start.
#pragma once
#include <cstdint>

#include "matfac/parallel.hpp"
#include "matfac/views.hpp"

namespace matfac {

// Draws of mean 0 and this standard deviation, nearly normal (each the sum of four uniform ones), or
// their absolute values. A row's depend on the seed and its number alone: any thread count, any ISA.
template <class T>
void fill_random(TableView<T> table, double std, std::uint64_t seed, bool nonnegative,
                 int n_threads, Control& control);

}  // namespace matfac
