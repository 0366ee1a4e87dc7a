// A half sweep over rows whose fixed table lies in the basis of the work: which rows are solved how,
// by which thread, and the sum of their values.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "matfac/als.hpp"
#include "matfac/kernels.hpp"
#include "matfac/pair_table.hpp"
#include "matfac/row_schedule.hpp"
#include "banded_cg.hpp"
#include "row_terms.hpp"

namespace matfac {

constexpr std::int64_t kSegment = 2048;  // entries a Gram takes at a time
constexpr std::int64_t kTogether = 32;   // rows whose Grams are one product
constexpr std::int64_t kWork = 1 << 16;  // entries times factors between looks at the clock
constexpr std::int64_t kNext = 2 * kShortRows;  // rows between a prefetch and its use
constexpr int kPasses = 2000;  // over the coordinates, at most: rounding may keep a row moving

template <class T>
class Sweep {
public:
    // shared: eigenvalues of the matrix that all rows share or, where rows are descended, that
    // matrix itself (stride x stride, its weight included). Null: none.
    Sweep(const HalfSweep<T>& sweep, const T* shared, Control& control)
        : s_(sweep), shared_(shared), control_(control), kernel_(kernels<T>()),
          plan_(s_.ratings, s_.fixed, by_gram(), s_.n_threads) {
        if (shared != nullptr && !s_.descends())
            largest_shared_ = *std::max_element(shared, shared + s_.fixed.k);
    }

    SweepResult run() {
        if (together()) return run_together();
        scratch_ = Buffer<T>(static_cast<std::size_t>(s_.n_threads) * thread_elements());
        values_.assign(static_cast<std::size_t>(2 * (plan_.apart + plan_.n_chunks())), 0.0);
        for (std::int64_t g = 0; g < plan_.giants && !control_.stop; ++g) solve_giant(g);
        for_chunks(s_.n_threads, plan_.n_chunks(), control_,
                   [&](std::int64_t chunk, int thread) { solve_chunk(chunk, thread); });
        return result();
    }

private:
    SweepResult result() const {
        SweepResult result;
        result.completed = !control_.stop;
        for (std::size_t i = 0; i < values_.size(); i += 2) {
            result.value += values_[i];
            result.ridge += values_[i + 1];
        }
        return result;
    }

    // Whether the rows have all entries, so that one product forms their Grams.
    bool together() const {
        return s_.ratings.full && s_.ratings.weights != nullptr && s_.loss == Loss::ratings &&
               by_gram() && s_.fixed_bias == nullptr && s_.ratings.n_rows >= kTogether &&
               PairTable<T>::worth(fixed());
    }
    TableView<const T> fixed() const {
        return {s_.fixed.n_rows, s_.fixed.k, s_.fixed.stride, s_.fixed.data};
    }
    TableView<const T> solved() const {
        return {s_.solved.n_rows, s_.solved.k, s_.solved.stride, s_.solved.data};
    }

    SweepResult run_together() {
        const PairTable<T> pairs(fixed(), s_.n_threads, control_);
        const std::int64_t rows = s_.ratings.n_rows, chunks = (rows + kTogether - 1) / kTogether;
        values_.assign(static_cast<std::size_t>(2 * chunks), 0.0);
        for_chunks(s_.n_threads, chunks, control_, [&](std::int64_t chunk, int thread) {
            const std::int64_t first = chunk * kTogether;
            solve_together(pairs, first, std::min(kTogether, rows - first), chunk, thread);
        });
        return result();
    }

    // Rows first..first + n, their entries kDepth at a time.
    void solve_together(const PairTable<T>& pairs, std::int64_t first, std::int64_t n,
                        std::int64_t chunk, int thread) {
        constexpr std::int64_t depth = PairTable<T>::kDepth;
        const std::int64_t k = s_.fixed.stride, columns = s_.ratings.n_cols;
        const std::int64_t size = k * k + 4 * k + 16;
        Buffer<T> entries(static_cast<std::size_t>(2 * n * depth)), work(static_cast<std::size_t>(size));
        Buffer<T> sums(static_cast<std::size_t>(n * pairs.width())), moments(static_cast<std::size_t>(n * k));
        T *c = entries.data(), *g = c + n * depth;
        std::vector<double> constants(static_cast<std::size_t>(n), 0.0);
        for (std::int64_t b = 0; b < columns; b += depth) {
            if (control_.stopped(thread)) return;
            const std::int64_t end = std::min(columns, b + depth);
            for (std::int64_t i = 0; i < n; ++i) {
                RowProblem<T> p = problem(first + i);
                double curvature = 0;
                const std::int64_t row = s_.ratings.indptr[first + i];
                constants[i] += fill(p, row + b, row + end, c + i * depth, g + i * depth, curvature);
            }
            pairs.add(c, depth, n, b, end - b, sums.data());
            kernel_.multiply_add(moments.data(), k, g, depth, 1, s_.fixed.row(b), k, n, k, end - b);
        }
        for (std::int64_t i = 0; i < n; ++i) {
            begin_system(work.data());
            pairs.unpack(sums.data(), n, i, work.data());
            std::copy_n(moments.data() + i * k, k, work.data() + k * k);
            const double value = solve_system(first + i, work.data());
            values_[2 * chunk] += constants[i] + value + prior_constant(first + i);
            values_[2 * chunk + 1] += ridge_part(first + i);
        }
    }

