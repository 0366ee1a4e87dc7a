#include "matfac/als.hpp"

#include <algorithm>
#include <vector>

#include "row_sweep.hpp"

namespace matfac {

template <class T>
SweepResult run_half_sweep(const HalfSweep<T>& sweep, const BlasTable& blas, Control& control) {
    const bool implicit = sweep.loss != Loss::ratings;
    if (!implicit && (sweep.cg_steps == 0 || sweep.descends()))
        return Sweep<T>(sweep, nullptr, control).run();
    const TableView<const T> fixed{sweep.fixed.n_rows, sweep.fixed.k, sweep.fixed.stride,
                                   sweep.fixed.data};
    if (sweep.descends()) {
        // The constraint is on these coordinates: nothing may be rotated.
        const double scale = sweep.loss == Loss::ials ? sweep.alpha : 1.0;
        const std::vector<double> gram =
            sweep.basis != nullptr ? sweep.basis->gram
                                   : table_gram<T>(fixed, nullptr, sweep.n_threads, control);
        if (control.stop) return {0, 0, false};
        Buffer<T> shared(static_cast<std::size_t>(fixed.stride * fixed.stride));
        for (std::int64_t i = 0; i < fixed.k; ++i)
            for (std::int64_t j = 0; j < fixed.k; ++j)
                shared[i * fixed.stride + j] = static_cast<T>(scale * gram[i * fixed.k + j]);
        return Sweep<T>(sweep, shared.data(), control).run();
    }
    SharedBasis<T> own;
    if (sweep.basis == nullptr)
        own = shared_basis<T>(fixed, implicit ? nullptr : sweep.fixed_weight, !implicit, blas,
                              sweep.n_threads, control);
    const SharedBasis<T>& basis = sweep.basis != nullptr ? *sweep.basis : own;
    if (control.stop) return {0, 0, false};
    HalfSweep<T> turned = sweep;
    Buffer<T> copy;
    if (sweep.keep_basis) {
        copy = Buffer<T>(static_cast<std::size_t>(fixed.n_rows * fixed.stride));
        std::copy_n(fixed.data, fixed.n_rows * fixed.stride, copy.data());
        turned.fixed.data = copy.data();
    }
    rotate_table(turned.fixed, basis, sweep.n_threads, control);
    if (sweep.cg_steps > 0) rotate_table(turned.solved, basis, sweep.n_threads, control);
    if (turned.prior.data != nullptr) rotate_table(turned.prior, basis, sweep.n_threads, control);
    if (!sweep.keep_basis)
        for (const TableView<T>& table : sweep.along)
            rotate_table(table, basis, sweep.n_threads, control);
    if (control.stop) return {0, 0, false};
    Buffer<T> mean;  // a given basis is that of the sum, and a row's ratings weigh as many times the mean
    const T* shared = basis.eigenvalues.data();
    if (!implicit && sweep.basis != nullptr) {
        mean = Buffer<T>(basis.eigenvalues.size());
        for (std::size_t j = 0; j < mean.size(); ++j)
            mean[j] = shared[j] / static_cast<T>(std::max<std::int64_t>(1, basis.n_rows));
        shared = mean.data();
    }
    const SweepResult result = Sweep<T>(turned, shared, control).run();
    if (sweep.keep_basis)
        rotate_table(turned.solved, transposed(basis), sweep.n_threads, control);
    return result;
}

template SweepResult run_half_sweep<float>(const HalfSweep<float>&, const BlasTable&, Control&);
template SweepResult run_half_sweep<double>(const HalfSweep<double>&, const BlasTable&, Control&);

}  // namespace matfac
