// Parallel stochastic gradient descent on ratings, block by block.
#pragma once
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "matfac/kernels.hpp"
#include "matfac/memory.hpp"
#include "matfac/parallel.hpp"
#include "matfac/views.hpp"

namespace matfac {

constexpr std::int64_t kBandBytes = 512 << 10;
constexpr std::int64_t kTurnBytes = 2 << 20;

// The ratings sorted into blocks: users and items are dealt at random into bands of about equal
// weight, items so that the rows of one band stay in the L2 cache, users into as many bands a turn,
// and as many turns as it takes for the rows of one to stay in the caches. Two blocks that share
// neither band touch no common row. The plan depends on the data and the seed alone.
template <class T>
class SgdPlan {
public:
    // band_bytes: of the item rows of one band. equal_items: bands of as many items each, instead of
    // as many ratings, so that any two items are as likely to meet in a band.
    SgdPlan(const CsrView<T>& ratings, std::int64_t factor_stride, std::uint64_t seed,
            int n_threads, Control& control, std::int64_t band_bytes = kBandBytes,
            bool equal_items = false);

    std::int64_t bands() const { return bands_; }  // of items, and of users in each turn
    std::int64_t turns() const { return turns_; }
    std::int64_t blocks() const { return turns_ * bands_ * bands_; }
    std::uint64_t seed() const { return seed_; }
    std::int64_t n_users() const { return n_users_; }
    std::int64_t n_items() const { return n_items_; }
    std::int64_t nnz() const { return nnz_; }
    std::int64_t item_band(std::int64_t item) const { return item_band_[item]; }
    SgdBlock<T> block(std::int64_t user_band, std::int64_t item_band) const;
    // The block with an epoch's walk over it.
    SgdBlock<T> walked(std::int64_t user_band, std::int64_t item_band, std::uint64_t epoch) const;

private:
    void deal(const CsrView<T>& ratings, bool equal_items, Control& control);
    void count(const CsrView<T>& ratings, std::int64_t user_band, Control& control, int thread);
    void fill(const CsrView<T>& ratings, std::int64_t user_band, Control& control, int thread);

    std::int64_t n_users_, n_items_, nnz_, bands_, turns_;
    std::uint64_t seed_;
    std::vector<std::int32_t> users_;        // in the order dealt
    std::vector<std::int64_t> user_bands_;   // bounds within users_
    std::vector<std::uint8_t> item_band_;    // of each item
    std::vector<std::int64_t> block_runs_;   // bounds of each block's runs
    std::vector<std::int64_t> block_begin_;  // first entry of each block
    Buffer<std::int32_t> run_user_;
    Buffer<std::int64_t> run_start_;
    Buffer<std::int32_t> item_;
    Buffer<T> value_, weight_;
};

// The order of an epoch's blocks: turn by turn, in strata, in each of which every user band of the
// turn meets a different item band.
class Strata {
public:
    struct Place {
        std::int64_t user_band, item_band;
        std::int64_t user_before, item_before;  // blocks of these bands that come before
    };

    Strata(std::int64_t bands, std::int64_t turns, std::uint64_t seed, std::uint64_t epoch);
    std::int64_t user_bands() const { return static_cast<std::int64_t>(turns_.size()) * bands_; }
    std::int64_t item_bands() const { return bands_; }
    // Of the n-th block.
    Place operator[](std::int64_t n) const {
        const std::int64_t stratum = n / bands_ % bands_, turn = n / bands_ / bands_;
        return {turns_[turn] * bands_ + n % bands_, items_[(n + shift_[stratum]) % bands_], stratum,
                turn * bands_ + stratum};
    }

private:
    std::int64_t bands_;
    std::vector<std::int64_t> items_, shift_, turns_;
};

// body(n, place, thread) for an epoch's blocks. in_order: one starts once both its bands have finished
// those before it. Blocks are handed out in order, so the wait always ends.
template <class Body>
void for_blocks(const Strata& strata, bool in_order, int n_threads, Control& control, Body&& body) {
    std::vector<std::atomic<std::int64_t>> users(static_cast<std::size_t>(strata.user_bands()));
    std::vector<std::atomic<std::int64_t>> items(static_cast<std::size_t>(strata.item_bands()));
    const std::int64_t blocks = strata.user_bands() * strata.item_bands();
    for_chunks(n_threads, blocks, control, [&](std::int64_t n, int thread) {
        const Strata::Place place = strata[n];
        std::atomic<std::int64_t>&user = users[place.user_band], &item = items[place.item_band];
        while (in_order && (user.load(std::memory_order_acquire) != place.user_before ||
                            item.load(std::memory_order_acquire) != place.item_before)) {
            if (control.stopped(thread)) return;
            std::this_thread::yield();
        }
        body(n, place, thread);
        user.fetch_add(1, std::memory_order_release);
        item.fetch_add(1, std::memory_order_release);
    });
}

struct EpochResult {
    double loss = 0;  // sum of weight * error^2, each error taken just before its own update
    bool completed = true;
};

// deterministic: blocks that share a band run in one fixed order, whatever the thread count, so the
// bits are the same for any. Otherwise blocks run as threads come free and may race (Hogwild).
// limit: once the loss exceeds it, no further block runs: the epoch diverged, and its loss says so.
template <class T>
EpochResult run_sgd_epoch(const SgdPlan<T>& plan, const SgdModel<T>& model, std::uint64_t epoch,
                          bool deterministic, double limit, int n_threads, Control& control);

// The order in which one thread would visit the ratings: each visit's user, and its entry in the
// plan's arrays. nnz elements each.
template <class T>
void visits(const SgdPlan<T>& plan, std::uint64_t epoch, std::int32_t* users,
            std::int64_t* entries);

}  // namespace matfac