    // Measured: conjugate gradient beats forming a Gram at every length, even where a row's factors
    // have to be gathered anew for each step. The Gram serves the exact solution alone.
    bool by_gram() const { return s_.cg_steps == 0 || s_.descends(); }

    std::size_t thread_elements() const {
        const std::int64_t k = s_.fixed.stride;
        const std::int64_t cg = cg_scratch(k), gram = k * k + 4 * k + 16 + kTile * kTileRow(k);
        const std::int64_t dual = dual_scratch(k, longest_dual());
        const std::int64_t batch = 2 * plan_.batch_entries + plan_.batch_rows * kCgVectors * k;
        return static_cast<std::size_t>(
            std::max(batch, 2 * entry_capacity() + std::max({cg, gram, dual, short_scratch(k)})));
    }
    std::int64_t entry_capacity() const {
        const std::int64_t whole = by_gram() ? longest_dual() : plan_.longest;
        return padded(std::max(whole, kSegment));
    }
    T* thread_scratch(int thread) const {
        return scratch_.data() + static_cast<std::size_t>(thread) * thread_elements();
    }

    RowProblem<T> problem(std::int64_t row) const {
        RowProblem<T> p;
        p.table = fixed();
        p.shared = s_.descends() ? nullptr : shared_;
        p.ridge = s_.ridge[row];
        p.largest_shared = largest_shared_;
        if (s_.loss != Loss::ratings) {
            p.scale = static_cast<T>(s_.loss == Loss::ials ? s_.alpha : 1.0);
            p.precondition_scale = p.scale;
        }
        p.bias = s_.fixed_bias != nullptr;
        p.bias_ridge = p.bias ? p.ridge : T(0);
        p.lasso = s_.lasso != nullptr ? s_.lasso[row] : T(0);
        p.nonnegative = s_.nonnegative;
        if (s_.prior.data != nullptr) p.prior = s_.prior.row(row);
        if (s_.prior_bias != nullptr) p.prior_bias = s_.prior_bias[row];
        return p;
    }

    double fill(RowProblem<T>& p, std::int64_t begin, std::int64_t end, T* c, T* g,
                double& curvature) const {
        return fill_terms(s_, p, begin, end, c, g, curvature);
    }

    RowAnswer<T> answer(std::int64_t row) const {
        return {s_.solved.row(row), s_.solved_bias != nullptr ? s_.solved_bias + row : nullptr, 0};
    }

    // A row without entries is its prior.
    void reset(std::int64_t row) const {
        if (s_.prior.data != nullptr)
            std::copy_n(s_.prior.row(row), s_.solved.stride, s_.solved.row(row));
        else
            std::fill_n(s_.solved.row(row), s_.solved.stride, T(0));
        if (s_.solved_bias != nullptr)
            s_.solved_bias[row] = s_.prior_bias != nullptr ? s_.prior_bias[row] : T(0);
    }

    double lasso_part(std::int64_t row) const {
        if (s_.lasso == nullptr) return 0;
        double norm = 0;
        for (std::int64_t j = 0; j < s_.solved.k; ++j)
            norm += std::abs(static_cast<double>(s_.solved.row(row)[j]));
        return norm * static_cast<double>(s_.lasso[row]);
    }

