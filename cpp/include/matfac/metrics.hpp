// Ranking metrics per user: of lists, and over a user's whole ranking.
#pragma once
#include <cstdint>

#include "matfac/panels.hpp"

namespace matfac {

// The relevant items of each row, sorted within it.
struct Relevant {
    const std::int64_t* indptr = nullptr;
    const std::int32_t* indices = nullptr;

    std::int64_t length(std::int64_t row) const { return indptr[row + 1] - indptr[row]; }
};

struct Lists {
    std::int64_t n_rows = 0;
    std::int64_t width = 0;
    const std::int32_t* items = nullptr;  // n_rows x width, best first; below 0 is padding
};

// In the order in which list_metrics writes them.
enum ListMetric { hit_rate, precision, recall, recall_capped, ndcg, average_precision,
                  reciprocal_rank, n_list_metrics };

// out: n_rows x n_list_metrics, at cut-off k, which may exceed the lists. NaN where nothing is
// relevant. An item that a list repeats counts at its first place only.
void list_metrics(const Lists& lists, const Relevant& relevant, std::int64_t k, double* out,
                  int n_threads, Control& control);

// out[row] = share of the (relevant, other) pairs of items that are not excluded in which the
// relevant one has the higher score, equal scores counting half; NaN without such pairs.
template <class T>
void run_auc(const Scoring<T>& query, const Relevant& relevant, double* out, Control& control);

}  // namespace matfac
