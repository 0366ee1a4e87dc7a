#include "matfac/sgd.hpp"

#include <atomic>

namespace matfac {

template <class T>
EpochResult run_sgd_epoch(const SgdPlan<T>& plan, const SgdModel<T>& model, std::uint64_t epoch,
                          bool deterministic, double limit, int n_threads, Control& control) {
    const auto& kernel = kernels<T>();
    const Strata strata(plan.bands(), plan.turns(), plan.seed(), epoch);
    std::vector<double> losses(static_cast<std::size_t>(plan.blocks()), 0.0);
    std::atomic<double> running{0};
    const auto train = [&](std::int64_t n, const Strata::Place& place, int) {
        const SgdBlock<T> block = plan.walked(place.user_band, place.item_band, epoch);
        if (block.n_runs == 0) return;
        losses[n] = kernel.sgd_block(block, model);
        double before = running.load();  // not every standard library adds to an atomic double
        while (!running.compare_exchange_weak(before, before + losses[n])) {
        }
        // A hair above the limit, so that the order of this sum decides nothing.
        if (!(before + losses[n] <= limit * (1 + 1e-9))) control.stop = true;
    };
    for_blocks(strata, deterministic, n_threads, control, train);

    EpochResult result;
    result.completed = !control.stop;
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