    double ridge_part(std::int64_t row) const {
        const auto ridge = static_cast<double>(s_.ridge[row]);
        double part =
            s_.prior.data == nullptr
                ? kernel_.squares(solved(), s_.ridge, row, row + 1)
                : ridge * distance(s_.solved.row(row), s_.prior.row(row), s_.solved.stride);
        if (s_.solved_bias != nullptr) {
            const double z =
                static_cast<double>(s_.solved_bias[row]) -
                (s_.prior_bias != nullptr ? static_cast<double>(s_.prior_bias[row]) : 0.0);
            part += ridge * z * z;
        }
        return part + lasso_part(row);
    }

    // What completes the square of the ridge: ridge |prior|^2.
    double prior_constant(std::int64_t row) const {
        double norm = 0;
        if (s_.prior.data != nullptr)
            norm = dot(s_.prior.row(row), s_.prior.row(row), s_.prior.stride);
        if (s_.prior_bias != nullptr) {
            const auto b = static_cast<double>(s_.prior_bias[row]);
            norm += b * b;
        }
        return norm * static_cast<double>(s_.ridge[row]);
    }

    void solve_chunk(std::int64_t chunk, int thread) {
        if (chunk < plan_.batches) return solve_batch(chunk, thread);
        const std::int64_t end = plan_.chunks[chunk + 1];
        double value = 0, ridge = 0, own[kShortRows];
        std::int64_t work = kWork;  // since the last look at the clock
        for (std::int64_t i = plan_.chunks[chunk]; i < end;) {
            const std::int64_t few = short_from(i, end), n = std::max<std::int64_t>(1, few);
            for (std::int64_t j = i; j < i + n; ++j) {
                work += (s_.ratings.length(plan_.order[j]) + 1) * s_.fixed.stride;
                if (j + kNext < end) ahead(plan_.order[j + kNext]);
            }
            if (work > kWork) {
                if (control_.stopped(thread)) return;
                work = 0;
            }
            if (s_.ratings.length(plan_.order[i]) == 0) {
                reset(plan_.order[i++]);
                continue;
            }
            if (few > 0)
                solve_short(i, n, end, own, thread);
            else
                own[0] = solve_alone(plan_.order[i], plan_.order[std::min(i + 1, end - 1)], thread);
            for (std::int64_t j = 0; j < n; ++i, ++j) {
                const std::int64_t row = plan_.order[i];
                const double all = own[j] + prior_constant(row), part = ridge_part(row);
                if (i < plan_.apart) {
                    keep(i, all, part);
                } else {
                    value += all;
                    ridge += part;
                }
            }
        }
        keep(plan_.apart + chunk, value, ridge);
    }

    double solve_alone(std::int64_t row, std::int64_t next, int thread) const {
        return by_gram() ? solve_by_gram(row, next, thread) : solve_by_cg(row, next, thread);
    }

    // How many rows from the i-th on are short, and solved together.
    std::int64_t short_from(std::int64_t i, std::int64_t end) const {
        std::int64_t n = 0;
        if (drawn() || s_.descends()) return n;
        const std::int64_t most = by_gram() ? kShort : shorter_than_steps(s_.cg_steps, s_.fixed.stride);
        while (n < kShortRows && i + n < end) {
            const std::int64_t length = s_.ratings.length(plan_.order[i + n]);
            if (length == 0 || length > most) break;
            ++n;
        }
        return n;
    }
    bool drawn() const { return s_.prior.data != nullptr || s_.prior_bias != nullptr; }

    // Rows i..i + n of the order; own: their values.
    void solve_short(std::int64_t i, std::int64_t n, std::int64_t end, double* own, int thread) const {
        RowProblem<T> rows[kShortRows];
        RowAnswer<T> answers[kShortRows];
        bool solved[kShortRows];
        T* const terms = thread_scratch(thread);
        for (std::int64_t j = 0; j < n; ++j) {
            const std::int64_t row = plan_.order[i + j], begin = s_.ratings.indptr[row];
            double curvature = 0;
            T* const c = terms + 2 * kShort * j;
            rows[j] = problem(row);
            answers[j] = answer(row);
            own[j] = fill(rows[j], begin, s_.ratings.indptr[row + 1], c, c + kShort, curvature);
            if (i + j + n < end) announce(rows[j], plan_.order[i + j + n]);
        }
        kernel_.short_rows(rows, answers, solved, static_cast<int>(n),
                           by_gram() ? T(1) : relaxation(), terms + 2 * kShort * kShortRows);
        for (std::int64_t j = 0; j < n; ++j)
            own[j] = solved[j] ? own[j] + answers[j].value
                               : solve_alone(plan_.order[i + j], plan_.order[i + j], thread);
    }
    // Row `next` is to follow.
    void announce(RowProblem<T>& p, std::int64_t next) const {
        p.next = s_.ratings.indices + s_.ratings.indptr[next];
        p.n_next = s_.ratings.length(next);
    }

