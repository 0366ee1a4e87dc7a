// The arguments of calls that score every item for rows of queries.
#pragma once
#include "matfac/panels.hpp"
#include "numpy_views.hpp"

namespace matfac::bindings {

template <class T>
Scoring<T> scoring_of(std::int64_t k, const Array<T>& queries, const Array<T>& items,
                      const MaybeArray<T>& item_bias, const MaybeArray<std::int64_t>& exclude_indptr,
                      const MaybeArray<std::int32_t>& exclude_indices, int n_threads) {
    Scoring<T> query;
    query.queries = table_of(queries, k, "queries");
    query.items = table_of(items, k, "items");
    query.item_bias = vector_of(item_bias, query.items.n_rows, "item_bias");
    if (exclude_indptr) {
        const std::int64_t n = query.queries.n_rows;
        query.exclude_indptr = indptr_of(*exclude_indptr, n, "exclude_indptr");
        if (!exclude_indices) refuse("exclude_indices", "must come with exclude_indptr");
        query.exclude_indices =
            vector_of(*exclude_indices, query.exclude_indptr[n], "exclude_indices");
        check_indices(*exclude_indices, query.items.n_rows, "exclude_indices");
    }
    query.n_threads = checked_threads(n_threads);
    return query;
}

}  // namespace matfac::bindings
