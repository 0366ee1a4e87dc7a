// The arithmetic the solvers ask for, one table of functions per instruction set.
// Every entry is a block of work (a row problem, a block of ratings), never a single dot product.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "matfac/loss.hpp"
#include "matfac/negatives.hpp"
#include "matfac/views.hpp"

namespace matfac {

// Entries of one row and what else makes the terms of its problem of them.
template <class T>
struct RowEntries {
    Loss loss = Loss::ratings;
    std::int64_t n = 0;
    const std::int32_t* index = nullptr;
    const T* values = nullptr;   // or null: 1
    const T* weights = nullptr;  // or null: 1
    const T* bias = nullptr;     // of all rows of the fixed table, or null: 0
    T mean = 0;
    T alpha = 0;
};

// One row's ridge problem, the same for every ALS half sweep. Over x (and the scalar b if `bias`):
//   sum_j c_j s_j^2 - 2 sum_j g_j s_j + sum_k diag_k x_k^2 - 2 ridge prior . x
//     + bias_ridge (b^2 - 2 prior_bias b),
//   s_j = table[index_j] . x (+ b),  diag_k = ridge + scale * shared_k.
// The fixed table lies in the eigenbasis of the shared matrix, so that matrix is a diagonal here; where
// it serves the preconditioner alone, nearly there is enough.
template <class T>
struct RowProblem {
    TableView<const T> table;
    const std::int32_t* index = nullptr;
    const T* c = nullptr;  // c and g go on with zeros up to a multiple of kLanes
    const T* g = nullptr;
    std::int64_t n = 0;
    bool unit = false;  // every c is 1
    bool faint = false;  // some g / c is too large for row_dual and short_rows, which leave the row
    const std::int32_t* next = nullptr;  // n_next rows of the table that come after, to be fetched
    std::int64_t n_next = 0;             // meanwhile
    bool starts = false;  // row_gram: `gram` is written over, its part below the diagonal left alone
    const T* shared = nullptr;  // eigenvalues, stride entries, or null: all zero
    T largest_shared = 0;       // of them
    T scale = 0;                // their weight in the problem
    T precondition_scale = 0;   // their weight in the preconditioner
    T ridge = 0;
    // Where the ridge pulls x, stride entries, or null: to zero. For row_cg; `moments` of the others
    // have it in them.
    const T* prior = nullptr;
    T prior_bias = 0;
    bool bias = false;
    T bias_ridge = 0;
    T bias_curvature = 0;  // preconditioner of the bias: sum_j c_j + bias_ridge
    T lasso = 0;               // row_descend alone: + lasso |x|_1,
    bool nonnegative = false;  // and x at or above 0
};

template <class T>
struct RowAnswer {
    T* x = nullptr;     // stride entries: warm start in, answer out
    T* bias = nullptr;  // likewise
    double value = 0;   // of the problem's objective at the answer
    T square = 0;       // x . x
    bool sound = true;  // false: of the system's factorization, rounding hid coordinates, left at zero
};

constexpr int kMostGroup = 4;  // entries that a kernel takes at a time, at most
constexpr int kCgVectors = 5;

// One row's conjugate gradient: its problem, and what lasts from pass to pass over its entries.
template <class T>
struct CgRow {
    RowProblem<T> problem;
    RowAnswer<T> answer{};
    T* work = nullptr;  // kCgVectors * stride elements; for row_cg cg_scratch(stride)
    // Set by the kernels. taken: steps along directions, the one under way included.
    int taken = 0;
    T bias = 0, r_bias = 0, d_bias = 0, rz = 0, enough = 0, flat = 0;
    T metric = 0;  // the direction's square in the preconditioner's norm
    double value = 0;
    T total[kMostGroup] = {}, squares[kMostGroup] = {};
};

// Adaptive state of a user's or item's row under SGD. Four T, so that one load brings it all.
template <class T>
struct SgdRow {
    T bias;
    T gradient_sum;  // running sum of squared errors, the AdaGrad denominator
    T decay;         // ridge per visit
    T unused;
};

// A block of ratings, user by user: run r holds entries start[r]..start[r + 1] of user[r].
template <class T>
struct SgdBlock {
    std::int64_t n_runs = 0;
    const std::int32_t* user = nullptr;
    const std::int64_t* start = nullptr;
    const std::int32_t* item = nullptr;
    const T* value = nullptr;      // null where the plan was made without
    const T* weight = nullptr;     // or null
    std::int64_t first_run = 0;     // where this epoch's walk over the runs begins, and
    std::uint32_t entry_shift = 0;  // the share (of 2^32) of a run after which it begins there
};

template <class T>
struct SgdModel {
    TableView<T> users;
    TableView<T> items;
    SgdRow<T>* user_rows = nullptr;
    SgdRow<T>* item_rows = nullptr;
    T mean = 0;
    T rate = 0;       // a step is rate / sqrt(gradient_sum) times the gradient
    T bias_rate = 1;  // the biases' share of it, in units of the ratings
    bool bias = true;
    bool nonnegative = false;  // every step ends at or above 0
};

// bpr: log(1 + exp(s_j - s_i)) for a positive i against each negative j, pair after pair.
// warp: w_t max(0, 1 - s_i + s_j) for the first negative j, the t-th tried, with 1 - s_i + s_j > 0.
// logistic: log(1 + exp(-s_i)) + sum_j log(1 + exp(s_j)), one step for the positive and all its j.
// softmax: log(1 + sum_j exp(s_j - s_i)), likewise.
enum class PairwiseLoss { bpr, warp, logistic, softmax };

template <class T>
struct PairwiseModel {
    SgdModel<T> sgd;
    PairwiseLoss loss = PairwiseLoss::bpr;
    int negatives = 1;               // per positive; warp: tried at most
    const T* trial_weight = nullptr;  // warp: w_t at t, from 1 to `negatives`
    bool items_fixed = false;        // steps change the users alone
};

struct PairwiseResult {
    double loss = 0;             // each term taken just before its own update
    std::int64_t n_samples = 0;  // positives that had a negative
};

// Elements of T and indices that a thread's walk over blocks needs.
constexpr std::int64_t pairwise_reals(std::int64_t negatives, std::int64_t stride) {
    return 2 * padded(negatives + 1) + stride;
}
constexpr std::int64_t pairwise_indices(std::int64_t negatives) {
    return 2 * padded(negatives + 1);
}

// For a copy that is not read again soon: the caches keep what is in use.
void copy_past_caches(char* to, const char* from, std::size_t bytes);

template <class T>
struct KernelTable {
    // The least and the largest of n >= 1 values, both NaN where one is not finite.
    void (*values_range)(const T* values, std::int64_t n, T* least, T* most);
    // Of values times weights; null: 1.
    double (*values_sum)(const T* values, const T* weights, std::int64_t n);

