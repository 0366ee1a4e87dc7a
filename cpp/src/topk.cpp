#include "matfac/topk.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

namespace matfac {

namespace {

// Measured: up to so many query rows, or with include lists of less than this share of the
// candidates, scoring a row's items one by one costs less than packing and multiplying panels.
constexpr std::int64_t kFewQueries = 4;
constexpr std::int64_t kShortShare = 8;

template <class T>
struct Candidate {
    T score;
    std::int32_t id;
    bool better(const Candidate& other) const {
        return score > other.score || (score == other.score && id < other.id);
    }
};

// The best k seen so far; the root of the heap is the worst of them.
template <class T>
class Best {
public:
    Best(std::int64_t k, std::int64_t at_most) : k_(static_cast<std::size_t>(k)) {
        heap_.reserve(static_cast<std::size_t>(std::min(k, at_most)));
    }
    // Items come in rising order, so an equal score never displaces.
    void offer(T score, std::int32_t id) {
        if (!(score > threshold)) return;
        if (heap_.size() == k_) {
            std::pop_heap(heap_.begin(), heap_.end(), worst_first);
            heap_.back() = {score, id};
        } else {
            heap_.push_back({score, id});
        }
        std::push_heap(heap_.begin(), heap_.end(), worst_first);
        if (heap_.size() == k_) threshold = heap_.front().score;
    }
    void write(std::int32_t* ids, T* scores) {
        std::sort_heap(heap_.begin(), heap_.end(), worst_first);
        for (std::size_t i = 0; i < k_; ++i) {
            ids[i] = i < heap_.size() ? heap_[i].id : -1;
            scores[i] = i < heap_.size() ? heap_[i].score : -std::numeric_limits<T>::infinity();
        }
    }
    T threshold = -std::numeric_limits<T>::infinity();

private:
    static bool worst_first(const Candidate<T>& a, const Candidate<T>& b) { return a.better(b); }
    std::size_t k_;
    std::vector<Candidate<T>> heap_;
};

// Every row against every candidate, by panels.
template <class T>
void search_panels(const Scoring<T>& q, const Positions& positions, const ItemLists& include,
                   std::int64_t k, std::int32_t* ids, T* scores, Control& control) {
    const auto& kernel = kernels<T>();
    for_scored_chunks(q, positions, control, [&](std::int64_t first, std::int64_t n, auto&& score_all) {
        std::vector<Best<T>> best(static_cast<std::size_t>(n), Best<T>(k, positions.size()));
        std::vector<Cursor> included;
        for (std::int64_t i = 0; i < n; ++i) included.emplace_back(include, first + i);
        score_all([&](std::int64_t i, std::int64_t begin, std::int64_t end, const T* row) {
            if (include.indptr != nullptr) {
                included[i].up_to(positions.item(end - 1), [&](std::int32_t item) {
                    const std::int64_t at = positions.of(item);
                    if (at >= 0) best[i].offer(row[at - begin], item);
                });
                return;
            }
            std::int32_t at[kItems];
            const std::int64_t found =
                kernel.above(row, padded(end - begin), best[i].threshold, at);
            for (std::int64_t f = 0; f < found; ++f)
                best[i].offer(row[at[f]], positions.item(begin + at[f]));
        });
        for (std::int64_t i = 0; i < n; ++i)
            best[i].write(ids + (first + i) * k, scores + (first + i) * k);
    });
}

// One row against the n items of a list.
template <class T>
Best<T> search_list(const Scoring<T>& q, const Positions& positions, std::int64_t row,
                    const std::int32_t* list, std::int64_t n, std::int64_t k) {
    const auto& kernel = kernels<T>();
    Best<T> best(k, n);
    Cursor excluded[] = {{q.exclude[0], row}, {q.exclude[1], row}};
    std::int32_t index[kItems], at[kItems];
    T scores[kItems];
    for (std::int64_t next = 0; next < n;) {
        std::int64_t m = 0;
        for (; next < n && m < kItems; ++next) {
            const std::int32_t item = list[next];
            if (positions.of(item) >= 0 && !excluded[0].holds(item) && !excluded[1].holds(item))
                index[m++] = item;
        }
        kernel.row_dots(q.items, index, m, q.queries.row(row), scores);
        for (std::int64_t j = 0; j < m && q.item_bias != nullptr; ++j)
            scores[j] += q.item_bias[index[j]];
        std::fill(scores + m, scores + padded(m), -std::numeric_limits<T>::infinity());
        const std::int64_t found = kernel.above(scores, padded(m), best.threshold, at);
        for (std::int64_t f = 0; f < found; ++f) best.offer(scores[at[f]], index[at[f]]);
    }
    return best;
}

}  // namespace

template <class T>
void run_top_k(const Scoring<T>& q, const ItemLists& include, std::int64_t k, std::int32_t* ids,
               T* scores, Control& control) {
    const Positions positions = positions_of(q);
    const std::int64_t n = q.queries.n_rows, size = positions.size();
    const bool listed = include.indptr != nullptr ? kShortShare * include.indptr[n] < n * size
                                                  : n <= kFewQueries;
    if (!listed) return search_panels(q, positions, include, k, ids, scores, control);
    std::vector<std::int32_t> all;
    if (include.indptr == nullptr && q.candidates == nullptr) {
        all.resize(static_cast<std::size_t>(size));
        std::iota(all.begin(), all.end(), 0);
    }
    for_chunks(q.n_threads, n, control, [&](std::int64_t row, int) {
        const std::int32_t* list = q.candidates != nullptr ? q.candidates : all.data();
        std::int64_t length = size;
        if (include.indptr != nullptr) {
            list = include.indices + include.indptr[row];
            length = include.indptr[row + 1] - include.indptr[row];
        }
        search_list(q, positions, row, list, length, k).write(ids + row * k, scores + row * k);
    });
}

template void run_top_k<float>(const Scoring<float>&, const ItemLists&, std::int64_t, std::int32_t*,
                               float*, Control&);
template void run_top_k<double>(const Scoring<double>&, const ItemLists&, std::int64_t,
                                std::int32_t*, double*, Control&);

}  // namespace matfac
