#include "matfac/sgd.hpp"

#include <atomic>
#include <thread>

namespace matfac {

template <class T>
EpochResult run_sgd_epoch(const SgdPlan<T>& plan, const SgdModel<T>& model, std::uint64_t epoch,
                          bool deterministic, double limit, int n_threads, Control& control) {
    const auto& kernel = kernels<T>();
    const Strata strata(plan.bands(), plan.turns(), plan.seed(), epoch);
    std::vector<double> losses(static_cast<std::size_t>(plan.blocks()), 0.0);
    // Blocks finished per band: one may start once both of its bands have finished those before
    // it. Blocks are handed out in order, so the wait always ends.
    std::vector<std::atomic<std::int64_t>> user_done(
        static_cast<std::size_t>(plan.turns() * plan.bands()));
    std::vector<std::atomic<std::int64_t>> item_done(static_cast<std::size_t>(plan.bands()));

    std::atomic<double> running{0};
    std::atomic<bool> diverged{false};
    for_chunks(n_threads, plan.blocks(), control, [&](std::int64_t chunk, int) {
        const auto [user_band, item_band, user_before, item_before] = strata[chunk];
        while (deterministic &&
               (user_done[user_band].load(std::memory_order_acquire) != user_before ||
                item_done[item_band].load(std::memory_order_acquire) != item_before)) {
            if (control.stop || diverged) return;
            std::this_thread::yield();
        }
        const SgdBlock<T> block = plan.walked(user_band, item_band, epoch);
        if (block.n_runs > 0 && !diverged.load(std::memory_order_relaxed)) {
            losses[chunk] = kernel.sgd_block(block, model);
            // A hair above the limit, so that the order of this sum decides nothing.
            const double sum = running.fetch_add(losses[chunk]) + losses[chunk];
            if (!(sum <= limit * (1 + 1e-9))) diverged = true;
        }
        user_done[user_band].fetch_add(1, std::memory_order_release);
        item_done[item_band].fetch_add(1, std::memory_order_release);
    });

    EpochResult result;
    result.completed = !control.stop && !diverged;
    for (const double loss : losses) result.loss += loss;
    return result;
}

template <class T>
void visits(const SgdPlan<T>& plan, std::uint64_t epoch, std::int32_t* users,
            std::int64_t* entries) {
    const Strata strata(plan.bands(), plan.turns(), plan.seed(), epoch);
    for (std::int64_t chunk = 0; chunk < plan.blocks(); ++chunk) {
        const Strata::Place place = strata[chunk];
        const SgdBlock<T> block = plan.walked(place.user_band, place.item_band, epoch);
        for (std::int64_t i = 0; i < block.n_runs; ++i) {
            const std::int64_t run = (block.first_run + i) % block.n_runs;
            const std::int64_t begin = block.start[run], n = block.start[run + 1] - begin;
            const auto shift = (static_cast<std::uint64_t>(n) * block.entry_shift) >> 32;
            for (std::int64_t j = 0; j < n; ++j) {
                *users++ = block.user[run];
                *entries++ = begin + (static_cast<std::int64_t>(shift) + j) % n;
            }
        }
    }
}

template void visits<float>(const SgdPlan<float>&, std::uint64_t, std::int32_t*, std::int64_t*);
template void visits<double>(const SgdPlan<double>&, std::uint64_t, std::int32_t*, std::int64_t*);
template EpochResult run_sgd_epoch<float>(const SgdPlan<float>&, const SgdModel<float>&,
                                          std::uint64_t, bool, double, int, Control&);
template EpochResult run_sgd_epoch<double>(const SgdPlan<double>&, const SgdModel<double>&,
                                           std::uint64_t, bool, double, int, Control&);

}  // namespace matfac
