// A half sweep over rows whose fixed table lies in the basis of the work: which rows are solved how,
// by which thread, and the sum of their values.
#pragma once
#include <algorithm>
#include <vector>

#include "matfac/als.hpp"
#include "matfac/kernels.hpp"
#include "matfac/pair_table.hpp"
#include "matfac/row_schedule.hpp"
#include "banded_cg.hpp"
#include "sweep_rows.hpp"

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
        : s_(sweep), rows_(sweep, shared), control_(control), kernel_(kernels<T>()),
          plan_(s_.ratings, s_.fixed, by_gram(), s_.n_threads) {}

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
               PairTable<T>::worth(rows_.fixed());
    }
    SweepResult run_together() {
        const PairTable<T> pairs(rows_.fixed(), s_.n_threads, control_);
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
        Buffer<T> entries(static_cast<std::size_t>(2 * n * depth));
        Buffer<T> work(static_cast<std::size_t>(system_elements(k)));
        Buffer<T> sums(static_cast<std::size_t>(n * pairs.width())), moments(static_cast<std::size_t>(n * k));
        T *c = entries.data(), *g = c + n * depth;
        std::vector<double> constants(static_cast<std::size_t>(n), 0.0);
        for (std::int64_t b = 0; b < columns; b += depth) {
            if (control_.stopped(thread)) return;
            const std::int64_t end = std::min(columns, b + depth);
            for (std::int64_t i = 0; i < n; ++i) {
                RowProblem<T> p = rows_.problem(first + i);
                double curvature = 0;
                const std::int64_t row = s_.ratings.indptr[first + i];
                constants[i] += rows_.terms(p, row + b, row + end, c + i * depth, g + i * depth, curvature);
            }
            pairs.add(c, depth, n, b, end - b, sums.data());
            kernel_.multiply_add(moments.data(), k, g, depth, 1, s_.fixed.row(b), k, n, k, end - b);
        }
        for (std::int64_t i = 0; i < n; ++i) {
            begin_system(work.data());
            pairs.unpack(sums.data(), n, i, work.data());
            std::copy_n(moments.data() + i * k, k, work.data() + k * k);
            RowAnswer<T> a = solve_system(first + i, work.data(), constants[i]);
            if (!a.sound) a = solve_by_steps(first + i);
            values_[2 * chunk] += a.value + rows_.prior_constant(first + i);
            values_[2 * chunk + 1] += rows_.ridge_part(first + i, a.square);
        }
    }

    // Measured: conjugate gradient beats forming a Gram at every length, even where a row's factors
    // have to be gathered anew for each step. The Gram serves the exact solution alone.
    bool by_gram() const { return s_.cg_steps == 0 || s_.descends(); }

    std::size_t thread_elements() const {
        const std::int64_t k = s_.fixed.stride;
        const std::int64_t batch = 2 * plan_.batch_entries + plan_.batch_rows * kCgVectors * k;
        return static_cast<std::size_t>(std::max(
            batch, 2 * entry_capacity() + work_elements() + systems() * system_elements(k)));
    }
    std::int64_t work_elements() const {
        const std::int64_t k = s_.fixed.stride, tile = kTile * kTileRow(k);
        return std::max({by_gram() ? tile : cg_scratch(k), dual_scratch(k, longest_dual()),
                         short_scratch(k), systems() > 1 ? side_by_side_scratch(k) : 0});
    }
    // That a thread has room for.
    std::int64_t systems() const {
        if (!by_gram()) return 0;
        return s_.descends() || s_.fixed.stride > kSideBySideFactors ? 1 : kSideBySide<T>;
    }
    std::int64_t entry_capacity() const {
        const std::int64_t whole = by_gram() ? longest_dual() : plan_.longest;
        return padded(std::max(whole, kSegment));
    }
    T* thread_scratch(int thread) const {
        return scratch_.data() + static_cast<std::size_t>(thread) * thread_elements();
    }
    // A thread's entries, work and systems lie one after the other.
    T* thread_work(int thread) const { return thread_scratch(thread) + 2 * entry_capacity(); }
    T* thread_system(int thread, std::int64_t i) const {
        return thread_work(thread) + work_elements() + i * system_elements(s_.fixed.stride);
    }

    // Rows whose entries' systems a thread holds, and the constants that complete their squares.
    struct Formed {
        std::int64_t n = 0, rows[kSideBySide<T>];
        double constants[kSideBySide<T>];
    };

    void solve_chunk(std::int64_t chunk, int thread) {
        if (chunk < plan_.batches) return solve_batch(chunk, thread);
        const std::int64_t end = plan_.chunks[chunk + 1];
        double value = 0, ridge = 0;
        const auto add = [&](std::int64_t row, const RowAnswer<T>& a) {
            value += a.value + rows_.prior_constant(row);
            ridge += rows_.ridge_part(row, a.square);
        };
        Formed formed;
        std::int64_t work = kWork;  // since the last look at the clock
        for (std::int64_t i = plan_.chunks[chunk]; i < end;) {
            const std::int64_t few = short_from(i, end), n = std::max<std::int64_t>(1, few);
            for (std::int64_t j = i; j < i + n; ++j) {
                work += (s_.ratings.length(plan_.order[j]) + 1) * s_.fixed.stride;
                if (j + kNext < end) rows_.ahead(plan_.order[j + kNext]);
            }
            if (work > kWork) {
                if (control_.stopped(thread)) return;
                work = 0;
            }
            if (s_.ratings.length(plan_.order[i]) == 0) {
                rows_.reset(plan_.order[i++]);
                continue;
            }
            const std::int64_t next = plan_.order[std::min(i + 1, end - 1)];
            if (few > 0) {
                solve_short(i, n, end, formed, thread, add);
            } else if (by_gram()) {
                solve_by_gram(plan_.order[i], next, formed, thread, add);
            } else {
                const RowAnswer<T> a = solve_by_cg(plan_.order[i], next, thread);
                if (i < plan_.apart)
                    keep(i, plan_.order[i], a);
                else
                    add(plan_.order[i], a);
            }
            i += n;
        }
        if (formed.n > 0) solve_formed(formed, thread, add);
        values_[2 * (plan_.apart + chunk)] = value;
        values_[2 * (plan_.apart + chunk) + 1] = ridge;
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

    // Rows i..i + n of the order.
    template <class Add>
    void solve_short(std::int64_t i, std::int64_t n, std::int64_t end, Formed& formed, int thread,
                     Add&& add) const {
        RowProblem<T> rows[kShortRows];
        RowAnswer<T> answers[kShortRows];
        double constants[kShortRows];
        bool solved[kShortRows];
        T* const terms = thread_scratch(thread);
        for (std::int64_t j = 0; j < n; ++j) {
            const std::int64_t row = plan_.order[i + j], begin = s_.ratings.indptr[row];
            double curvature = 0;
            T* const c = terms + 2 * kShort * j;
            rows[j] = rows_.problem(row);
            answers[j] = rows_.answer(row);
            constants[j] = rows_.terms(rows[j], begin, s_.ratings.indptr[row + 1], c, c + kShort, curvature);
            if (i + j + n < end) announce(rows[j], plan_.order[i + j + n]);
        }
        kernel_.short_rows(rows, answers, solved, static_cast<int>(n),
                           by_gram() ? T(1) : relaxation(), terms + 2 * kShort * kShortRows);
        for (std::int64_t j = 0; j < n; ++j) {
            const std::int64_t row = plan_.order[i + j];
            if (solved[j]) {
                answers[j].value += constants[j];
                add(row, answers[j]);
            } else if (by_gram()) {
                form(row, row, formed, thread, add);
            } else {
                add(row, solve_by_cg(row, row, thread));
            }
        }
    }
    // Row `next` is to follow.
    void announce(RowProblem<T>& p, std::int64_t next) const {
        p.next = s_.ratings.indices + s_.ratings.indptr[next];
        p.n_next = s_.ratings.length(next);
    }

    // Of a row whose value is summed apart.
    void keep(std::int64_t at, std::int64_t row, const RowAnswer<T>& a) {
        values_[2 * at] = a.value + rows_.prior_constant(row);
        values_[2 * at + 1] = rows_.ridge_part(row, a.square);
    }

    // Adds the terms, in c and g, to the row's problem; returns the constant that completes the square.
    double begin_cg(CgRow<T>& cg, std::int64_t row, T* c, T* g, T* work) const {
        RowProblem<T>& p = cg.problem;
        double curvature = 0;
        const double constant =
            rows_.terms(p, s_.ratings.indptr[row], s_.ratings.indptr[row + 1], c, g, curvature);
        p.bias_curvature = static_cast<T>(curvature) + p.bias_ridge;
        if (s_.loss == Loss::ratings) p.precondition_scale = static_cast<T>(curvature);
        cg.answer = rows_.answer(row);
        cg.work = work;
        return constant;
    }

    RowAnswer<T> solve_by_cg(std::int64_t row, std::int64_t next, int thread) const {
        T *c = thread_scratch(thread), *g = c + entry_capacity();
        CgRow<T> cg{rows_.problem(row)};
        const double constant = begin_cg(cg, row, c, g, g + entry_capacity());
        if (next != row) announce(cg.problem, next);
        kernel_.row_cg(cg, s_.cg_steps, tolerance(), relaxation());
        cg.answer.value += constant;
        return cg.answer;
    }
    // From zero, by so many steps that rounding ends them: where a factorization fails, they find what the
    // entries say. Its bits are the row's own.
    RowAnswer<T> solve_by_steps(std::int64_t row) const {
        const std::int64_t k = s_.fixed.stride, room = padded(s_.ratings.length(row));
        Buffer<T> scratch(static_cast<std::size_t>(2 * room + cg_scratch(k) + k));
        T *c = scratch.data(), *g = c + room, *squares = g + room, *work = squares + k;
        CgRow<T> cg{rows_.problem(row)};
        const double constant = begin_cg(cg, row, c, g, work);
        std::fill_n(cg.answer.x, k, T(0));
        if (cg.answer.bias != nullptr) *cg.answer.bias = T(0);
        RowProblem<T>& p = cg.problem;
        if (p.scale == 0) {  // They share no matrix: of their own squares, no size of them overflows.
            std::fill_n(squares, k, T(0));
            for (std::int64_t j = 0; j < p.n; ++j)
                for (std::int64_t i = 0; i < k; ++i) {
                    const T y = p.table.row(p.index[j])[i];
                    squares[i] += c[j] * y * y;
                }
            p.shared = squares;
            p.precondition_scale = 1;
            p.largest_shared = *std::max_element(squares, squares + k);
        }
        kernel_.row_cg(cg, static_cast<int>(4 * k), T(0), T(1));
        cg.answer.value += constant;
        return cg.answer;
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
            rows.push_back({rows_.problem(row)});
            constants.push_back(begin_cg(rows.back(), row, c, g, work));
            free = work + kCgVectors * s_.fixed.stride;
        }
        if (!solve_in_bands(kernel_, rows.data(), n, s_.cg_steps, tolerance(), relaxation(),
                            [&] { return control_.stopped(thread); }))
            return;
        for (std::int64_t i = 0; i < n; ++i) {
            rows[i].answer.value += constants[i];
            keep(begin + i, plan_.order[begin + i], rows[i].answer);
        }
    }

    // Zeros, and in front of them the matrix that every row's system starts with; moments alone where
    // the Gram will be `written` over.
    void begin_system(T* work, bool written = false) const {
        const std::int64_t k = s_.fixed.stride, from = written ? k * k : 0;
        std::fill_n(work + from, k * k - from + 4 * k + 16, T(0));
        if (s_.descends() && rows_.shared != nullptr) std::copy_n(rows_.shared, k * k, work);
    }

    // The answer of the row whose entries' system lies in `work`, its value with the constant
    // and the lasso.
    RowAnswer<T> solve_system(std::int64_t row, T* work, double constant) const {
        const RowProblem<T> p = rows_.problem(row);
        T* moments = work + s_.fixed.stride * s_.fixed.stride;
        rows_.add_prior(p, moments);
        RowAnswer<T> a = rows_.answer(row);
        if (s_.descends())
            kernel_.row_descend(p, work, moments, a, s_.cg_steps > 0 ? s_.cg_steps : kPasses,
                                static_cast<T>(s_.tolerance));
        else
            kernel_.row_solve(p, work, moments, a);
        a.value += constant + rows_.lasso_part(row);
        return a;
    }

    // Adds entries [begin, end) to the Gram and moments that lie in `work`; returns the constant.
    // Those of row `next` are to follow.
    double add_gram(RowProblem<T>& p, std::int64_t begin, std::int64_t end, std::int64_t next,
                    T* work, int thread) const {
        const std::int64_t k = s_.fixed.stride;
        T *scratch = thread_scratch(thread), *moments = work + k * k;
        double constant = 0, curvature = 0;
        for (std::int64_t b = begin; b < end && !control_.stopped(thread); b += kSegment) {
            constant += rows_.terms(p, b, std::min(end, b + kSegment), scratch,
                             scratch + entry_capacity(), curvature);
            const bool last = end - b <= kSegment;
            p.next = s_.ratings.indices + (last ? s_.ratings.indptr[next] : b + kSegment);
            p.n_next = last ? s_.ratings.length(next) : end - b - kSegment;
            kernel_.row_gram(p, work, moments, thread_work(thread));
            p.starts = false;
        }
        return constant;
    }

    // By the entries' own products where that is less work; false: it is not.
    bool solve_by_dual(std::int64_t row, std::int64_t next, int thread, RowAnswer<T>& a) const {
        if (s_.descends() || drawn() || s_.ratings.length(row) > longest_dual()) return false;
        RowProblem<T> p = rows_.problem(row);
        T* scratch = thread_scratch(thread);
        double curvature = 0;
        const double constant =
            rows_.terms(p, s_.ratings.indptr[row], s_.ratings.indptr[row + 1], scratch,
                        scratch + entry_capacity(), curvature);
        if (next != row) announce(p, next);
        a = rows_.answer(row);
        if (!kernel_.row_dual(p, a, thread_work(thread))) return false;
        a.value += constant;
        return true;
    }
    std::int64_t longest_dual() const { return s_.fixed.stride * 3 / 4; }

    // add(row, answer), at once or together with rows to come.
    template <class Add>
    void solve_by_gram(std::int64_t row, std::int64_t next, Formed& formed, int thread,
                       Add&& add) const {
        RowAnswer<T> a;
        if (solve_by_dual(row, next, thread, a))
            add(row, a);
        else
            form(row, next, formed, thread, add);
    }

    // By its own length alone, so that its bits do not depend on the rows around it.
    bool side_by_side(std::int64_t row) const {
        return systems() > 1 && s_.ratings.length(row) <= kSideBySideEntries;
    }

    template <class Add>
    void form(std::int64_t row, std::int64_t next, Formed& formed, int thread, Add&& add) const {
        T* system = thread_system(thread, formed.n);
        RowProblem<T> p = rows_.problem(row);
        p.starts = !s_.descends();
        begin_system(system, p.starts);
        const double constant =
            add_gram(p, s_.ratings.indptr[row], s_.ratings.indptr[row + 1], next, system, thread);
        if (!side_by_side(row)) {
            const RowAnswer<T> a = solve_system(row, system, constant);
            return add(row, a.sound ? a : solve_by_steps(row));
        }
        formed.rows[formed.n] = row;
        formed.constants[formed.n++] = constant;
        if (formed.n == systems()) solve_formed(formed, thread, add);
    }

    template <class Add>
    void solve_formed(Formed& formed, int thread, Add&& add) const {
        const std::int64_t n = formed.n;
        RowProblem<T> problems[kSideBySide<T>];
        RowAnswer<T> answers[kSideBySide<T>];
        const T* at[kSideBySide<T>] = {};
        const std::int64_t moments = s_.fixed.stride * s_.fixed.stride;
        for (std::int64_t r = 0; r < n; ++r) {
            T* system = thread_system(thread, r);
            problems[r] = rows_.problem(formed.rows[r]);
            answers[r] = rows_.answer(formed.rows[r]);
            rows_.add_prior(problems[r], system + moments);
            at[r] = system;
        }
        kernel_.rows_solve(problems, at, answers, static_cast<int>(n), thread_work(thread));
        for (std::int64_t r = 0; r < n; ++r) {
            answers[r].value += formed.constants[r];
            add(formed.rows[r], answers[r].sound ? answers[r] : solve_by_steps(formed.rows[r]));
        }
        formed.n = 0;
    }

    // One row, all threads: its entries in pieces whose number does not depend on the threads.
    void solve_giant(std::int64_t g) {
        const std::int64_t row = plan_.order[g], n = s_.ratings.length(row);
        const std::int64_t size = system_elements(s_.fixed.stride);
        const std::int64_t begin = s_.ratings.indptr[row];
        const std::int64_t pieces = std::min<std::int64_t>(16, n / (kGiant / 4));
        Buffer<T> works(static_cast<std::size_t>(pieces * size));
        begin_system(works.data());
        std::vector<double> constants(static_cast<std::size_t>(pieces), 0.0);
        for_chunks(s_.n_threads, pieces, control_, [&](std::int64_t piece, int thread) {
            RowProblem<T> p = rows_.problem(row);
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
        keep(g, row, solve_system(row, works.data(), constant));
    }

    const HalfSweep<T>& s_;
    const SweepRows<T> rows_;
    Control& control_;
    const KernelTable<T>& kernel_;
    RowSchedule plan_;
    Buffer<T> scratch_;
    std::vector<double> values_;  // value and ridge part per row apart and per chunk, summed in order
};

}  // namespace matfac
