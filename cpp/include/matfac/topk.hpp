// The k best items per query row under rules, in bounded memory.
#pragma once
#include <cstdint>

#include "matfac/panels.hpp"

namespace matfac {

// ids and scores: queries.n_rows x k, best first; equal scores by lower item number. A row lists
// candidates only, where there are include lists only its own of them, and no excluded ones. A list
// with fewer than k such items ends in -1 with score -infinity. A NaN score is never listed.
template <class T>
void run_top_k(const Scoring<T>& query, const ItemLists& include, std::int64_t k, std::int32_t* ids,
               T* scores, Control& control);

}  // namespace matfac
