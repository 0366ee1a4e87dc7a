#include "matfac/topk.hpp"

#include <algorithm>
#include <limits>
#include <numeric>
#include <vector>

#include "best.hpp"
#include "by_norm.hpp"

namespace matfac {

namespace {

// Measured: up to so many query rows, or with include lists of less than this share of the
// candidates, scoring a row's items one by one costs less than packing and multiplying panels.
constexpr std::int64_t kFewQueries = 4;
constexpr std::int64_t kShortShare = 8;

// The queries of a chunk that are not done, their rows one after the other.
template <class T>
class Active {
public:
    void start(TableView<const T> queries, std::int64_t first, std::int64_t n) {
        stride_ = queries.stride;
        rows_.assign(static_cast<std::size_t>(kQueries * stride_), T(0));
        std::copy_n(queries.row(first), n * stride_, rows_.data());
        query.resize(static_cast<std::size_t>(n));
        std::iota(query.begin(), query.end(), 0);
        slot = query;
    }
    void drop(std::size_t s) {
        slot[query[s]] = -1;
        const std::int64_t last = query.back();
        query.pop_back();
        if (s == query.size()) return;
        std::copy_n(rows_.data() + query.size() * stride_, stride_, rows_.data() + s * stride_);
        query[s] = last;
        slot[last] = static_cast<std::int64_t>(s);
    }
    TableView<const T> table(std::int64_t k) const { return {kQueries, k, stride_, rows_.data()}; }
    // Theirs, and up to the kernels' next whole number of them.
    std::int64_t n_rows() const {
        return std::min(kQueries, padded(static_cast<std::int64_t>(query.size())));
    }

    std::vector<std::int64_t> query, slot;  // by slot the query; by query the slot, -1 once it is done

private:
    std::int64_t stride_ = 0;
    std::vector<T> rows_;
};

// Every row against every candidate that may be among its best.
template <class T>
class ByNormSearch {
public:
    ByNormSearch(const Scoring<T>& q, const Positions& positions, std::int64_t k, Control& control)
        : q_(q), k_(k), control_(control), lengths_(q.queries, q.n_threads, control),
          order_(q, positions, lengths_, control), places_(order_.places(q.items.n_rows)) {}

    // Rows first..first + n, n at most kQueries.
    void search(std::int64_t first, std::int64_t n, int thread, std::int32_t* ids, T* scores) {
        thread_local Active<T> active;
        thread_local std::vector<T> tile;
        active.start(q_.queries, first, n);
        tile.resize(static_cast<std::size_t>(kQueries * kItems));
        std::vector<Lengths::Between> length;
        for (std::int64_t i = 0; i < n; ++i) length.push_back(lengths_.of(first + i));
        std::vector<Best<T>> best(static_cast<std::size_t>(n), Best<T>(k_, q_.items.n_rows));
        const Struck struck = struck_by_panel(first, n);
        for (std::int64_t p = 0; p < order_.n_panels() && !control_.stopped(thread); ++p) {
            for (std::size_t s = 0; s < active.query.size();) {
                const std::int64_t i = active.query[s];
                if (order_.most(p, length[i]) < static_cast<double>(best[i].threshold))
                    active.drop(s);
                else
                    ++s;
            }
            if (active.query.empty()) break;
            const std::int64_t begin = order_.begin(p), end = order_.end(p), width = padded(end - begin);
            kernel_.score(active.table(q_.queries.k), 0, active.n_rows(), order_.panel(p), width,
                          order_.bias(p), end - begin, tile.data());
            for (std::int64_t e = struck.starts[p]; e < struck.starts[p + 1]; ++e)
                if (const std::int64_t s = active.slot[struck.row[e]]; s >= 0)
                    tile[s * width + struck.place[e] - begin] = std::numeric_limits<T>::quiet_NaN();
            for (std::size_t s = 0; s < active.query.size(); ++s) {
                const T* row = tile.data() + s * width;
                Best<T>& of_query = best[active.query[s]];
                std::int32_t at[kItems];
                const std::int64_t found = kernel_.above(row, width, of_query.threshold, at);
                for (std::int64_t f = 0; f < found; ++f)
                    of_query.offer(row[at[f]], order_.item(begin + at[f]));
            }
        }
        for (std::int64_t i = 0; i < n; ++i)
            best[i].write(ids + (first + i) * k_, scores + (first + i) * k_);
    }

private:
    // Excluded items of the rows by their places; those of panel p from starts[p] to starts[p + 1].
    struct Struck {
        std::vector<std::int64_t> starts;
        std::vector<std::int32_t> row, place;
    };
    Struck struck_by_panel(std::int64_t first, std::int64_t n) const {
        Struck struck;
        struck.starts.assign(static_cast<std::size_t>(order_.n_panels() + 2), 0);
        const auto each = [&](auto&& visit) {
            for (const ItemLists& lists : q_.exclude)
                for (std::int64_t i = 0; i < n && lists.indptr != nullptr; ++i)
                    for (std::int64_t e = lists.indptr[first + i]; e < lists.indptr[first + i + 1]; ++e)
                        if (const std::int32_t place = places_[lists.indices[e]]; place >= 0)
                            visit(i, place);
        };
        each([&](std::int64_t, std::int32_t place) { ++struck.starts[place / kItems + 2]; });
        for (std::size_t p = 2; p < struck.starts.size(); ++p) struck.starts[p] += struck.starts[p - 1];
        struck.row.resize(static_cast<std::size_t>(struck.starts.back()));
        struck.place.resize(struck.row.size());
        each([&](std::int64_t i, std::int32_t place) {
            const std::int64_t to = struck.starts[place / kItems + 1]++;
            struck.row[to] = static_cast<std::int32_t>(i);
            struck.place[to] = place;
        });
        return struck;
    }

