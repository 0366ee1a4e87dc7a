// The k best items per query row, in bounded memory.
#pragma once
#include <cstdint>

#include "matfac/panels.hpp"

namespace matfac {

// ids and scores: queries.n_rows x k, best first; equal scores by lower item number. A list with fewer
// than k candidates ends in -1 with score -infinity. A NaN score is never a candidate.
template <class T>
void run_top_k(const Scoring<T>& query, std::int64_t k, std::int32_t* ids, T* scores,
               Control& control);

}  // namespace matfac
