// The k best items per query row, in bounded memory.
#pragma once
#include <cstdint>

#include "matfac/parallel.hpp"
#include "matfac/views.hpp"

namespace matfac {

template <class T>
struct TopK {
    TableView<const T> queries;
    TableView<const T> items;
    const T* item_bias = nullptr;                   // added to the scores, or null
    const std::int64_t* exclude_indptr = nullptr;   // per query row, sorted item numbers; or null
    const std::int32_t* exclude_indices = nullptr;
    std::int64_t k = 10;
    int n_threads = 1;
};

// ids and scores: queries.n_rows x k, best first; equal scores by lower item number. A list with fewer
// than k candidates ends in -1 with score -infinity. A NaN score is never a candidate.
template <class T>
void run_top_k(const TopK<T>& query, std::int32_t* ids, T* scores, Control& control);

}  // namespace matfac