    const Scoring<T>& q_;
    std::int64_t k_;
    Control& control_;
    const KernelTable<T>& kernel_ = kernels<T>();
    Lengths lengths_;
    ByNorm<T> order_;
    std::vector<std::int32_t> places_;
};

template <class T>
void search_all(const Scoring<T>& q, const Positions& positions, std::int64_t k, std::int32_t* ids,
                T* scores, Control& control) {
    ByNormSearch<T> search(q, positions, k, control);
    const std::int64_t n = q.queries.n_rows, chunks = (n + kQueries - 1) / kQueries;
    for_chunks(q.n_threads, chunks, control, [&](std::int64_t chunk, int thread) {
        const std::int64_t first = chunk * kQueries;
        search.search(first, std::min(kQueries, n - first), thread, ids, scores);
    });
}

// Every row against its own items of long lists, by panels.
template <class T>
void search_included(const Scoring<T>& q, const Positions& positions, const ItemLists& include,
                     std::int64_t k, std::int32_t* ids, T* scores, Control& control) {
    for_scored_chunks(q, positions, control, [&](std::int64_t first, std::int64_t n, auto&& score_all) {
        std::vector<Best<T>> best(static_cast<std::size_t>(n), Best<T>(k, positions.size()));
        std::vector<Cursor> included;
        for (std::int64_t i = 0; i < n; ++i) included.emplace_back(include, first + i);
        score_all([&](std::int64_t i, std::int64_t begin, std::int64_t end, const T* row) {
            included[i].up_to(positions.item(end - 1), [&](std::int32_t item) {
                const std::int64_t at = positions.of(item);
                if (at >= 0) best[i].offer(row[at - begin], item);
            });
        });
        for (std::int64_t i = 0; i < n; ++i)
            best[i].write(ids + (first + i) * k, scores + (first + i) * k);
    });
}

// One row against the n items of a list.
template <class T>
Best<T> search_list(const Scoring<T>& q, const Positions& positions, std::int64_t row,
                    const std::int32_t* list, std::int64_t n, std::int64_t k, int thread,
                    Control& control) {
    const auto& kernel = kernels<T>();
    Best<T> best(k, n);
    Cursor excluded[] = {{q.exclude[0], row}, {q.exclude[1], row}};
    std::int32_t index[kItems], at[kItems];
    T scores[kItems];
    for (std::int64_t next = 0; next < n && !control.stopped(thread);) {
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
    if (!listed && include.indptr != nullptr)
        return search_included(q, positions, include, k, ids, scores, control);
    if (!listed) return search_all(q, positions, k, ids, scores, control);
    std::vector<std::int32_t> all;
    if (include.indptr == nullptr && q.candidates == nullptr) {
        all.resize(static_cast<std::size_t>(size));
        std::iota(all.begin(), all.end(), 0);
    }
    for_chunks(q.n_threads, n, control, [&](std::int64_t row, int thread) {
        const std::int32_t* list = q.candidates != nullptr ? q.candidates : all.data();
        std::int64_t length = size;
        if (include.indptr != nullptr) {
            list = include.indices + include.indptr[row];
            length = include.indptr[row + 1] - include.indptr[row];
        }
        search_list(q, positions, row, list, length, k, thread, control)
            .write(ids + row * k, scores + row * k);
    });
}

template void run_top_k<float>(const Scoring<float>&, const ItemLists&, std::int64_t, std::int32_t*,
                               float*, Control&);
template void run_top_k<double>(const Scoring<double>&, const ItemLists&, std::int64_t,
                                std::int32_t*, double*, Control&);

}  // namespace matfac
