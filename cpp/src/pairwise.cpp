#include "matfac/pairwise.hpp"

#include <algorithm>
#include <vector>

#include "matfac/rng.hpp"

namespace matfac {

namespace {

constexpr std::int64_t kRows = 128;  // rows folded in or filtered at a time

// More than for ratings: a block's rows are then met more often, and its draws are more varied.
constexpr std::int64_t kPairwiseBandBytes = 1 << 20;

// Keys of random streams, apart from those of SgdPlan and its walks.
constexpr std::uint64_t kDeal = ~std::uint64_t{0}, kDraws = ~std::uint64_t{1};

// What a walk over a block asks whether to stop; the kernels know no Control.
struct Look {
    Control& control;
    int thread;

    void put_into(PairwiseBlock& block) {
        block.asked = this;
        block.stopped = [](void* self) {
            const Look& look = *static_cast<Look*>(self);
            return look.control.stopped(look.thread);
        };
    }
};

// What each thread needs for its kernels.
template <class T>
class Scratch {
public:
    Scratch(const PairwiseModel<T>& model, int n_threads)
        : n_reals_(pairwise_reals(model.negatives, model.sgd.users.stride)),
          n_indices_(pairwise_indices(model.negatives)),
          reals_(static_cast<std::size_t>(n_reals_ * n_threads)),
          indices_(static_cast<std::size_t>(n_indices_ * n_threads)) {}
    T* reals(int thread) const { return reals_.data() + thread * n_reals_; }
    std::int32_t* indices(int thread) const { return indices_.data() + thread * n_indices_; }

private:
    std::int64_t n_reals_, n_indices_;
    Buffer<T> reals_;
    Buffer<std::int32_t> indices_;
};

// The positives of one epoch. Items are dealt into bands anew for each, and a positive's negatives
// come from its own band's part of the pool: so a block touches two bands of rows alone, meets its
// items as positives and as negatives in the same proportion as the whole, and over the epochs every
// item of the pool stands the same chance. The pool holds each item once, or once per positive.
template <class T>
class Epoch {
public:
    Epoch(const PairwisePlan<T>& plan, std::uint64_t number, int n_threads, Control& control)
        : blocks_({plan.positives().n_rows, plan.positives().n_cols, plan.positives().indptr,
                   plan.positives().indices},
                  plan.factor_stride(), keyed(plan.seed(), kDeal, number), n_threads, control,
                  kPairwiseBandBytes, true),
          strata_(blocks_.bands(), blocks_.turns(), blocks_.seed(), 0),
          positives_(plan.filter().view()),
          pool_start_(static_cast<std::size_t>(blocks_.bands() + 1), 0),
          pool_(static_cast<std::size_t>(plan.by_popularity() ? blocks_.nnz() : blocks_.n_items())) {
        const std::int32_t* entries = plan.by_popularity() ? plan.positives().indices : nullptr;
        const auto item = [&](std::size_t at) {
            return entries != nullptr ? entries[at] : static_cast<std::int32_t>(at);
        };
        for (std::size_t at = 0; at < pool_.size(); ++at)
            ++pool_start_[blocks_.item_band(item(at)) + 1];
        for (std::int64_t b = 0; b < blocks_.bands(); ++b) pool_start_[b + 1] += pool_start_[b];
        std::vector<std::int64_t> end(pool_start_);
        for (std::size_t at = 0; at < pool_.size(); ++at)
            pool_[end[blocks_.item_band(item(at))]++] = item(at);
    }

