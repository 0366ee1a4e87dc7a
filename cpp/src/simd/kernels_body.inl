// The arithmetic of every kernel, once. targets.cpp includes it in one region per instruction set,
// after setting kBytes and the macro MF_INLINE.

MF_INLINE float root(float x) { return __builtin_sqrtf(x); }
MF_INLINE double root(double x) { return __builtin_sqrt(x); }

#include "vec.inl"
#include "gemm.inl"
#include "cholesky.inl"
#include "terms.inl"
#include "passes.inl"
#include "rows.inl"
#include "side_by_side.inl"
#include "cg.inl"
#include "dual.inl"
#include "short_rows.inl"
#include "descent.inl"
#include "topk.inl"
#include "sgd.inl"
#include "pairwise.inl"

template <class T>
constexpr KernelTable<T> kTable = {
    values_range<T>, values_sum<T>, row_terms<T>, row_cg<T>, cg_begin<T>,
    row_cg_entries<T>, cg_turn<T>, row_gram<T>, row_solve<T>, rows_solve<T>, row_dual<T>,
    short_rows<T>, row_descend<T>, table_gram<T>, rotate<T>, gemm<T>, row_combine<T>, squares<T>,
    row_dots<T>, pair_dots<T>, pack<T>, score<T>, above<T>, sgd_block<T>, pairwise_block<T>,
};
