#include "matfac/passes.hpp"

#include <algorithm>
#include <vector>

#include "matfac/kernels.hpp"

namespace matfac {

namespace {

constexpr std::int64_t kPart = 1 << 16;  // values a thread takes at a time

}  // namespace

template <class T>
std::pair<T, T> value_range(const T* values, std::int64_t n, int n_threads, Control& control) {
    if (n == 0) return {T(0), T(0)};
    const auto& kernel = kernels<T>();
    std::vector<std::pair<T, T>> found(static_cast<std::size_t>((n + kPart - 1) / kPart));
    for_chunks(n_threads, static_cast<std::int64_t>(found.size()), control, [&](std::int64_t part, int) {
        kernel.values_range(values + part * kPart, std::min(kPart, n - part * kPart), &found[part].first,
                            &found[part].second);
    });
    std::pair<T, T> all = found[0];
    for (const std::pair<T, T>& each : found) {
        if (each.first != each.first) return each;  // NaN
        all = {std::min(all.first, each.first), std::max(all.second, each.second)};
    }
    return all;
}

template <class T>
void row_sums(const std::int64_t* indptr, std::int64_t n_rows, const T* values, const T* weights,
              double* sums, int n_threads, Control& control) {
    const auto& kernel = kernels<T>();
    const std::int64_t* const end = indptr + n_rows;
    // A part has the rows that begin in it, the last one empty rows after the last entry too.
    const std::int64_t parts = *end / kPart + 1;
    for_chunks(n_threads, parts, control, [&](std::int64_t part, int thread) {
        const std::int64_t* row = std::lower_bound(indptr, end, part * kPart);
        const std::int64_t* const last =
            part + 1 < parts ? std::lower_bound(row, end, (part + 1) * kPart) : end;
        for (; row < last; ++row) {
            double sum = 0;
            for (std::int64_t b = row[0]; b < row[1] && !control.stopped(thread); b += kPart)
                sum += kernel.values_sum(values + b, weights != nullptr ? weights + b : nullptr,
                                         std::min(kPart, row[1] - b));
            sums[row - indptr] = sum;
        }
    });
}

bool narrow(const std::int64_t* from, std::int64_t n, std::int32_t* to, int n_threads, Control& control) {
    std::vector<std::uint64_t> all(static_cast<std::size_t>((n + kPart - 1) / kPart), 0);
    for_chunks(n_threads, static_cast<std::int64_t>(all.size()), control, [&](std::int64_t part, int) {
        std::uint64_t bits = 0;
        for (std::int64_t i = part * kPart; i < std::min(n, (part + 1) * kPart); ++i) {
            bits |= static_cast<std::uint64_t>(from[i]);
            to[i] = static_cast<std::int32_t>(from[i]);
        }
        all[part] = bits;
    });
    return std::all_of(all.begin(), all.end(), [](std::uint64_t bits) { return bits >> 31 == 0; });
}

template std::pair<float, float> value_range<float>(const float*, std::int64_t, int, Control&);
template std::pair<double, double> value_range<double>(const double*, std::int64_t, int, Control&);
template void row_sums<float>(const std::int64_t*, std::int64_t, const float*, const float*, double*,
                              int, Control&);
template void row_sums<double>(const std::int64_t*, std::int64_t, const double*, const double*, double*,
                               int, Control&);

}  // namespace matfac
