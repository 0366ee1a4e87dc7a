#include "matfac/random_table.hpp"

#include <algorithm>
#include <cmath>

#include "matfac/rng.hpp"

namespace matfac {

namespace {

constexpr std::int64_t kRows = 1024;         // per hand-out
constexpr std::int32_t kMiddle = 2 * 65535;  // of four draws from 0..65535

// One word of random bits makes one draw.
std::int32_t sum_of_four(std::uint64_t bits) {
    return static_cast<std::int32_t>((bits & 0xffff) + (bits >> 16 & 0xffff) +
                                     (bits >> 32 & 0xffff) + (bits >> 48));
}

}  // namespace

template <class T>
void fill_random(TableView<T> table, double std, std::uint64_t seed, bool nonnegative,
                 int n_threads, Control& control) {
    const T scale = static_cast<T>(std / std::sqrt(4 * (65536.0 * 65536.0 - 1) / 12));
    for_chunks(n_threads, (table.n_rows + kRows - 1) / kRows, control,
               [&](std::int64_t chunk, int) {
                   const std::int64_t end = std::min(table.n_rows, (chunk + 1) * kRows);
                   for (std::int64_t i = chunk * kRows; i < end; ++i) {
                       const std::uint64_t key = keyed(seed, static_cast<std::uint64_t>(i));
                       T* row = table.row(i);
                       for (std::int64_t j = 0; j < table.k; ++j) {
                           const std::uint64_t bits = mix(key + static_cast<std::uint64_t>(j));
                           const T draw = static_cast<T>(sum_of_four(bits) - kMiddle) * scale;
                           row[j] = nonnegative ? std::abs(draw) : draw;
                       }
                   }
               });
}

template void fill_random<float>(TableView<float>, double, std::uint64_t, bool, int, Control&);
template void fill_random<double>(TableView<double>, double, std::uint64_t, bool, int, Control&);

}  // namespace matfac
