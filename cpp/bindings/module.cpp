#include <pybind11/pybind11.h>

namespace py = pybind11;

namespace matfac::bindings {
void bind_config(py::module_& m);
void bind_csr(py::module_& m);
void bind_als(py::module_& m);
void bind_sgd(py::module_& m);
void bind_pairwise(py::module_& m);
void bind_serving(py::module_& m);
void bind_metrics(py::module_& m);
void bind_strings(py::module_& m);
}  // namespace matfac::bindings

PYBIND11_MODULE(_core, m, py::mod_gil_not_used()) {
    m.doc() = "The compiled core of matfac. Private: the estimators are the interface.";
    matfac::bindings::bind_config(m);
    matfac::bindings::bind_csr(m);
    matfac::bindings::bind_als(m);
    matfac::bindings::bind_sgd(m);
    matfac::bindings::bind_pairwise(m);
    matfac::bindings::bind_serving(m);
    matfac::bindings::bind_metrics(m);
    matfac::bindings::bind_strings(m);
}
