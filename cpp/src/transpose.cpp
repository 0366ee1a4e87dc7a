#include "matfac/transpose.hpp"

#include <algorithm>
#include <vector>

namespace matfac {

constexpr std::int64_t kMisses = 32;  // of an entry, in multiplications

// Rows are cut into one piece a thread, of about equal weight. Each piece counts its columns; the
// running sum over pieces, column by column, tells each piece where its entries go.
template <class T>
void transpose(const CsrView<T>& from, std::int64_t* indptr, std::int32_t* indices, T* values,
               T* weights, int n_threads, Control& control) {
    n_threads = std::max(1, worth_threads(n_threads, kMisses * from.nnz()));
    const std::int64_t pieces = n_threads, n_cols = from.n_cols;
    std::vector<std::int64_t> bounds(static_cast<std::size_t>(pieces + 1), from.n_rows);
    for (std::int64_t p = 0; p < pieces; ++p)
        bounds[p] = std::lower_bound(from.indptr, from.indptr + from.n_rows,
                                     from.nnz() * p / pieces) - from.indptr;
    bounds[0] = 0;
    std::vector<std::vector<std::int64_t>> at(static_cast<std::size_t>(pieces));
    for_chunks(n_threads, pieces, control, [&](std::int64_t p, int thread) {
        at[p].assign(static_cast<std::size_t>(n_cols), 0);
        for (std::int64_t r = bounds[p]; r < bounds[p + 1] && !control.stopped(thread); ++r)
            for (std::int64_t e = from.indptr[r]; e < from.indptr[r + 1]; ++e)
                ++at[p][from.indices[e]];
    });
    touch_pages(indices, from.nnz(), n_threads, control);
    touch_pages(values, from.nnz(), n_threads, control);
    if (weights != nullptr) touch_pages(weights, from.nnz(), n_threads, control);
    if (control.stop) return;
    std::int64_t sum = 0;
    for (std::int64_t c = 0; c < n_cols; ++c) {
        indptr[c] = sum;
        for (std::int64_t p = 0; p < pieces; ++p) {
            const std::int64_t count = at[p][c];
            at[p][c] = sum;
            sum += count;
        }
    }
    indptr[n_cols] = sum;
    for_chunks(n_threads, pieces, control, [&](std::int64_t p, int thread) {
        for (std::int64_t r = bounds[p]; r < bounds[p + 1] && !control.stopped(thread); ++r)
            for (std::int64_t e = from.indptr[r]; e < from.indptr[r + 1]; ++e) {
                const std::int64_t to = at[p][from.indices[e]]++;
                indices[to] = static_cast<std::int32_t>(r);
                values[to] = from.values != nullptr ? from.values[e] : T(1);
                if (weights != nullptr) weights[to] = from.weights[e];
            }
    });
}

template void transpose<float>(const CsrView<float>&, std::int64_t*, std::int32_t*, float*, float*,
                               int, Control&);
template void transpose<double>(const CsrView<double>&, std::int64_t*, std::int32_t*, double*,
                                double*, int, Control&);

}  // namespace matfac
