// Non-owning views: pointers and shapes only. Whoever makes one keeps the memory alive.
#pragma once
#include <cstdint>

namespace matfac {

// Rows are counted in 32 bits, entries in 64.
template <class T>
struct CsrView {
    std::int64_t n_rows = 0;
    std::int64_t n_cols = 0;
    const std::int64_t* indptr = nullptr;   // n_rows + 1
    const std::int32_t* indices = nullptr;  // indptr[n_rows]
    const T* values = nullptr;              // indptr[n_rows], or null: every value is 1
    const T* weights = nullptr;             // indptr[n_rows], or null: every weight is 1
    bool full = false;                      // known to hold every column of every row, in order

    std::int64_t nnz() const { return n_rows > 0 ? indptr[n_rows] : 0; }
    std::int64_t length(std::int64_t row) const { return indptr[row + 1] - indptr[row]; }
};

// A factor table: row-major, stride a multiple of kLanes, columns k..stride zero.
template <class T>
struct TableView {
    std::int64_t n_rows = 0;
    std::int64_t k = 0;
    std::int64_t stride = 0;
    T* data = nullptr;

    T* row(std::int64_t i) const { return data + i * stride; }
};

// Factor rows are padded to this many elements so that no kernel has a tail.
constexpr std::int64_t kLanes = 16;

constexpr std::int64_t padded(std::int64_t k) { return (k + kLanes - 1) / kLanes * kLanes; }

}  // namespace matfac
