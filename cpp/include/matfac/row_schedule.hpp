// In which order a half sweep solves its rows, and in which chunks the threads take them.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "matfac/kernels.hpp"

namespace matfac {

constexpr std::int64_t kGiant = 32768;        // longer rows' Grams are shared out among the threads
constexpr std::int64_t kChunkEntries = 8192;  // work per hand-out
constexpr std::int64_t kChunkRows = 256;
// Of a batch's entries, to a row of the table: so many share what it costs to bring that from memory.
constexpr std::int64_t kBatchShare = 24;
constexpr std::int64_t kBatchVectors = 1 << 18;  // elements of a batch's directions: a cache holds them
// Bytes; a smaller table stays in the cache that cores share.
constexpr std::int64_t kCached = std::int64_t{1} << 25;

struct RowSchedule {
    std::vector<std::int32_t> order;  // rows, longest first
    // Rows in front whose values are to be summed one by one: what the threads decide about them,
    // batches, leaves the sum as it is.
    std::int64_t apart = 0;
    std::int64_t giants = 0;           // those of them that all threads solve
    std::vector<std::int64_t> chunks;  // bounds within order, after the giants
    std::int64_t batches = 0;          // chunks in front whose rows are solved together
    std::int64_t batch_entries = 0;    // of any of them, padded row by row, and rows: at most
    std::int64_t batch_rows = 0;
    std::int64_t longest = 0;  // entries of a row that is solved alone

    template <class T>
    RowSchedule(const CsrView<T>& ratings, const TableView<T>& table, bool by_gram, int n_threads) {
        const std::int64_t n_rows = ratings.n_rows;
        sort(ratings);
        const std::int64_t least = by_gram ? kGiant : kCgTile(table.stride);
        while (apart < n_rows && ratings.length(order[apart]) >= least) ++apart;
        if (by_gram) giants = apart;
        chunks.push_back(giants);
        if (!by_gram) batch(ratings, table, n_threads);
        std::int64_t entries = 0;
        for (std::int64_t i = chunks.back(); i < n_rows; ++i) {
            const std::int64_t n = ratings.length(order[i]);
            longest = std::max(longest, n);
            entries += n;
            if (entries < kChunkEntries && i + 1 - chunks.back() < kChunkRows && i + 1 < n_rows &&
                i + 1 != apart)
                continue;
            chunks.push_back(i + 1);
            entries = 0;
        }
    }

    std::int64_t n_chunks() const { return static_cast<std::int64_t>(chunks.size()) - 1; }

private:
    // By powers of two, so that no thread is left with a long row at the end; rows of about the same
    // length stay in index order, for locality.
    template <class T>
    void sort(const CsrView<T>& ratings) {
        const auto bucket = [&](std::int64_t row) {
            int b = 63;
            for (std::int64_t n = ratings.length(row); n > 0; n >>= 1) --b;
            return b;
        };
        std::vector<std::int64_t> start(65, 0);
        for (std::int64_t row = 0; row < ratings.n_rows; ++row) ++start[bucket(row) + 1];
        for (int b = 0; b < 64; ++b) start[b + 1] += start[b];
        order.resize(static_cast<std::size_t>(ratings.n_rows));
        for (std::int64_t row = 0; row < ratings.n_rows; ++row)
            order[start[bucket(row)]++] = static_cast<std::int32_t>(row);
    }

    // The long rows of conjugate gradient in chunks that are solved together (banded_cg.hpp), where
    // the table is one that no cache holds, and each of its rows has entries enough in a batch. The
    // threads' copies of their terms stay far below the matrix.
    template <class T>
    void batch(const CsrView<T>& ratings, const TableView<T>& table, int n_threads) {
        if (table.n_rows * table.stride * static_cast<std::int64_t>(sizeof(T)) < kCached) return;
        std::int64_t all = 0, entries = 0;
        for (std::int64_t i = 0; i < apart; ++i) all += ratings.length(order[i]);
        // As many to each thread, two or more.
        const std::int64_t most = n_threads * kBatchShare * table.n_rows;
        const std::int64_t share = all / (n_threads * std::max<std::int64_t>(2, (all + most - 1) / most));
        if (share < 2 * table.n_rows) return;
        for (std::int64_t i = 0; i < apart; ++i) {
            entries += padded(ratings.length(order[i]));
            const std::int64_t rows = i + 1 - chunks.back();
            if (entries < share && rows * table.stride < kBatchVectors && i + 1 < apart) continue;
            batch_entries = std::max(batch_entries, entries);
            batch_rows = std::max(batch_rows, rows);
            chunks.push_back(i + 1);
            entries = 0;
        }
        batches = n_chunks();
    }
};

}  // namespace matfac
