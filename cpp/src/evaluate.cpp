#include "matfac/evaluate.hpp"

#include <algorithm>
#include <vector>

#include "matfac/kernels.hpp"

namespace matfac {

namespace {

constexpr std::int64_t kPairs = 4096;    // per hand-out
constexpr std::int64_t kLossRows = 256;  // per hand-out
constexpr std::int64_t kDots = 1024;     // entries of a row at a time
constexpr std::int64_t kRidgeRows = 4096;  // per hand-out

double entry_loss(Loss loss, double value, double weight, double s, double alpha) {
    switch (loss) {
        case Loss::ratings: return weight * (value - s) * (value - s);
        case Loss::ials: return weight * value * (s - 1) * (s - 1);
        default: {
            // The cell's own s^2 is part of the sum over all cells.
            const double c = 1 + alpha * value;
            return weight * (c * (1 - s) * (1 - s) - s * s);
        }
    }
}

// sum over all cells of (x.y)^2, through the two Grams
template <class T>
double all_cells(const Model<T>& m, int n_threads, Control& control) {
    const auto users = table_gram<T>(m.users, nullptr, n_threads, control);
    const auto items = table_gram<T>(m.items, nullptr, n_threads, control);
    double sum = 0;
    for (std::size_t i = 0; i < users.size(); ++i) sum += users[i] * items[i];
    return sum;
}

}  // namespace

template <class T>
void predict_pairs(const Model<T>& m, const std::int32_t* users, const std::int32_t* items,
                   std::int64_t n, double* out, int n_threads, Control& control) {
    const auto& kernel = kernels<T>();
    for_chunks(n_threads, (n + kPairs - 1) / kPairs, control, [&](std::int64_t chunk, int) {
        const std::int64_t begin = chunk * kPairs, end = std::min(n, begin + kPairs);
        T dots[kPairs];
        kernel.pair_dots(m.users, users + begin, m.items, items + begin, end - begin, dots);
        for (std::int64_t j = begin; j < end; ++j) {
            double s = m.mean + static_cast<double>(dots[j - begin]);
            if (m.user_bias != nullptr)
                s += static_cast<double>(m.user_bias[users[j]]) +
                     static_cast<double>(m.item_bias[items[j]]);
            out[j] = s;
        }
    });
}

template <class T>
double loss_value(const Model<T>& m, const CsrView<T>& r, Loss loss, double alpha, int n_threads,
                  Control& control) {
    const auto& kernel = kernels<T>();
    const std::int64_t chunks = (r.n_rows + kLossRows - 1) / kLossRows;
    std::vector<double> sums(static_cast<std::size_t>(chunks), 0.0);
    for_chunks(n_threads, chunks, control, [&](std::int64_t chunk, int thread) {
        const std::int64_t last = std::min(r.n_rows, (chunk + 1) * kLossRows);
        T dots[kDots];
        double sum = 0;
        for (std::int64_t row = chunk * kLossRows; row < last && !control.stopped(thread); ++row) {
            const double offset =
                m.mean + (m.user_bias != nullptr ? static_cast<double>(m.user_bias[row]) : 0.0);
            for (std::int64_t b = r.indptr[row]; b < r.indptr[row + 1]; b += kDots) {
                const std::int64_t n = std::min(kDots, r.indptr[row + 1] - b);
                kernel.row_dots(m.items, r.indices + b, n, m.users.row(row), dots);
                for (std::int64_t j = 0; j < n; ++j) {
                    double s = offset + static_cast<double>(dots[j]);
                    if (m.item_bias != nullptr)
                        s += static_cast<double>(m.item_bias[r.indices[b + j]]);
                    sum += entry_loss(loss, r.values != nullptr ? r.values[b + j] : 1.0,
                                      r.weights != nullptr ? r.weights[b + j] : 1.0, s, alpha);
                }
            }
        }
        sums[chunk] = sum;
    });
    double total = 0;
    for (const double sum : sums) total += sum;
    if (loss != Loss::ratings)
        total += (loss == Loss::ials ? alpha : 1.0) * all_cells(m, n_threads, control);
    return total;
}

template <class T>
double ridge_value(TableView<const T> table, const T* bias, const T* ridge, int n_threads,
                   Control& control) {
    const std::int64_t chunks = (table.n_rows + kRidgeRows - 1) / kRidgeRows;
    const auto& kernel = kernels<T>();
    std::vector<double> sums(static_cast<std::size_t>(chunks), 0.0);
    for_chunks(n_threads, chunks, control, [&](std::int64_t chunk, int) {
        const std::int64_t first = chunk * kRidgeRows;
        const std::int64_t last = std::min(table.n_rows, first + kRidgeRows);
        sums[chunk] = kernel.squares(table, ridge, first, last);
        for (std::int64_t i = first; bias != nullptr && i < last; ++i) {
            const auto b = static_cast<double>(bias[i]);
            sums[chunk] += static_cast<double>(ridge[i]) * b * b;
        }
    });
    double total = 0;
    for (const double sum : sums) total += sum;
    return total;
}

#define MATFAC_INSTANTIATE(T)                                                                     \
    template void predict_pairs<T>(const Model<T>&, const std::int32_t*, const std::int32_t*,     \
                                   std::int64_t, double*, int, Control&);                         \
    template double loss_value<T>(const Model<T>&, const CsrView<T>&, Loss, double, int, Control&); \
    template double ridge_value<T>(TableView<const T>, const T*, const T*, int, Control&);
MATFAC_INSTANTIATE(float)
MATFAC_INSTANTIATE(double)

}  // namespace matfac