    void keep(std::int64_t at, double value, double ridge) {
        values_[2 * at] = value;
        values_[2 * at + 1] = ridge;
    }

    // Rows of a like length lie apart: the processor does not see the next one coming.
    void ahead(std::int64_t row) const {
        constexpr std::int64_t line = 64 / sizeof(T);
        const std::int64_t begin = s_.ratings.indptr[row];
        const std::int64_t end = std::min(begin + 4 * line, s_.ratings.indptr[row + 1]);
        for (std::int64_t j = begin; j < end; j += line) {
            __builtin_prefetch(s_.ratings.indices + j);
            if (s_.ratings.values != nullptr) __builtin_prefetch(s_.ratings.values + j);
            if (s_.ratings.weights != nullptr) __builtin_prefetch(s_.ratings.weights + j);
        }
        for (std::int64_t j = 0; j < s_.solved.stride; j += line)
            __builtin_prefetch(s_.solved.row(row) + j, 1);
    }

    // Adds the terms, in c and g, to the row's problem; returns the constant that completes the square.
    double begin_cg(CgRow<T>& cg, std::int64_t row, T* c, T* g, T* work) const {
        RowProblem<T>& p = cg.problem;
        double curvature = 0;
        const double constant =
            fill(p, s_.ratings.indptr[row], s_.ratings.indptr[row + 1], c, g, curvature);
        p.bias_curvature = static_cast<T>(curvature) + p.bias_ridge;
        if (s_.loss == Loss::ratings) p.precondition_scale = static_cast<T>(curvature);
        cg.answer = answer(row);
        cg.work = work;
        return constant;
    }

    double solve_by_cg(std::int64_t row, std::int64_t next, int thread) const {
        T *c = thread_scratch(thread), *g = c + entry_capacity();
        CgRow<T> cg{problem(row)};
        const double constant = begin_cg(cg, row, c, g, g + entry_capacity());
        if (next != row) announce(cg.problem, next);
        kernel_.row_cg(cg, s_.cg_steps, tolerance(), relaxation());
        return constant + cg.answer.value;
    }
    T tolerance() const { return static_cast<T>(s_.tolerance); }
    T relaxation() const { return static_cast<T>(s_.relaxation); }

    void solve_batch(std::int64_t chunk, int thread) {
        const std::int64_t begin = plan_.chunks[chunk], n = plan_.chunks[chunk + 1] - begin;
        std::vector<CgRow<T>> rows;
        std::vector<double> constants;
        T* free = thread_scratch(thread);
        for (std::int64_t i = 0; i < n; ++i) {
            if (control_.stopped(thread)) return;
            const std::int64_t row = plan_.order[begin + i], room = padded(s_.ratings.length(row));
            T *c = free, *g = c + room, *work = g + room;
            rows.push_back({problem(row)});
            constants.push_back(begin_cg(rows.back(), row, c, g, work) + prior_constant(row));
            free = work + kCgVectors * s_.fixed.stride;
        }
        if (!solve_in_bands(kernel_, rows.data(), n, s_.cg_steps, tolerance(), relaxation(),
                            [&] { return control_.stopped(thread); }))
            return;
        for (std::int64_t i = 0; i < n; ++i)
            keep(begin + i, constants[i] + rows[i].answer.value, ridge_part(plan_.order[begin + i]));
    }

    // Zeros, and in front of them the matrix that every row's system starts with; moments alone where
    // the Gram will be `written` over.
    void begin_system(T* work, bool written = false) const {
        const std::int64_t k = s_.fixed.stride, from = written ? k * k : 0;
        std::fill_n(work + from, k * k - from + 4 * k + 16, T(0));
        if (s_.descends() && shared_ != nullptr) std::copy_n(shared_, k * k, work);
    }

    // The answer of the row whose whole system lies in `work`; returns its value, lasso included.
    double solve_system(std::int64_t row, T* work) const {
        const RowProblem<T> p = problem(row);
        const std::int64_t k = s_.fixed.stride;
        T* moments = work + k * k;
        if (p.prior != nullptr)
            for (std::int64_t j = 0; j < k; ++j) moments[j] += p.ridge * p.prior[j];
        moments[2 * k] += p.bias_ridge * p.prior_bias;
        RowAnswer<T> a = answer(row);
        if (!s_.descends()) {
            kernel_.row_solve(p, work, moments, a);
            return a.value;
        }
        kernel_.row_descend(p, work, moments, a, s_.cg_steps > 0 ? s_.cg_steps : kPasses,
                            static_cast<T>(s_.tolerance));
        return a.value + lasso_part(row);
    }

