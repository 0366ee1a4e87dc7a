#include <algorithm>
#include <string>

#include "matfac/passes.hpp"
#include "matfac/transpose.hpp"
#include "numpy_views.hpp"

namespace matfac::bindings {

namespace {

constexpr std::int64_t kLook = 1 << 20;  // indices between looks at the clock

template <class I>
[[noreturn]] void refuse_index(const I* indices, std::int64_t n, std::int64_t limit) {
    const I* const odd = std::find_if(indices, indices + n, [&](I i) { return i < 0 || i >= limit; });
    refuse("indices", "must lie in 0.." + std::to_string(limit - 1) + ", not " + std::to_string(*odd));
}

// Every later call trusts these arrays, so each index is looked at once, here.
template <class T>
Csr<T> make_csr(std::int64_t n_cols, Array<std::int64_t> indptr, Array<std::int32_t> indices,
                Array<T> values, MaybeArray<T> weights) {
    constexpr auto most = std::numeric_limits<std::int32_t>::max();
    if (indptr.ndim() != 1 || indptr.shape(0) < 1 || indptr.shape(0) - 1 > most)
        refuse("indptr", "must be a vector of n_rows + 1 <= 2^31 elements");
    if (n_cols < 0 || n_cols > most) refuse("n_cols", "must lie in 0..2^31 - 1");
    const std::int64_t n_rows = indptr.shape(0) - 1;
    check_aligned(indptr, "indptr");
    const std::int64_t* p = indptr.data();
    if (p[0] != 0) refuse("indptr", "must start with 0");
    for (std::int64_t i = 0; i < n_rows; ++i)
        if (p[i + 1] < p[i]) refuse("indptr", "must not fall");
    const std::int64_t nnz = p[n_rows];
    const std::int32_t* index = vector_of(indices, nnz, "indices");
    const auto limit = static_cast<std::uint32_t>(n_cols);
    Interruptible call;
    const bool inside = call.run([&](Control& control) {
        bool all = true;
        for (std::int64_t b = 0; b < nnz && !control.stopped(0); b += kLook)
            for (std::int64_t e = b; e < std::min(nnz, b + kLook); ++e)
                all &= static_cast<std::uint32_t>(index[e]) < limit;
        return all;
    });
    if (!inside) refuse_index(index, nnz, n_cols);
    bool full = nnz == n_rows * n_cols;
    for (std::int64_t i = 0; i < n_rows && full; ++i)
        for (std::int64_t j = 0; j < n_cols; ++j) full &= index[i * n_cols + j] == j;
    CsrView<T> view{n_rows, n_cols, p, index, vector_of(values, nnz, "values"),
                    vector_of(weights, nnz, "weights"), full};
    return {std::move(indptr), std::move(indices), std::move(values), std::move(weights), view};
}

template <class T>
py::tuple transposed_arrays(const Csr<T>& csr, int n_threads) {
    checked_threads(n_threads);
    const auto nnz = static_cast<py::ssize_t>(csr.view.nnz());
    py::array_t<std::int64_t> indptr(csr.view.n_cols + 1);
    py::array_t<std::int32_t> indices(nnz);
    py::array_t<T> values(nnz);
    std::optional<py::array_t<T>> weights;
    if (csr.weights) weights.emplace(nnz);
    std::int64_t* to_indptr = indptr.mutable_data();
    std::int32_t* to_indices = indices.mutable_data();
    T* to_values = values.mutable_data();
    T* to_weights = weights ? weights->mutable_data() : nullptr;
    Interruptible call;
    call.run([&](Control& control) {
        transpose(csr.view, to_indptr, to_indices, to_values, to_weights, n_threads, control);
        return 0;
    });
    return py::make_tuple(indptr, indices, values, weights);
}

py::array_t<std::int32_t> narrow_indices(const Array<std::int64_t>& indices, std::int64_t n_cols,
                                         int n_threads) {
    checked_threads(n_threads);
    if (n_cols < 0 || n_cols > std::numeric_limits<std::int32_t>::max())
        refuse("n_cols", "must lie in 0..2^31 - 1");
    const std::int64_t n = indices.size();
    const std::int64_t* const from = vector_of(indices, n, "indices");
    py::array_t<std::int32_t> narrowed(n);
    std::int32_t* const to = narrowed.mutable_data();
    Interruptible call;
    const bool fit = call.run([&](Control& control) { return narrow(from, n, to, n_threads, control); });
    if (!fit) refuse_index(from, n, n_cols);
    return narrowed;
}

template <class T>
py::tuple value_range_of(const Array<T>& values, int n_threads) {
    checked_threads(n_threads);
    const T* const data = vector_of(values, values.size(), "values");
    const std::int64_t n = values.size();
    Interruptible call;
    const auto [least, most] = call.run(
        [&](Control& control) { return value_range(data, n, n_threads, control); });
    return py::make_tuple(least, most);
}

template <class T>
py::array_t<double> row_sums_of(const Array<std::int64_t>& indptr, const Array<T>& values,
                                const MaybeArray<T>& weights, int n_threads) {
    checked_threads(n_threads);
    if (indptr.ndim() != 1 || indptr.shape(0) < 1) refuse("indptr", "must be a vector of n_rows + 1 elements");
    const std::int64_t n_rows = indptr.shape(0) - 1;
    const std::int64_t* const bounds = indptr_of(indptr, n_rows, "indptr");
    const T* const data = vector_of(values, bounds[n_rows], "values");
    const T* const factors = vector_of(weights, bounds[n_rows], "weights");
    py::array_t<double> sums(n_rows);
    double* const to = sums.mutable_data();
    Interruptible call;
    call.run([&](Control& control) {
        row_sums(bounds, n_rows, data, factors, to, n_threads, control);
        return 0;
    });
    return sums;
}

template <class T>
void bind(py::module_& m, const char* name) {
    m.def("value_range", &value_range_of<T>, py::arg("values").noconvert(), py::arg("n_threads"),
          "The least and the largest value; both NaN where one is not finite, 0 of none.");
    m.def("row_sums", &row_sums_of<T>, py::arg("indptr").noconvert(), py::arg("values").noconvert(),
          py::arg("weights").noconvert(), py::arg("n_threads"),
          "Each row's sum of values, times weights unless None.");
    py::class_<Csr<T>>(m, name, "A checked CSR matrix of one value type.")
        .def(py::init(&make_csr<T>), py::arg("n_cols"), py::arg("indptr").noconvert(),
             py::arg("indices").noconvert(), py::arg("values").noconvert(),
             py::arg("weights").noconvert() = py::none())
        .def_property_readonly("shape", [](const Csr<T>& csr) {
            return py::make_tuple(csr.view.n_rows, csr.view.n_cols);
        })
        .def_property_readonly("nnz", [](const Csr<T>& csr) { return csr.view.nnz(); })
        .def_readonly("indptr", &Csr<T>::indptr)
        .def_readonly("indices", &Csr<T>::indices)
        .def_readonly("values", &Csr<T>::values)
        .def_readonly("weights", &Csr<T>::weights)
        .def("transposed_arrays", &transposed_arrays<T>, py::arg("n_threads"),
             "indptr, indices, values and weights (or None) of the transpose.");
}

}  // namespace

void bind_csr(py::module_& m) {
    m.def("narrow_indices", &narrow_indices, py::arg("indices").noconvert(), py::arg("n_cols"),
          py::arg("n_threads"), "Column indices of 64 bits as such of 32 bits.");
    bind<float>(m, "CsrFloat32");
    bind<double>(m, "CsrFloat64");
}

}  // namespace matfac::bindings
