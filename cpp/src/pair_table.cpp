#include "matfac/pair_table.hpp"

#include <algorithm>

#include "matfac/kernels.hpp"

namespace matfac {

namespace {

constexpr std::int64_t kBytes = std::int64_t{1} << 26;  // of Z, at most
constexpr std::int64_t kRows = 64;                      // of it per hand-out

std::int64_t panels_for(std::int64_t k, std::int64_t width) {
    return (k * (k + 1) / 2 + width - 1) / width;
}

}  // namespace

template <class T>
bool PairTable<T>::worth(TableView<const T> fixed) {
    const std::int64_t elements = fixed.n_rows * panels_for(fixed.k, kWidth) * kWidth;
    return fixed.k <= kLongest && elements * static_cast<std::int64_t>(sizeof(T)) <= kBytes;
}

template <class T>
PairTable<T>::PairTable(TableView<const T> fixed, int n_threads, Control& control)
    : fixed_(fixed), panels_(panels_for(fixed.k, kWidth)) {
    const std::int64_t n = fixed.n_rows, k = fixed.k;
    z_ = Buffer<T>(static_cast<std::size_t>(n * width()));
    for_chunks(n_threads, (n + kRows - 1) / kRows, control, [&](std::int64_t chunk, int) {
        Buffer<T> row(static_cast<std::size_t>(width()));  // its padding stays zero
        for (std::int64_t j = chunk * kRows; j < std::min(n, (chunk + 1) * kRows); ++j) {
            const T* y = fixed.row(j);
            T* product = row.data();
            for (std::int64_t a = 0; a < k; ++a)
                for (std::int64_t b = a; b < k; ++b) *product++ = y[a] * y[b];
            for (std::int64_t p = 0; p < panels_; ++p)
                std::copy_n(row.data() + p * kWidth, kWidth, z_.data() + (p * n + j) * kWidth);
        }
    });
}

template <class T>
void PairTable<T>::add(const T* weights, std::int64_t stride, std::int64_t n, std::int64_t begin,
                       std::int64_t depth, T* sums) const {
    const auto& kernel = kernels<T>();
    for (std::int64_t p = 0; p < panels_; ++p)
        kernel.multiply_add(sums + p * n * kWidth, kWidth, weights, stride, 1,
                            z_.data() + (p * fixed_.n_rows + begin) * kWidth, kWidth, n, kWidth,
                            depth);
}

template <class T>
void PairTable<T>::unpack(const T* sums, std::int64_t n, std::int64_t i, T* gram) const {
    std::int64_t at = 0;  // among the pairs
    for (std::int64_t a = 0; a < fixed_.k; ++a)
        for (std::int64_t b = a; b < fixed_.k; ++b, ++at)
            gram[a * fixed_.stride + b] = sums[(at / kWidth * n + i) * kWidth + at % kWidth];
}

template class PairTable<float>;
template class PairTable<double>;

}  // namespace matfac