    // The terms c and g of a row's problem; returns the constant that completes the squares, and adds
    // the curvatures, where biases have a use for it, to `curvature`.
    double (*row_terms)(const RowEntries<T>&, T* c, T* g, double& curvature);

    // Preconditioned conjugate gradient from the warm start; at most `steps` steps, ends early
    // once the preconditioned residual is `tolerance` of that of a start from zero (squared norms).
    void (*row_cg)(CgRow<T>&, int steps, T tolerance, T relaxation);
    // The same in pieces, so that many rows can go through the fixed table together: begin; then,
    // until turn says false, all entries in order and a turn. Bit for bit row_cg's answer where each
    // piece but the last ends at a multiple of kMostGroup.
    void (*row_cg_begin)(CgRow<T>&);
    void (*row_cg_entries)(CgRow<T>&, std::int64_t begin, std::int64_t end);
    bool (*row_cg_turn)(CgRow<T>&, int steps, T tolerance, T relaxation);

    // The same problem by normal equations and Cholesky, in two parts so that a giant row's
    // entries can be shared out: add its entries to `gram` (stride x stride, upper)
    // and `moments` (4 * stride + 16 elements: sum g y, sum c y, sums of g and c, work), then solve.
    // scratch: kTile * kTileRow(stride) elements for gram.
    void (*row_gram)(const RowProblem<T>&, T* gram, T* moments, T* scratch);
    void (*row_solve)(const RowProblem<T>&, T* gram, T* moments, RowAnswer<T>&);
    // The latter for n rows at once, a lane each; systems: where the Gram and, after it, moments of
    // each lie. scratch: side_by_side_scratch elements.
    void (*rows_solve)(const RowProblem<T>*, const T* const* systems, RowAnswer<T>*, int n,
                       T* scratch);
    // Or, for a row of fewer entries than factors, by the matrix of the entries' products. False,
    // and nothing done, where the ridge is too small for it or the row is faint. scratch: dual_scratch elements.
    bool (*row_dual)(const RowProblem<T>&, RowAnswer<T>&, T* scratch);
    // The same for n rows of kShort entries at most, kShortRows of them at most, by as many lanes; they
    // go `relaxation` times the way from the warm start. solved: false where row_dual's would be.
    // scratch: short_scratch elements.
    void (*short_rows)(const RowProblem<T>*, RowAnswer<T>*, bool* solved, int n, T relaxation,
                       T* scratch);
    // Or descend along the coordinates from the warm start, at most `passes` times, until a pass
    // moves x by less than `tolerance` of its size (squared). The value leaves the lasso part out.
    void (*row_descend)(const RowProblem<T>&, T* gram, T* moments, RowAnswer<T>&, int passes,
                        T tolerance);

    // gram += sum over r in [begin, end), of every step-th row, of weight_r row row' (upper part; weight
    // null: 1). scratch as row_gram.
    void (*table_gram)(TableView<const T>, const T* weight, std::int64_t step, std::int64_t begin,
                       std::int64_t end, T* gram, T* scratch);
    // Rows [begin, end) of the table times q (stride x stride), in place.
    // scratch: kTile * stride elements.
    void (*rotate)(TableView<T>, const T* q, std::int64_t begin, std::int64_t end, T* scratch);

