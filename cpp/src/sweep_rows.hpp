// What a half sweep makes of its rows one by one: their problems, where the answers go, and the parts of
// the objective that depend on no entry.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>

#include "matfac/als.hpp"
#include "matfac/kernels.hpp"

namespace matfac {

// |a - b|^2, b null: |a|^2, in double and in a fixed order.
template <class T>
double distance(const T* a, const T* b, std::int64_t size) {
    constexpr int kParts = 8;  // sums side by side: one addition need not wait for another
    double part[kParts] = {}, sum = 0;
    for (std::int64_t j = 0; j < size; j += kParts)
        for (int i = 0; i < kParts; ++i) {
            const double z = static_cast<double>(a[j + i]) -
                             (b != nullptr ? static_cast<double>(b[j + i]) : 0.0);
            part[i] += z * z;
        }
    for (const double p : part) sum += p;
    return sum;
}

// Below this share of g, rounding in g^2 / c, which the forms by entries subtract, shows beside g.
template <class T>
constexpr T kFaint = T(0.01);

template <class T>
struct SweepRows {
    const HalfSweep<T>& s;
    const T* shared;  // as Sweep has it
    const KernelTable<T>& kernel = kernels<T>();
    T largest_shared = 0;  // of the eigenvalues

    SweepRows(const HalfSweep<T>& sweep, const T* matrix) : s(sweep), shared(matrix) {
        if (shared != nullptr && !s.descends())
            largest_shared = *std::max_element(shared, shared + s.fixed.k);
    }

    TableView<const T> fixed() const {
        return {s.fixed.n_rows, s.fixed.k, s.fixed.stride, s.fixed.data};
    }

    RowProblem<T> problem(std::int64_t row) const {
        RowProblem<T> p;
        p.table = fixed();
        p.shared = s.descends() ? nullptr : shared;
        p.ridge = s.ridge[row];
        p.largest_shared = largest_shared;
        if (s.loss != Loss::ratings) {
            p.scale = static_cast<T>(s.loss == Loss::ials ? s.alpha : 1.0);
            p.precondition_scale = p.scale;
        }
        p.bias = s.fixed_bias != nullptr;
        p.bias_ridge = p.bias ? p.ridge : T(0);
        p.lasso = s.lasso != nullptr ? s.lasso[row] : T(0);
        p.nonnegative = s.nonnegative;
        if (s.prior.data != nullptr) p.prior = s.prior.row(row);
        if (s.prior_bias != nullptr) p.prior_bias = s.prior_bias[row];
        return p;
    }

    // Entries [begin, end) of the row as terms in c and g, with room for a multiple of kLanes; returns the
    // constant that completes the squares.
    double terms(RowProblem<T>& p, std::int64_t begin, std::int64_t end, T* c, T* g,
                 double& curvature) const {
        RowEntries<T> e;
        e.loss = s.loss;
        e.n = p.n = end - begin;
        e.index = p.index = s.ratings.indices + begin;
        if (s.ratings.values != nullptr) e.values = s.ratings.values + begin;
        if (s.ratings.weights != nullptr) e.weights = s.ratings.weights + begin;
        e.bias = s.fixed_bias;
        e.mean = static_cast<T>(s.mean);
        e.alpha = static_cast<T>(s.alpha);
        p.c = c;
        p.g = g;
        p.unit = s.loss == Loss::ratings && e.weights == nullptr;
        const double constant = kernel.row_terms(e, c, g, curvature);
        if (s.loss == Loss::hu && p.n <= s.fixed.stride)
            for (std::int64_t j = 0; j < p.n; ++j) p.faint |= c[j] < kFaint<T> * g[j];
        return constant;
    }

    RowAnswer<T> answer(std::int64_t row) const {
        return {s.solved.row(row), s.solved_bias != nullptr ? s.solved_bias + row : nullptr, 0};
    }

    // A row without entries is its prior.
    void reset(std::int64_t row) const {
        if (s.prior.data != nullptr)
            std::copy_n(s.prior.row(row), s.solved.stride, s.solved.row(row));
        else
            std::fill_n(s.solved.row(row), s.solved.stride, T(0));
        if (s.solved_bias != nullptr)
            s.solved_bias[row] = s.prior_bias != nullptr ? s.prior_bias[row] : T(0);
    }

    double lasso_part(std::int64_t row) const {
        if (s.lasso == nullptr) return 0;
        double norm = 0;
        for (std::int64_t j = 0; j < s.solved.k; ++j)
            norm += std::abs(static_cast<double>(s.solved.row(row)[j]));
        return norm * static_cast<double>(s.lasso[row]);
    }

    // square: of the row's answer.
    double ridge_part(std::int64_t row, T square) const {
        const auto ridge = static_cast<double>(s.ridge[row]);
        double part = ridge * (s.prior.data == nullptr
                                   ? static_cast<double>(square)
                                   : distance(s.solved.row(row), s.prior.row(row), s.solved.stride));
        if (s.solved_bias != nullptr) {
            const double z =
                static_cast<double>(s.solved_bias[row]) -
                (s.prior_bias != nullptr ? static_cast<double>(s.prior_bias[row]) : 0.0);
            part += ridge * z * z;
        }
        return part + lasso_part(row);
    }

    // What completes the square of the ridge: ridge |prior|^2.
    double prior_constant(std::int64_t row) const {
        double norm = 0;
        if (s.prior.data != nullptr)
            norm = distance<T>(s.prior.row(row), nullptr, s.prior.stride);
        if (s.prior_bias != nullptr) {
            const auto b = static_cast<double>(s.prior_bias[row]);
            norm += b * b;
        }
        return norm * static_cast<double>(s.ridge[row]);
    }

    // The prior's part of the right sides in `moments`.
    void add_prior(const RowProblem<T>& p, T* moments) const {
        const std::int64_t k = s.fixed.stride;
        if (p.prior != nullptr)
            for (std::int64_t j = 0; j < k; ++j) moments[j] += p.ridge * p.prior[j];
        moments[2 * k] += p.bias_ridge * p.prior_bias;
    }

    // Rows of a like length lie apart: the processor does not see the next one coming.
    void ahead(std::int64_t row) const {
        constexpr std::int64_t line = 64 / sizeof(T);
        const std::int64_t begin = s.ratings.indptr[row];
        const std::int64_t end = std::min(begin + 4 * line, s.ratings.indptr[row + 1]);
        for (std::int64_t j = begin; j < end; j += line) {
            __builtin_prefetch(s.ratings.indices + j);
            if (s.ratings.values != nullptr) __builtin_prefetch(s.ratings.values + j);
            if (s.ratings.weights != nullptr) __builtin_prefetch(s.ratings.weights + j);
        }
        for (std::int64_t j = 0; j < s.solved.stride; j += line)
            __builtin_prefetch(s.solved.row(row) + j, 1);
    }
};

}  // namespace matfac
