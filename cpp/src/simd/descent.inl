// Coordinate descent on one row's normal equations: factors that stay at or above zero, or few of them.

// The largest step of a pass, in units of the objective, against the size of the answer: below this
// (squared) no further pass can be told from rounding.
template <class T>
constexpr T kStill = sizeof(T) == 4 ? T(1e-13) : T(1e-26);

// The minimiser of a t^2 - 2 r t + lasso |t|.
template <class T>
MF_INLINE T coordinate(T r, T a, T half_lasso, bool nonnegative) {
    if (!(a > 0)) return 0;
    if (r > half_lasso) return (r - half_lasso) / a;
    return !nonnegative && r < -half_lasso ? (r + half_lasso) / a : T(0);
}

// gram (upper) and moments as row_gram leaves them; both are overwritten. At most `passes` over the
// coordinates, from the warm start; ends early once one has moved x by less than `tolerance` of its
// own size (squared, in the norm of the problem's diagonal). A free bias is eliminated first.
template <class T>
void row_descend(const RowProblem<T>& p, T* gram, T* moments, RowAnswer<T>& answer, int passes,
                 T tolerance) {
    const std::int64_t k = p.table.stride, used = p.table.k;
    T *x = answer.x, *cy = moments + k, *right = moments + 2 * k + 16, *rest = right + k;
    diagonals(p, right, static_cast<T*>(nullptr));
    for (std::int64_t i = 0; i < used; ++i) {
        gram[i * k + i] += right[i];
        for (std::int64_t j = 0; j < i; ++j) gram[i * k + j] = gram[j * k + i];
    }
    const T border = moments[2 * k + 1] + p.bias_ridge;
    const T share = p.bias && border > 0 ? 1 / border : T(0);
    const T total = moments[2 * k];
    for (std::int64_t j = 0; j < k; j += W<T>)
        store<T>(right + j, load(moments + j) - splat(share * total) * load(cy + j));
    for (std::int64_t j = 0; j < k; j += W<T>) store<T>(rest + j, load(right + j));
    for (std::int64_t i = 0; i < used; ++i) {
        T* row = gram + i * k;
        const V<T> f = splat(share * cy[i]), xi = splat(x[i]);
        for (std::int64_t j = 0; j < k; j += W<T>) {
            const V<T> a = load(row + j) - f * load(cy + j);
            store<T>(row + j, a);
            store<T>(rest + j, load(rest + j) - xi * a);
        }
    }
    const T half = p.lasso / 2, enough = tolerance > kStill<T> ? tolerance : kStill<T>;
    for (int pass = 0; pass < passes; ++pass) {
        T moved = 0, size = 0;
        for (std::int64_t i = 0; i < used; ++i) {
            const T* row = gram + i * k;
            const T a = row[i], was = x[i];
            const T now = coordinate(rest[i] + a * was, a, half, p.nonnegative);
            size += a * now * now;
            if (now == was) continue;
            const T step = now - was;
            x[i] = now;
            moved += a * step * step;
            const V<T> v = splat(step);
            for (std::int64_t j = 0; j < k; j += W<T>)
                store<T>(rest + j, load(rest + j) - v * load(row + j));
        }
        if (moved <= enough * size) break;
    }
    // x'Ax - 2 right'x with rest = right - Ax, and what the eliminated bias adds to it.
    answer.value = -static_cast<double>(dot(x, right, k)) - static_cast<double>(dot(x, rest, k)) -
                   static_cast<double>(share * total) * static_cast<double>(total);
    answer.square = dot(x, x, k);
    if (p.bias) *answer.bias = share * (total - dot(cy, x, k));
}
