#include <algorithm>
#include <cmath>
#include <string>

#include "blas_table.hpp"
#include "matfac/aside.hpp"
#include "matfac/kernels.hpp"
#include "matfac/memory.hpp"
#include "matfac/random_table.hpp"
#include "numpy_views.hpp"

#ifndef MATFAC_BUILD_FLAGS
#define MATFAC_BUILD_FLAGS ""
#endif

namespace matfac::bindings {

namespace {

BlasTable& mutable_blas_table() {
    static BlasTable table;
    return table;
}

std::string compiler() {
#if defined(__clang__)
    return "clang " __clang_version__;
#elif defined(__GNUC__)
    return "gcc " __VERSION__;
#else
    return "unknown";
#endif
}

Isa isa_named(const std::string& name) {
    for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
        if (name == isa_name(isa)) return isa;
    throw py::value_error("unknown instruction set '" + name +
                          "': use baseline, avx2 or avx512");
}

py::dict build_info() {
    py::dict info;
    info["compiler"] = compiler();
    info["flags"] = MATFAC_BUILD_FLAGS;
    info["openmp"] = std::string(openmp_version());
#ifdef MATFAC_NATIVE
    info["native"] = true;
#else
    info["native"] = false;
#endif
    return info;
}

template <class T>
py::array empty_table(std::int64_t n_rows, std::int64_t k) {
    check_factors(k);
    if (n_rows < 0 || n_rows > std::numeric_limits<std::int32_t>::max())
        refuse("n_rows", "must lie in 0..2^31 - 1");
    const std::int64_t stride = padded(k);
    auto* buffer = new Buffer<T>(static_cast<std::size_t>(n_rows * stride));
    py::capsule owner(buffer, [](void* p) { delete static_cast<Buffer<T>*>(p); });
    return py::array_t<T>({n_rows, stride}, buffer->data(), owner);
}

template <class T>
py::array random_table(std::int64_t n_rows, std::int64_t k, double deviation, std::uint64_t seed,
                       bool nonnegative, int n_threads) {
    checked_threads(n_threads);
    if (!(deviation > 0) || !std::isfinite(deviation)) refuse("std", "must be finite and above 0");
    py::array table = empty_table<T>(n_rows, k);
    const TableView<T> view{n_rows, k, padded(k), static_cast<T*>(table.mutable_data())};
    Interruptible call;
    call.run([&](Control& control) {
        fill_random(view, deviation, seed, nonnegative, n_threads, control);
        return 0;
    });
    return table;
}

template <class T>
void copy_array(Array<T> to, const Array<T>& array, int n_threads) {
    checked_threads(n_threads);
    if (to.ndim() != array.ndim() || !std::equal(to.shape(), to.shape() + to.ndim(), array.shape()))
        refuse("to", "must have the shape of array");
    char* const data = reinterpret_cast<char*>(to.mutable_data());
    const char* const from = reinterpret_cast<const char*>(array.data());
    const auto bytes = static_cast<std::size_t>(array.nbytes());
    Interruptible call;
    call.run([&](Control& control) {
        copy_bytes(data, from, bytes, n_threads, control);
        return 0;
    });
}

template <class T>
void bind_copy(py::module_& m) {
    m.def("copy_array", &copy_array<T>, py::arg("to").noconvert(), py::arg("array").noconvert(),
          py::arg("n_threads"), "Copies an array over another of its shape.");
}

}  // namespace

const BlasTable& blas_table() { return mutable_blas_table(); }

void bind_config(py::module_& m) {
    m.def("build_info", &build_info, "Compiler, flags and OpenMP of this build.");
    m.def("isas", [] {
        py::list names;
        for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512})
            if (isa_available(isa)) names.append(isa_name(isa));
        return names;
    }, "Instruction sets compiled in and supported here, best last.");
    m.def("isa", [] { return std::string(isa_name(isa_in_use())); }, "The set in use.");
    m.def("use_isa", [](const std::string& name) { use_isa(isa_named(name)); }, py::arg("name"),
          "Choose the kernels. Not while a solver runs.");
    m.def("max_threads", &max_threads, "Threads OpenMP would start.");
    m.def("release_thread_pool", &release_thread_pool,
          "Free the calling thread's OpenMP pool: to be called before a fork.");
    m.def("wait_for_calls_aside", &wait_for_calls_aside, py::call_guard<py::gil_scoped_release>(),
          "Wait for calls into LAPACK that Ctrl-C left: before a fork, and at exit.");
    m.def("set_blas", [](const py::capsule& capsule) {
        if (std::string(capsule.name() != nullptr ? capsule.name() : "") != kBlasCapsule)
            refuse("capsule", std::string("must be named ") + kBlasCapsule);
        mutable_blas_table() = *capsule.get_pointer<BlasTable>();
    }, py::arg("capsule"), "Hand the core SciPy's BLAS and LAPACK.");
    m.def("has_blas", [] { return blas_table().dsyevd != nullptr; },
          "Whether set_blas was called.");
    m.def("empty_table", [](std::int64_t n_rows, std::int64_t k, const std::string& dtype) {
        if (dtype == "float32") return empty_table<float>(n_rows, k);
        if (dtype == "float64") return empty_table<double>(n_rows, k);
        throw py::value_error("dtype must be 'float32' or 'float64', not '" + dtype + "'");
    }, py::arg("n_rows"), py::arg("k"), py::arg("dtype"),
          "A zeroed factor table, n_rows x k padded, aligned, on huge pages if large.");
    m.def("random_table", [](std::int64_t n_rows, std::int64_t k, const std::string& dtype,
                             double std, std::uint64_t seed, bool nonnegative, int n_threads) {
        if (dtype == "float32")
            return random_table<float>(n_rows, k, std, seed, nonnegative, n_threads);
        if (dtype == "float64")
            return random_table<double>(n_rows, k, std, seed, nonnegative, n_threads);
        throw py::value_error("dtype must be 'float32' or 'float64', not '" + dtype + "'");
    }, py::arg("n_rows"), py::arg("k"), py::arg("dtype"), py::arg("std"), py::arg("seed"),
          py::arg("nonnegative"), py::arg("n_threads"),
          "Such a table of random factors, the same for any thread count.");
    bind_copy<float>(m);
    bind_copy<double>(m);
    m.attr("LANES") = kLanes;
}

}  // namespace matfac::bindings
