// Stochastic gradient descent on positives against sampled negatives: BPR, WARP, logistic, softmax.
#pragma once
#include <cstdint>
#include <vector>

#include "matfac/kernels.hpp"
#include "matfac/memory.hpp"
#include "matfac/parallel.hpp"
#include "matfac/sgd.hpp"
#include "matfac/views.hpp"

namespace matfac {

// The filter of a matrix's positives; the matrix's arrays are kept by whoever made it.
class PositiveFilter {
public:
    PositiveFilter(std::int64_t n_rows, std::int64_t n_items, const std::int64_t* indptr,
                   const std::int32_t* indices, int n_threads, Control& control);
    Positives view() const;

private:
    std::int64_t n_items_;
    const std::int64_t* indptr_;
    const std::int32_t* indices_;
    Buffer<std::int64_t> start_;
    Buffer<std::uint64_t> words_;
};

// What an epoch needs beside the model.
template <class T>
class PairwisePlan {
public:
    // by_popularity: negatives in proportion to an item's positives, else all items alike.
    // The view's arrays must outlive the plan.
    PairwisePlan(const CsrView<T>& positives, std::int64_t factor_stride, std::uint64_t seed,
                 bool by_popularity, int n_threads, Control& control);

    const CsrView<T>& positives() const { return positives_; }
    const PositiveFilter& filter() const { return filter_; }
    std::int64_t factor_stride() const { return factor_stride_; }
    std::uint64_t seed() const { return seed_; }
    bool by_popularity() const { return by_popularity_; }

private:
    CsrView<T> positives_;
    PositiveFilter filter_;
    std::int64_t factor_stride_;
    std::uint64_t seed_;
    bool by_popularity_;
};

// deterministic: as run_sgd_epoch.
template <class T>
PairwiseResult run_pairwise_epoch(const PairwisePlan<T>& plan, const PairwiseModel<T>& model,
                                  std::uint64_t epoch, bool deterministic, int n_threads,
                                  Control& control);

// What one thread would visit in an epoch: users and items, nnz each, and nnz x negatives items drawn
// for them, -1 where the draws ran out.
template <class T>
void pairwise_samples(const PairwisePlan<T>& plan, std::uint64_t epoch, int negatives,
                      Control& control, std::int32_t* users, std::int32_t* items,
                      std::int32_t* drawn);

// Fits rows of `positives` against fixed items, row by row, one pass per rate. A row's answer depends
// on its own entries alone.
template <class T>
void fold_in_pairwise(const CsrView<T>& positives, const std::int32_t* pool,
                      std::uint32_t pool_size, PairwiseModel<T> model,
                      const std::vector<double>& rates, int n_threads, Control& control);

}  // namespace matfac
