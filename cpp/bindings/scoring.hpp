// The arguments of calls that score every item for rows of queries.
#pragma once
#include <iterator>
#include <utility>
#include <vector>

#include "matfac/panels.hpp"
#include "numpy_views.hpp"

namespace matfac::bindings {

using ListArrays = std::pair<Array<std::int64_t>, Array<std::int32_t>>;  // indptr, indices

inline ItemLists lists_of(const ListArrays& lists, std::int64_t n_rows, std::int64_t n_items,
                          const char* argument) {
    const std::int64_t* indptr = indptr_of(lists.first, n_rows, argument);
    const std::int32_t* indices = vector_of(lists.second, indptr[n_rows], argument);
    check_indices(lists.second, n_items, argument);
    for (std::int64_t i = 0; i < n_rows; ++i)
        for (std::int64_t j = indptr[i] + 1; j < indptr[i + 1]; ++j)
            if (indices[j] < indices[j - 1]) refuse(argument, "must be sorted within each row");
    return {indptr, indices};
}

template <class T>
Scoring<T> scoring_of(std::int64_t k, const Array<T>& queries, const Array<T>& items,
                      const MaybeArray<T>& item_bias, const std::vector<ListArrays>& exclude,
                      int n_threads) {
    Scoring<T> query;
    query.queries = table_of(queries, k, "queries");
    query.items = table_of(items, k, "items");
    query.item_bias = vector_of(item_bias, query.items.n_rows, "item_bias");
    if (exclude.size() > std::size(query.exclude)) refuse("exclude", "must be at most two");
    for (std::size_t i = 0; i < exclude.size(); ++i)
        query.exclude[i] = lists_of(exclude[i], query.queries.n_rows, query.items.n_rows, "exclude");
    query.n_threads = checked_threads(n_threads);
    return query;
}

}  // namespace matfac::bindings