    // Adds entries [begin, end) to the Gram and moments that lie in `work`; returns the constant.
    // Those of row `next` are to follow.
    double add_gram(RowProblem<T>& p, std::int64_t begin, std::int64_t end, std::int64_t next,
                    T* work, int thread) const {
        const std::int64_t k = s_.fixed.stride;
        T *scratch = thread_scratch(thread), *moments = work + k * k;
        T* tile = scratch + 2 * entry_capacity() + k * k + 4 * k + 16;
        double constant = 0, curvature = 0;
        for (std::int64_t b = begin; b < end && !control_.stopped(thread); b += kSegment) {
            constant += fill(p, b, std::min(end, b + kSegment), scratch,
                             scratch + entry_capacity(), curvature);
            const bool last = end - b <= kSegment;
            p.next = s_.ratings.indices + (last ? s_.ratings.indptr[next] : b + kSegment);
            p.n_next = last ? s_.ratings.length(next) : end - b - kSegment;
            kernel_.row_gram(p, work, moments, tile);
            p.starts = false;
        }
        return constant;
    }

    // By the entries' own products where that is less work; false: it is not.
    bool solve_by_dual(std::int64_t row, std::int64_t next, int thread, double& value) const {
        if (s_.descends() || drawn() || s_.ratings.length(row) > longest_dual()) return false;
        RowProblem<T> p = problem(row);
        T* scratch = thread_scratch(thread);
        double curvature = 0;
        const double constant =
            fill(p, s_.ratings.indptr[row], s_.ratings.indptr[row + 1], scratch,
                 scratch + entry_capacity(), curvature);
        if (next != row) announce(p, next);
        RowAnswer<T> a = answer(row);
        if (!kernel_.row_dual(p, a, scratch + 2 * entry_capacity())) return false;
        value = constant + a.value;
        return true;
    }
    std::int64_t longest_dual() const { return s_.fixed.stride * 3 / 4; }

    double solve_by_gram(std::int64_t row, std::int64_t next, int thread) const {
        double value = 0;
        if (solve_by_dual(row, next, thread, value)) return value;
        T* work = thread_scratch(thread) + 2 * entry_capacity();
        RowProblem<T> p = problem(row);
        p.starts = !s_.descends();
        begin_system(work, p.starts);
        const double constant =
            add_gram(p, s_.ratings.indptr[row], s_.ratings.indptr[row + 1], next, work, thread);
        return constant + solve_system(row, work);
    }

    // One row, all threads: its entries in pieces whose number does not depend on the threads.
    void solve_giant(std::int64_t g) {
        const std::int64_t row = plan_.order[g], n = s_.ratings.length(row), k = s_.fixed.stride;
        const std::int64_t begin = s_.ratings.indptr[row], size = k * k + 4 * k + 16;
        const std::int64_t pieces = std::min<std::int64_t>(16, n / (kGiant / 4));
        Buffer<T> works(static_cast<std::size_t>(pieces * size));
        begin_system(works.data());
        std::vector<double> constants(static_cast<std::size_t>(pieces), 0.0);
        for_chunks(s_.n_threads, pieces, control_, [&](std::int64_t piece, int thread) {
            RowProblem<T> p = problem(row);
            constants[piece] = add_gram(p, begin + n * piece / pieces,
                                        begin + n * (piece + 1) / pieces, row,
                                        works.data() + piece * size, thread);
        });
        if (control_.stop) return;
        double constant = constants[0];
        for (std::int64_t piece = 1; piece < pieces; ++piece) {
            constant += constants[piece];
            for (std::int64_t j = 0; j < size; ++j) works[j] += works[piece * size + j];
        }
        const double value = constant + solve_system(row, works.data()) + prior_constant(row);
        keep(g, value, ridge_part(row));
    }

    const HalfSweep<T>& s_;
    const T* shared_;
    T largest_shared_ = 0;
    Control& control_;
    const KernelTable<T>& kernel_;
    RowSchedule plan_;
    Buffer<T> scratch_;
    std::vector<double> values_;  // value and ridge part per row apart and per chunk, summed in order
};

}  // namespace matfac
