// NumPy arrays as views of the core: checked here, never copied or converted.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string>

#include "matfac/kernels.hpp"
#include "matfac/parallel.hpp"
#include "matfac/views.hpp"

namespace matfac::bindings {

namespace py = pybind11;

template <class T>
using Array = py::array_t<T, py::array::c_style>;  // arguments of it are noconvert()
template <class T>
using MaybeArray = std::optional<Array<T>>;

[[noreturn]] inline void refuse(const std::string& argument, const std::string& why) {
    throw py::value_error(argument + " " + why);
}

constexpr std::int64_t kMostFactors = std::int64_t{1} << 20;

inline void check_factors(std::int64_t k) {
    if (k < 1 || k > kMostFactors) refuse("k", "must lie in 1.." + std::to_string(kMostFactors));
}

// Vectors may begin at any element, but not within one.
template <class T>
void check_aligned(const Array<T>& array, const char* argument) {
    if (reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) != 0)
        refuse(argument, "must be aligned");
}

// A vector of exactly n elements.
template <class T>
const T* vector_of(const Array<T>& array, std::int64_t n, const char* argument) {
    if (array.ndim() != 1 || array.shape(0) != n)
        refuse(argument, "must be a vector of " + std::to_string(n) + " elements");
    check_aligned(array, argument);
    return array.data();
}
template <class T>
const T* vector_of(const MaybeArray<T>& array, std::int64_t n, const char* argument) {
    return array ? vector_of(*array, n, argument) : nullptr;
}
template <class T>
T* mutable_vector_of(MaybeArray<T>& array, std::int64_t n, const char* argument) {
    if (!array) return nullptr;
    vector_of(*array, n, argument);
    return array->mutable_data();  // ValueError where the array is read-only
}

template <class T>
void check_table(const Array<T>& array, std::int64_t k, const char* argument) {
    if (array.ndim() != 2) refuse(argument, "must have two dimensions");
    check_factors(k);
    check_aligned(array, argument);
    if (array.shape(1) != padded(k))
        refuse(argument, "must have k = " + std::to_string(k) + " columns padded to a multiple of " +
                             std::to_string(kLanes) + ", not " + std::to_string(array.shape(1)));
    if (array.shape(0) > std::numeric_limits<std::int32_t>::max())
        refuse(argument, "must have fewer than 2^31 rows");
}
template <class T>
TableView<const T> table_of(const Array<T>& array, std::int64_t k, const char* argument) {
    check_table(array, k, argument);
    return {array.shape(0), k, array.shape(1), array.data()};
}
template <class T>
TableView<T> mutable_table_of(Array<T>& array, std::int64_t k, const char* argument) {
    check_table(array, k, argument);
    return {array.shape(0), k, array.shape(1), array.mutable_data()};
}

// SgdRow as four columns, so that Python sees bias, gradient sum and decay as one array.
template <class T>
SgdRow<T>* rows_of(Array<T>& array, std::int64_t n, const char* argument) {
    static_assert(sizeof(SgdRow<T>) == 4 * sizeof(T));
    if (array.ndim() != 2 || array.shape(0) != n || array.shape(1) != 4)
        refuse(argument, "must be " + std::to_string(n) + " x 4");
    check_aligned(array, argument);
    return reinterpret_cast<SgdRow<T>*>(array.mutable_data());
}

inline void check_rows(std::int64_t found, std::int64_t wanted, const char* argument) {
    if (found != wanted)
        refuse(argument, "must have " + std::to_string(wanted) + " rows, not " +
                             std::to_string(found));
}

inline void check_indices(const Array<std::int32_t>& array, std::int64_t limit,
                          const char* argument) {
    for (py::ssize_t i = 0; i < array.size(); ++i)
        if (array.data()[i] < 0 || array.data()[i] >= limit)
            refuse(argument, "must lie in 0.." + std::to_string(limit - 1));
}

// Row pointers of a CSR pattern of n_rows rows.
inline const std::int64_t* indptr_of(const Array<std::int64_t>& array, std::int64_t n_rows,
                                     const char* argument) {
    const std::int64_t* indptr = vector_of(array, n_rows + 1, argument);
    if (indptr[0] != 0) refuse(argument, "must start with 0");
    for (std::int64_t i = 0; i < n_rows; ++i)
        if (indptr[i + 1] < indptr[i]) refuse(argument, "must not fall");
    return indptr;
}

inline int checked_threads(int n_threads) {
    if (n_threads < 1 || n_threads > 4096) refuse("n_threads", "must lie in 1..4096");
    return n_threads;
}

// A CSR matrix whose arrays were checked once and are kept alive.
template <class T>
struct Csr {
    Array<std::int64_t> indptr;
    Array<std::int32_t> indices;
    Array<T> values;
    MaybeArray<T> weights;
    CsrView<T> view;
};

// Polls Python's signals for one native call; they reach the main thread alone.
class Interruptible {
public:
    Interruptible() {
        const py::object threading = py::module_::import("threading");
        const py::object main = threading.attr("main_thread")().attr("ident");
        if (main.equal(threading.attr("get_ident")()))
            control.interrupted = [] {
                py::gil_scoped_acquire gil;
                return PyErr_CheckSignals() != 0;
            };
    }
    // Runs pure C++ without the GIL, then raises what a signal handler raised meanwhile.
    template <class Work>
    auto run(Work&& work) {
        auto result = [&] {
            py::gil_scoped_release release;  // `work` touches no Python object
            return work(control);
        }();
        if (PyErr_Occurred() != nullptr) throw py::error_already_set();
        return result;
    }

    Control control;
};

}  // namespace matfac::bindings
