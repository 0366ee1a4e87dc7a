// Scores of every query row for every item in bounded memory: chunks of queries times panels of items.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "matfac/kernels.hpp"
#include "matfac/memory.hpp"
#include "matfac/parallel.hpp"
#include "matfac/views.hpp"

namespace matfac {

template <class T>
struct Scoring {
    TableView<const T> queries;
    TableView<const T> items;
    const T* item_bias = nullptr;                  // added to the scores, or null
    const std::int64_t* exclude_indptr = nullptr;  // per query row, sorted item numbers; or null
    const std::int32_t* exclude_indices = nullptr;
    int n_threads = 1;
};

constexpr std::int64_t kQueries = 64;  // per hand-out
// Per panel: panel and scores stay in the L2 cache, and rows of 14 (or 28) cache lines do not fall
// on the same few sets of the L1 cache, as rows of a power of two would.
constexpr std::int64_t kItems = 224;

// Calls body(first, n, score_all) for chunks of query rows first..first + n. There
// score_all(visit) calls visit(i, begin, end, scores) for every row first + i and panel of items
// begin..end, panels in rising order; the scores of excluded items are NaN.
template <class T, class Body>
void for_scored_chunks(const Scoring<T>& q, Control& control, Body&& body) {
    const auto& kernel = kernels<T>();
    const std::int64_t n_items = q.items.n_rows, panel_size = q.items.stride * kItems;
    const std::int64_t panels = (n_items + kItems - 1) / kItems;
    Buffer<T> packed(static_cast<std::size_t>(panels * panel_size));
    for_chunks(q.n_threads, panels, control, [&](std::int64_t p, int) {
        kernel.pack(q.items, p * kItems, std::min(n_items, (p + 1) * kItems),
                    packed.data() + p * panel_size);
    });

    const std::int64_t chunks = (q.queries.n_rows + kQueries - 1) / kQueries;
    for_chunks(q.n_threads, chunks, control, [&](std::int64_t chunk, int) {
        const std::int64_t first = chunk * kQueries;
        const std::int64_t n = std::min(kQueries, q.queries.n_rows - first);
        thread_local std::vector<T> tile;
        tile.resize(static_cast<std::size_t>(kQueries * kItems));
        const auto score_all = [&](auto&& visit) {
            std::int64_t next[kQueries] = {};  // of each row's excluded items
            for (std::int64_t i = 0; i < n && q.exclude_indptr != nullptr; ++i)
                next[i] = q.exclude_indptr[first + i];
            for (std::int64_t p = 0; p < panels; ++p) {
                const std::int64_t begin = p * kItems, end = std::min(n_items, begin + kItems);
                const std::int64_t width = padded(end - begin);
                kernel.score(q.queries, first, n, packed.data() + p * panel_size, width,
                             q.item_bias != nullptr ? q.item_bias + begin : nullptr, end - begin,
                             tile.data());
                for (std::int64_t i = 0; i < n; ++i) {
                    T* row = tile.data() + i * width;
                    for (; q.exclude_indptr != nullptr &&
                           next[i] < q.exclude_indptr[first + i + 1] &&
                           q.exclude_indices[next[i]] < end;
                         ++next[i])
                        row[q.exclude_indices[next[i]] - begin] = std::numeric_limits<T>::quiet_NaN();
                    visit(i, begin, end, static_cast<const T*>(row));
                }
            }
        };
        body(first, n, score_all);
    });
}

}  // namespace matfac
