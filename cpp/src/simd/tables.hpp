// Between targets.cpp, which compiles the tables, and dispatch.cpp, which chooses one.
#pragma once
#include "matfac/kernels.hpp"

namespace matfac::simd {

template <class T>
const KernelTable<T>* table(Isa isa);  // null where this build has none

}  // namespace matfac::simd
