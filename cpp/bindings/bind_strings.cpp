#include "matfac/strings.hpp"
#include "numpy_views.hpp"

namespace matfac::bindings {

namespace {

py::tuple number_strings_of(const Array<std::int64_t>& bounds, const Array<std::uint8_t>& data) {
    if (bounds.ndim() != 1 || bounds.shape(0) < 1) refuse("bounds", "must be a vector of n + 1 elements");
    const std::int64_t n = bounds.shape(0) - 1;
    const std::int64_t* const at = vector_of(bounds, n + 1, "bounds");
    const auto* const text = reinterpret_cast<const char*>(vector_of(data, data.size(), "data"));
    if (at[0] < 0 || at[n] > data.size()) refuse("bounds", "must lie within data");
    for (std::int64_t i = 0; i < n; ++i)
        if (at[i + 1] < at[i]) refuse("bounds", "must not fall");
    py::array_t<std::int32_t> numbers(n);
    std::int32_t* const to = numbers.mutable_data();
    Interruptible call;
    const auto firsts = call.run(
        [&](Control& control) { return number_strings({n, at, text}, to, control); });
    return py::make_tuple(numbers, py::array_t<std::int64_t>(static_cast<py::ssize_t>(firsts.size()),
                                                             firsts.data()));
}

}  // namespace

void bind_strings(py::module_& m) {
    m.def("number_strings", &number_strings_of, py::arg("bounds").noconvert(),
          py::arg("data").noconvert(),
          "Each string's number, in the order in which they first occur, and where they do.");
}

}  // namespace matfac::bindings
