// The Grams of many rows that all have every entry, by one matrix product.
#pragma once
#include <cstdint>

#include "matfac/memory.hpp"
#include "matfac/parallel.hpp"
#include "matfac/views.hpp"

namespace matfac {

// Row j of the matrix Z holds the products of y_j's coordinates, each pair once. With W the rows'
// weights, row i of W Z is then the upper part of sum_j w_ij y_j y_j': half the products of Grams
// formed one by one, at the speed of a product of large matrices.
template <class T>
class PairTable {
public:
    static constexpr std::int64_t kWidth = 2 * kLanes;  // columns of a panel of Z
    static constexpr std::int64_t kDepth = 256;         // rows of it that stay in the L1 cache

    // Measured: longer factors gain nothing. Z has to stay small, too.
    static constexpr std::int64_t kLongest = 64;
    static bool worth(TableView<const T> fixed);

    PairTable(TableView<const T> fixed, int n_threads, Control& control);

    // Elements per row of `sums`.
    std::int64_t width() const { return panels_ * kWidth; }

    // sums += weights (n x depth, rows `stride` apart) times rows [begin, begin + depth) of Z.
    // sums: panel by panel, each n x kWidth.
    void add(const T* weights, std::int64_t stride, std::int64_t n, std::int64_t begin,
             std::int64_t depth, T* sums) const;

    // The upper part of `gram` (stride x stride) = row i of such sums of n rows.
    void unpack(const T* sums, std::int64_t n, std::int64_t i, T* gram) const;

private:
    TableView<const T> fixed_;
    std::int64_t panels_;
    Buffer<T> z_;  // by panels, each fixed_.n_rows x kWidth
};

}  // namespace matfac
