// SciPy's routines, as bind_config was handed them; empty until then.
#pragma once
#include "matfac/blas.hpp"

namespace matfac::bindings {

const BlasTable& blas_table();

}  // namespace matfac::bindings
