// Alternating least squares: one half sweep solves every row of one side against the other.
#pragma once
#include <cstdint>
#include <vector>

#include "matfac/blas.hpp"
#include "matfac/loss.hpp"
#include "matfac/memory.hpp"
#include "matfac/parallel.hpp"
#include "matfac/views.hpp"

namespace matfac {

// The eigenbasis of a table's Gram: of the sum over its rows or, loosely, of their (weighted) mean.
template <class T>
struct SharedBasis {
    Buffer<T> eigenvalues;     // stride entries; padding 0
    Buffer<T> vectors;         // stride x stride, column j the j-th eigenvector; empty: of the identity
    std::vector<double> gram;  // the sum itself, k x k
    std::int64_t n_rows = 0;   // of the table
};

template <class T>
struct HalfSweep {
    CsrView<T> ratings;  // its rows are the rows being solved
    Loss loss = Loss::ratings;
    double mean = 0;   // ratings
    double alpha = 0;  // ials, hu
    TableView<T> fixed;
    TableView<T> solved;            // warm start in, answer out
    const T* fixed_bias = nullptr;  // ratings; null: no biases
    T* solved_bias = nullptr;
    TableView<T> prior;               // what the ridge pulls solved rows towards; data null: zero.
                                      // Turned along with them, and left so
    const T* prior_bias = nullptr;    // likewise
    // Without keep_basis: more tables in the basis of these, which are turned along where they are.
    std::vector<TableView<T>> along;
    const T* ridge = nullptr;         // one per solved row
    const T* fixed_weight = nullptr;  // ratings with cg_steps: entries per fixed row; null: as many each
    const T* lasso = nullptr;         // one per solved row, + lasso |x|_1; null: none
    bool nonnegative = false;         // factors at or above 0; biases are free
    // 0: exact, by Cholesky. Rows of few entries without a prior are solved exactly all the same
    // (shorter_than_steps), and go `relaxation` times the way. With lasso or nonnegative it counts
    // passes of coordinate descent instead, and 0 stands for as many as it takes, 2000 at most.
    int cg_steps = 0;
    double tolerance = 0;    // these steps end early at this reduction (squared)
    double relaxation = 1;   // these steps go so many times as far; within (0, 2) the value falls
    bool keep_basis = false;  // true: fixed stays as it is and solved comes in its basis
    // With keep_basis: of the table that `fixed` holds a part of, the rows that entries meet; null:
    // fixed is whole, and its basis is found here.
    const SharedBasis<T>* basis = nullptr;
    int n_threads = 1;

    bool descends() const { return nonnegative || lasso != nullptr; }
};

struct SweepResult {
    double value = 0;       // loss at the entries and cells + the solved side's ridge and lasso part
    double ridge = 0;       // that part alone
    bool completed = true;  // false: stopped by control, and the tables are good for nothing
};

template <class T>
SweepResult run_half_sweep(const HalfSweep<T>& sweep, const BlasTable& blas, Control& control);

// sum_r weight_r y_r y_r' (weight null: 1) over a table's rows, or every step-th of them: k x k, the same
// for any thread count.
template <class T>
std::vector<double> table_gram(TableView<const T> table, const T* weight, int n_threads,
                               Control& control, std::int64_t step = 1);

// loosely: for a preconditioner alone, so that a basis in which the Gram is diagonal but for little
// stays.
template <class T>
SharedBasis<T> shared_basis(TableView<const T> table, const T* weight, bool loosely,
                            const BlasTable& blas, int n_threads, Control& control);

// The way back: vectors transposed.
template <class T>
SharedBasis<T> transposed(const SharedBasis<T>& basis);

// table <- table * vectors. Interrupted, it leaves a table that is good for nothing.
template <class T>
void rotate_table(TableView<T> table, const SharedBasis<T>& basis, int n_threads,
                  Control& control);

}  // namespace matfac