    // C (m x n) += A (m x depth) B (depth x n). A's element (i, k) is a[i * a_row + k * a_col]; B
    // and C are row-major; n a multiple of kLanes.
    void (*multiply_add)(T* c, std::int64_t ldc, const T* a, std::int64_t a_row, std::int64_t a_col,
                         const T* b, std::int64_t ldb, std::int64_t m, std::int64_t n,
                         std::int64_t depth);

    // out += sum_j a_j table[index_j]
    void (*row_combine)(TableView<const T>, const std::int32_t* index, const T* a, std::int64_t n,
                        T* out);
    // sum over rows [begin, end) of weight_r |row_r|^2, each row's square in T
    double (*squares)(TableView<const T>, const T* weight, std::int64_t begin, std::int64_t end);
    // s_j = table[index_j] . x
    void (*row_dots)(TableView<const T>, const std::int32_t* index, std::int64_t n, const T* x,
                     T* s);
    // s_j = left[left_index_j] . right[right_index_j]
    void (*pair_dots)(TableView<const T> left, const std::int32_t* left_index,
                      TableView<const T> right, const std::int32_t* right_index, std::int64_t n,
                      T* s);

    // panel = rows [begin, end), through the index unless it is null, transposed: stride x width,
    // width = end - begin padded, zero-filled.
    void (*pack)(TableView<const T>, const std::int32_t* index, std::int64_t begin,
                 std::int64_t end, T* panel);
    // scores (n_users x width) = users rows [u0, u0 + n_users) times panel, plus the bias of its
    // first n columns (bias null: 0). The columns from n on come out as -infinity.
    void (*score)(TableView<const T> users, std::int64_t u0, std::int64_t n_users, const T* panel,
                  std::int64_t width, const T* bias, std::int64_t n, T* scores);
    // at = the positions of the scores above the threshold, rising; returns how many. n: a multiple
    // of kLanes. NaN is above nothing.
    std::int64_t (*above)(const T* scores, std::int64_t n, T threshold, std::int32_t* at);

    // One pass of SGD over a block; returns the sum of weight * error^2 before each update.
    // HOGWILD: plain reads and writes of factor rows may race here and in pairwise_block, nowhere else.
    double (*sgd_block)(const SgdBlock<T>&, const SgdModel<T>&);

    // The same for positives and sampled negatives. reals, indices: pairwise_reals and
    // pairwise_indices elements. HOGWILD, as sgd_block.
    PairwiseResult (*pairwise_block)(const PairwiseBlock&, const PairwiseModel<T>&, T* reals,
                                     std::int32_t* indices);
};

constexpr std::int64_t kTile = 64;  // rows gathered at a time
// They lie this far apart: at a power of two they would share a few of the cache's sets.
constexpr std::int64_t kTileRow(std::int64_t stride) { return stride + kLanes; }

// Rows of the table that half an L2 cache holds: what conjugate gradient copies side by side for its
// later steps and, a few of them, the band that a batch of longer rows goes through together.
constexpr std::int64_t kCgTile(std::int64_t stride) { return (std::int64_t{1} << 17) / stride; }
constexpr std::int64_t cg_scratch(std::int64_t stride) {
    return kCgVectors * stride + (kCgTile(stride) + kLanes) * stride;
}

constexpr std::int64_t dual_scratch(std::int64_t stride, std::int64_t n) {
    return stride + padded(n) * (3 + padded(n) + stride);
}

constexpr std::int64_t kShort = 16;
constexpr std::int64_t kShortRows = 16;
// Entries up to which a row's exact solution takes less time than so many steps: of rows that a first
// cache holds sixteen times.
constexpr std::int64_t shorter_than_steps(int steps, std::int64_t stride) {
    return std::min({kShort, 4 * (std::int64_t{steps} + 1), 1024 / stride});
}
constexpr std::int64_t short_scratch(std::int64_t stride) {
    return kShortRows * (kShort * (4 + kShort) + stride) + stride;
}

// Systems that are solved at once: as many as the longest vector has lanes. Up to so many factors,
// where a second cache holds them, and entries, where forming one does not take far longer than lanes
// that stay empty.
template <class T>
constexpr std::int64_t kSideBySide = 64 / sizeof(T);
constexpr std::int64_t kSideBySideFactors = 64, kSideBySideEntries = 512;
constexpr std::int64_t side_by_side_scratch(std::int64_t stride) {
    return (stride + 2) * (stride + 3) / 2 * kLanes;
}
// A Gram and, after it, its moments.
constexpr std::int64_t system_elements(std::int64_t stride) { return stride * stride + 4 * stride + 16; }

enum class Isa { baseline, avx2, avx512 };

template <class T>
const KernelTable<T>& kernels();  // the table in use

// Compiled and supported by this processor, best last.
bool isa_available(Isa isa);
Isa isa_in_use();
// Throws std::invalid_argument when the processor lacks it. Not while a solver runs.
void use_isa(Isa isa);
const char* isa_name(Isa isa);

}  // namespace matfac
