// Positives in their order of visit, each with its negatives: draws from a pool, checked against the
// user's own items. No templates: kernels of every instruction set share these functions.
#pragma once
#include <cstdint>

#include "matfac/rng.hpp"

namespace matfac {

// Each user's items, and a filter that answers most questions with one bit. A user's part of it is a
// power of two of words, some 16 to 32 bits per item, with the hashed bits of the user's items set;
// or, where that is no shorter, one bit for every item there is.
struct Positives {
    std::int64_t n_items = 0;
    const std::int64_t* indptr = nullptr;
    const std::int32_t* indices = nullptr;
    const std::int64_t* filter_start = nullptr;  // first word of each user, n_rows + 1
    const std::uint64_t* filter = nullptr;
};

constexpr std::int64_t filter_words(std::int64_t owned, std::int64_t n_items) {
    const std::int64_t all = (n_items + 63) / 64;
    std::int64_t words = 1;
    while (words * 4 < owned && words < all) words *= 2;
    return words < all ? words : all;
}

constexpr std::uint64_t filter_bit(std::int32_t item, std::int64_t words, std::int64_t n_items) {
    if (words * 64 >= n_items) return static_cast<std::uint64_t>(item);
    const std::uint64_t hash = static_cast<std::uint32_t>(item) * std::uint64_t{0x9e3779b97f4a7c15};
    return (hash >> 32) & static_cast<std::uint64_t>(words * 64 - 1);
}

// One user's items.
class Owned {
public:
    Owned() = default;
    Owned(const Positives& positives, std::int64_t user)
        : n_items_(positives.n_items),
          filter_(positives.filter + positives.filter_start[user]),
          words_(positives.filter_start[user + 1] - positives.filter_start[user]),
          first_(positives.indices + positives.indptr[user]),
          n_(positives.indptr[user + 1] - positives.indptr[user]) {}

    bool has(std::int32_t item) const {
        const std::uint64_t bit = filter_bit(item, words_, n_items_);
        if ((filter_[bit >> 6] >> (bit & 63) & 1) == 0) return false;
        if (words_ * 64 >= n_items_) return true;
        const std::int32_t* at = first_;
        for (std::int64_t n = n_; n > 1; n -= n / 2)
            if (at[n / 2] <= item) at += n / 2;
        return n_ > 0 && *at == item;
    }

private:
    std::int64_t n_items_ = 0;
    const std::uint64_t* filter_ = nullptr;
    std::int64_t words_ = 0;
    const std::int32_t* first_ = nullptr;
    std::int64_t n_ = 0;
};

// Positives to visit, user by user: run r holds entries start[r]..start[r + 1] of user[r] (null: r).
// Their negatives come from `pool`; a draw is a function of the key and of the entry's number.
struct PairwiseBlock {
    std::int64_t n_runs = 0;
    const std::int32_t* user = nullptr;
    const std::int64_t* start = nullptr;
    const std::int32_t* item = nullptr;
    std::int64_t first_run = 0;      // the walk begins there, and
    std::uint32_t entry_shift = 0;   // after this share (of 2^32) of each run
    bool numbered_by_row = false;    // an entry's number counts from its run's first
    Positives positives;             // of all users
    const std::int32_t* pool = nullptr;
    std::uint32_t pool_size = 0;
    std::uint64_t key = 0;
    bool (*stopped)(void* asked) = nullptr;  // looked at once in kPerLook positives: to end the walk
    void* asked = nullptr;
};

constexpr std::uint32_t kPerLook = 256;

// So many draws are made for each negative wanted before it is given up.
constexpr std::uint64_t kTries = 8;

// A positive and the stream of its negatives.
struct Sample {
    std::int64_t user = -1;
    std::int32_t item = 0;
    Owned owned;
    std::uint64_t state = 0, end = 0;

    // An item that the user has not, or -1 once the draws are used up.
    std::int32_t negative(const PairwiseBlock& block) {
        while (state < end) {
            const std::uint64_t draw = mix(block.key + state++) >> 32;
            const std::int32_t item = block.pool[(draw * block.pool_size) >> 32];
            if (!owned.has(item)) return item;
        }
        return -1;
    }
};

// The walk over a block.
class Sampler {
public:
    Sampler(const PairwiseBlock& block, int negatives)
        : block_(block),
          draws_(static_cast<std::uint64_t>(negatives) * kTries),
          run_(block.first_run),
          runs_left_(block.n_runs) {}

    // The next positive; false at the end.
    bool next(Sample& sample) {
        if (++met_ % kPerLook == 0 && block_.stopped != nullptr && block_.stopped(block_.asked))
            return false;
        while (left_ == 0) {
            if (runs_left_-- == 0) return false;
            begin_ = block_.start[run_];
            left_ = n_ = block_.start[run_ + 1] - begin_;
            entry_ = static_cast<std::int64_t>(
                (static_cast<std::uint64_t>(n_) * block_.entry_shift) >> 32);
            user_ = block_.user != nullptr ? block_.user[run_] : run_;
            owned_ = Owned(block_.positives, user_);
            if (++run_ == block_.n_runs) run_ = 0;
        }
        const std::int64_t number = block_.numbered_by_row ? entry_ : begin_ + entry_;
        sample.user = user_;
        sample.item = block_.item[begin_ + entry_];
        sample.owned = owned_;
        sample.state = static_cast<std::uint64_t>(number) * draws_;
        sample.end = sample.state + draws_;
        if (++entry_ == n_) entry_ = 0;
        --left_;
        return true;
    }

    // The user of the run that starts `runs` runs after this one; and the item `entries` after the
    // last positive, or about there.
    std::int64_t user_ahead(std::int64_t runs) const {
        const std::int64_t run = run_ + runs - 1;
        if (run >= block_.n_runs) return user_;
        return block_.user != nullptr ? block_.user[run] : run;
    }
    std::int32_t item_ahead(std::int64_t entries) const {
        const std::int64_t at = begin_ + entry_ + entries - 1;
        return block_.item[at < block_.start[block_.n_runs] ? at : begin_];
    }

private:
    const PairwiseBlock& block_;
    std::uint64_t draws_;
    std::uint32_t met_ = 0;
    std::int64_t run_, runs_left_;
    std::int64_t begin_ = 0, n_ = 0, entry_ = 0, left_ = 0, user_ = 0;
    Owned owned_;
};

}  // namespace matfac
