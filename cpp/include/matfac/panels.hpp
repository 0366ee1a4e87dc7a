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

// Item numbers per query row, rising within each; indptr null: no such lists.
struct ItemLists {
    const std::int64_t* indptr = nullptr;
    const std::int32_t* indices = nullptr;
};

template <class T>
struct Scoring {
    TableView<const T> queries;
    TableView<const T> items;
    const T* item_bias = nullptr;              // added to the scores, or null
    const std::int32_t* candidates = nullptr;  // the items to score, rising; null: all
    std::int64_t n_candidates = 0;
    ItemLists exclude[2];  // items that do not count for a row
    int n_threads = 1;
};

// Walks one row's list once, in step with rising item numbers.
class Cursor {
public:
    Cursor(const ItemLists& lists, std::int64_t row) {
        if (lists.indptr == nullptr) return;
        at_ = lists.indices + lists.indptr[row];
        end_ = lists.indices + lists.indptr[row + 1];
    }
    // Calls visit(item) for every item up to and including `last` that was not passed before.
    template <class Visit>
    void up_to(std::int32_t last, Visit&& visit) {
        for (; at_ != end_ && *at_ <= last; ++at_) visit(*at_);
    }
    bool holds(std::int32_t item) {
        while (at_ != end_ && *at_ < item) ++at_;
        return at_ != end_ && *at_ == item;
    }

private:
    const std::int32_t* at_ = nullptr;
    const std::int32_t* end_ = nullptr;
};

// Items by their position among the candidates.
class Positions {
public:
    Positions(const std::int32_t* candidates, std::int64_t n_candidates, std::int64_t n_items)
        : candidates_(candidates), size_(candidates != nullptr ? n_candidates : n_items) {
        if (candidates == nullptr) return;
        position_.assign(static_cast<std::size_t>(n_items), -1);
        for (std::int64_t p = 0; p < size_; ++p)
            position_[candidates[p]] = static_cast<std::int32_t>(p);
    }
    std::int64_t size() const { return size_; }
    std::int32_t item(std::int64_t position) const {
        return candidates_ != nullptr ? candidates_[position] : static_cast<std::int32_t>(position);
    }
    std::int64_t of(std::int32_t item) const {  // -1: no candidate
        return candidates_ != nullptr ? position_[item] : item;
    }

private:
    const std::int32_t* candidates_;
    std::int64_t size_;
    std::vector<std::int32_t> position_;
};

template <class T>
Positions positions_of(const Scoring<T>& q) {
    return {q.candidates, q.n_candidates, q.items.n_rows};
}

constexpr std::int64_t kQueries = 64;  // per hand-out
// Per panel: panel and scores stay in the L2 cache, and rows of 14 (or 28) cache lines do not fall
// on the same few sets of the L1 cache, as rows of a power of two would.
constexpr std::int64_t kItems = 224;

// `size` items, through the index unless it is null, as panels of kItems.
template <class T>
Buffer<T> packed_panels(const Scoring<T>& q, const std::int32_t* index, std::int64_t size,
                        Control& control) {
    const std::int64_t panel_size = q.items.stride * kItems, panels = (size + kItems - 1) / kItems;
    Buffer<T> packed(static_cast<std::size_t>(panels * panel_size));
    for_chunks(q.n_threads, panels, control, [&](std::int64_t p, int) {
        kernels<T>().pack(q.items, index, p * kItems, std::min(size, (p + 1) * kItems),
                          packed.data() + p * panel_size);
    });
    return packed;
}

// Calls body(first, n, score_all) for chunks of query rows first..first + n. There
// score_all(visit) calls visit(i, begin, end, scores) for every row first + i and panel of positions
// begin..end, panels in rising order. The scores of excluded items are NaN, those from end up to the
// next multiple of kLanes -infinity.
template <class T, class Body>
void for_scored_chunks(const Scoring<T>& q, const Positions& positions, Control& control,
                       Body&& body) {
    const auto& kernel = kernels<T>();
    const std::int64_t size = positions.size(), panel_size = q.items.stride * kItems;
    const std::int64_t panels = (size + kItems - 1) / kItems;
    const Buffer<T> packed = packed_panels(q, q.candidates, size, control);
    std::vector<T> chosen;  // biases of the candidates
    for (std::int64_t p = 0; p < size && q.candidates != nullptr && q.item_bias != nullptr; ++p)
        chosen.push_back(q.item_bias[positions.item(p)]);
    const T* bias = chosen.empty() ? q.item_bias : chosen.data();

    const std::int64_t chunks = (q.queries.n_rows + kQueries - 1) / kQueries;
    for_chunks(q.n_threads, chunks, control, [&](std::int64_t chunk, int thread) {
        const std::int64_t first = chunk * kQueries;
        const std::int64_t n = std::min(kQueries, q.queries.n_rows - first);
        thread_local std::vector<T> tile;
        tile.resize(static_cast<std::size_t>(kQueries * kItems));
        const auto score_all = [&](auto&& visit) {
            std::vector<Cursor> excluded;
            for (std::int64_t i = 0; i < n; ++i)
                for (const ItemLists& lists : q.exclude) excluded.emplace_back(lists, first + i);
            for (std::int64_t p = 0; p < panels && !control.stopped(thread); ++p) {
                const std::int64_t begin = p * kItems, end = std::min(size, begin + kItems);
                const std::int64_t width = padded(end - begin);
                const std::int32_t last = positions.item(end - 1);
                kernel.score(q.queries, first, n, packed.data() + p * panel_size, width,
                             bias != nullptr ? bias + begin : nullptr, end - begin, tile.data());
                for (std::int64_t i = 0; i < n; ++i) {
                    T* row = tile.data() + i * width;
                    const auto strike = [&](std::int32_t item) {
                        const std::int64_t at = positions.of(item);
                        if (at >= 0) row[at - begin] = std::numeric_limits<T>::quiet_NaN();
                    };
                    excluded[2 * i].up_to(last, strike);
                    excluded[2 * i + 1].up_to(last, strike);
                    visit(i, begin, end, static_cast<const T*>(row));
                }
            }
        };
        body(first, n, score_all);
    });
}

}  // namespace matfac