    const SgdPlan<T>& blocks() const { return blocks_; }
    const Strata& strata() const { return strata_; }
    PairwiseBlock block(const Strata::Place& place) const {
        const std::int64_t band = place.item_band;
        const SgdBlock<T> walk = blocks_.walked(place.user_band, band, 0);
        PairwiseBlock block;
        block.n_runs = walk.n_runs;
        block.user = walk.user;
        block.start = walk.start;
        block.item = walk.item;
        block.first_run = walk.first_run;
        block.entry_shift = walk.entry_shift;
        block.positives = positives_;
        block.pool = pool_.data() + pool_start_[band];
        block.pool_size = static_cast<std::uint32_t>(pool_start_[band + 1] - pool_start_[band]);
        block.key = keyed(blocks_.seed(), kDraws);
        return block;
    }

private:
    SgdPlan<T> blocks_;
    Strata strata_;
    Positives positives_;
    std::vector<std::int64_t> pool_start_;  // of each band's part of pool_
    Buffer<std::int32_t> pool_;
};

}  // namespace

PositiveFilter::PositiveFilter(std::int64_t n_rows, std::int64_t n_items,
                               const std::int64_t* indptr, const std::int32_t* indices,
                               int n_threads, Control& control)
    : n_items_(n_items),
      indptr_(indptr),
      indices_(indices),
      start_(static_cast<std::size_t>(n_rows + 1)) {
    for (std::int64_t r = 0; r < n_rows; ++r)
        start_[r + 1] = start_[r] + filter_words(indptr[r + 1] - indptr[r], n_items);
    words_ = Buffer<std::uint64_t>(static_cast<std::size_t>(start_[n_rows]));
    for_chunks(n_threads, (n_rows + kRows - 1) / kRows, control, [&](std::int64_t chunk, int) {
        for (std::int64_t r = chunk * kRows; r < std::min(n_rows, (chunk + 1) * kRows); ++r) {
            std::uint64_t* words = words_.data() + start_[r];
            for (std::int64_t e = indptr[r]; e < indptr[r + 1]; ++e) {
                const std::uint64_t bit = filter_bit(indices[e], start_[r + 1] - start_[r], n_items);
                words[bit >> 6] |= std::uint64_t{1} << (bit & 63);
            }
        }
    });
}

Positives PositiveFilter::view() const {
    return {n_items_, indptr_, indices_, start_.data(), words_.data()};
}

template <class T>
PairwisePlan<T>::PairwisePlan(const CsrView<T>& positives, std::int64_t factor_stride,
                              std::uint64_t seed, bool by_popularity, int n_threads,
                              Control& control)
    : positives_(positives),
      filter_(positives.n_rows, positives.n_cols, positives.indptr, positives.indices, n_threads,
              control),
      factor_stride_(factor_stride),
      seed_(seed),
      by_popularity_(by_popularity) {}

template <class T>
PairwiseResult run_pairwise_epoch(const PairwisePlan<T>& plan, const PairwiseModel<T>& model,
                                  std::uint64_t number, bool deterministic, int n_threads,
                                  Control& control) {
    const auto& kernel = kernels<T>();
    const Epoch<T> epoch(plan, number, n_threads, control);
    const SgdPlan<T>& blocks = epoch.blocks();
    const Scratch<T> scratch(model, n_threads);
    std::vector<PairwiseResult> results(static_cast<std::size_t>(blocks.blocks()));
    const auto train = [&](std::int64_t n, const Strata::Place& place, int thread) {
        PairwiseBlock block = epoch.block(place);
        Look look{control, thread};
        look.put_into(block);
        if (block.n_runs > 0)
            results[n] =
                kernel.pairwise_block(block, model, scratch.reals(thread), scratch.indices(thread));
    };
    for_blocks(epoch.strata(), deterministic, n_threads, control, train);
    PairwiseResult total;
    for (const PairwiseResult& result : results) {
        total.loss += result.loss;
        total.n_samples += result.n_samples;
    }
    return total;
}

template <class T>
void pairwise_samples(const PairwisePlan<T>& plan, std::uint64_t number, int negatives,
                      Control& control, std::int32_t* users, std::int32_t* items,
                      std::int32_t* drawn) {
    const Epoch<T> epoch(plan, number, 1, control);
    for (std::int64_t chunk = 0; chunk < epoch.blocks().blocks(); ++chunk) {
        const PairwiseBlock block = epoch.block(epoch.strata()[chunk]);
        Sampler sampler(block, negatives);
        for (Sample sample; sampler.next(sample);) {
            *users++ = static_cast<std::int32_t>(sample.user);
            *items++ = sample.item;
            for (int n = 0; n < negatives; ++n) *drawn++ = sample.negative(block);
        }
    }
}

template <class T>
void fold_in_pairwise(const CsrView<T>& positives, const std::int32_t* pool,
                      std::uint32_t pool_size, PairwiseModel<T> model,
                      const std::vector<double>& rates, int n_threads, Control& control) {
    const auto& kernel = kernels<T>();
    const PositiveFilter filter(positives.n_rows, positives.n_cols, positives.indptr,
                                positives.indices, n_threads, control);
    const Scratch<T> scratch(model, n_threads);
    model.items_fixed = true;
    const std::int64_t chunks = (positives.n_rows + kRows - 1) / kRows;
    for_chunks(n_threads, chunks, control, [&](std::int64_t chunk, int thread) {
        PairwiseModel<T> own = model;
        PairwiseBlock block;
        Look look{control, thread};
        look.put_into(block);
        const std::int64_t first = chunk * kRows;
        block.n_runs = std::min(positives.n_rows - first, kRows);
        block.start = positives.indptr + first;
        block.item = positives.indices;
        block.numbered_by_row = true;
        block.positives = filter.view();
        block.positives.indptr += first;
        block.positives.filter_start += first;
        block.pool = pool;
        block.pool_size = pool_size;
        own.sgd.users.data = model.sgd.users.row(first);
        own.sgd.user_rows = model.sgd.user_rows + first;
        for (std::size_t pass = 0; pass < rates.size() && !control.stop; ++pass) {
            own.sgd.rate = static_cast<T>(rates[pass]);
            block.key = keyed(0, 1, pass);
            block.entry_shift = static_cast<std::uint32_t>(keyed(0, 2, pass) >> 32);
            kernel.pairwise_block(block, own, scratch.reals(thread), scratch.indices(thread));
        }
    });
}

#define MATFAC_INSTANTIATE(T)                                                                     \
    template class PairwisePlan<T>;                                                               \
    template PairwiseResult run_pairwise_epoch<T>(const PairwisePlan<T>&, const PairwiseModel<T>&, \
                                                  std::uint64_t, bool, int, Control&);            \
    template void pairwise_samples<T>(const PairwisePlan<T>&, std::uint64_t, int, Control&,       \
                                      std::int32_t*, std::int32_t*, std::int32_t*);               \
    template void fold_in_pairwise<T>(const CsrView<T>&, const std::int32_t*, std::uint32_t,      \
                                      PairwiseModel<T>, const std::vector<double>&, int, Control&);
MATFAC_INSTANTIATE(float)
MATFAC_INSTANTIATE(double)

}  // namespace matfac
