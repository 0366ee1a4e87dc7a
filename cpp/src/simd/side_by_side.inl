// The normal equations of several rows at once, a lane each: as many factorizations whose numbers need
// not wait for each other. With x's part A, the bias's s and t and the right sides g and h of a row, the
// bordered matrix
//   [A s g; s' t h; g' h 0] = U'U
// has the forward half of the solution, z, in U's last column, and at the minimum the quadratic part is
// -z'z. U lies at `u`, in side_by_side_scratch elements.

constexpr int kColumns = 4;  // of U at a time; the number of factors is a multiple of it

// Element i of column j of U, i <= j, in the column's i-th vector. In place of its diagonal lies the
// inverse, 0 where the coordinate is left out.
template <class T>
MF_INLINE Lanes<T> column(T* u, std::int64_t j) {
    return {u + j * (j + 1) / 2 * W<T>};
}

// Each part of S lanes of two vectors, lane by lane from either in turn: HALF of the part.
template <int N, int S, int HALF>
struct Zip {
    static constexpr int of(int i) { return i % 2 * N + i / S * S + HALF * (S / 2) + i % S / 2; }
};

// So many numbers at rows[0], rows[step], ... side by side.
template <int N, class T>
MF_INLINE Part<T, N> joined(const T* const* rows, int step, std::int64_t at) {
    if constexpr (N * sizeof(T) == 16)
        return load_part<N>(rows[0] + at);
    else
        return shuffled<From<0>, N>(joined<N / 2, T>(rows, step, at),
                                    joined<N / 2, T>(rows + N / 2 / step * step, step, at));
}

// out[i]: element `at` + i of each row, a lane each.
template <class T>
MF_INLINE void to_lanes(const T* const* rows, std::int64_t at, V<T>* out) {
    constexpr int N = W<T>, P = 16 / sizeof(T);
#pragma GCC unroll 4
    for (int i = 0; i < N; i += P) {
        V<T>* const r = out + i;
#pragma GCC unroll 4
        for (int m = 0; m < P; ++m) r[m] = joined<N, T>(rows + m, P, at + i);
#pragma GCC unroll 2
        for (int n = 1; n < P; n *= 2) {
            V<T> z[P];
#pragma GCC unroll 4
            for (int m = 0; m < P / 2; ++m) {
                z[2 * m] = shuffled<Zip<N, P, 0>, N>(r[m], r[m + P / 2]);
                z[2 * m + 1] = shuffled<Zip<N, P, 1>, N>(r[m], r[m + P / 2]);
            }
#pragma GCC unroll 4
            for (int m = 0; m < P; ++m) r[m] = z[m];
        }
    }
}

// Rows i..i + 4 of columns j..j + N of U, from what A has there: the products of the rows above taken
// off, then the block of four rows on the diagonal solved for.
template <class T, int N>
__attribute__((noinline)) void lane_block(T* u, std::int64_t i, std::int64_t j) {
    constexpr int C = kColumns;
    Lanes<T> left[C], right[N];
    V<T> x[C][N];
#pragma GCC unroll 4
    for (int a = 0; a < C; ++a) left[a] = column(u, i + a);
#pragma GCC unroll 4
    for (int c = 0; c < N; ++c) {
        right[c] = column(u, j + c);
#pragma GCC unroll 4
        for (int a = 0; a < C; ++a) x[a][c] = right[c][i + a];
    }
    for (std::int64_t p = 0; p < i; ++p) {
        V<T> y[N];
#pragma GCC unroll 4
        for (int c = 0; c < N; ++c) y[c] = right[c][p];
#pragma GCC unroll 4
        for (int a = 0; a < C; ++a) {
            const V<T> l = left[a][p];
#pragma GCC unroll 4
            for (int c = 0; c < N; ++c) x[a][c] -= l * y[c];
        }
    }
#pragma GCC unroll 4
    for (int a = 0; a < C; ++a) {
        const V<T> inverse = left[a][i + a];
#pragma GCC unroll 4
        for (int c = 0; c < N; ++c) {
#pragma GCC unroll 4
            for (int b = 0; b < a; ++b) x[a][c] -= left[a][i + b] * x[b][c];
            x[a][c] *= inverse;
            right[c].set(i + a, x[a][c]);
        }
    }
}

// 1 / sqrt(pivot), or 0 where that is rounding.
template <class T>
MF_INLINE V<T> inverse_root(V<T> pivot, V<T> least) {
    T r[W<T>];
    store<T>(r, pivot);
    for (int i = 0; i < W<T>; ++i) r[i] = root(r[i]);
    const V<T> one = splat(T(1));
    return pivot > least ? one / load(r) : V<T>{};
}

// The block on the diagonal: columns j..j + N, rows from j on.
template <class T, int N>
MF_INLINE void lane_diagonal(T* u, std::int64_t j) {
    Lanes<T> at[N];
    V<T> x[N][N], least[N];
#pragma GCC unroll 4
    for (int c = 0; c < N; ++c) {
        at[c] = column(u, j + c);
#pragma GCC unroll 4
        for (int a = 0; a <= c; ++a) x[a][c] = at[c][j + a];
        least[c] = tiny<T>(j + N) * x[c][c];
    }
    for (std::int64_t p = 0; p < j; ++p) {
        V<T> y[N];
#pragma GCC unroll 4
        for (int c = 0; c < N; ++c) y[c] = at[c][p];
#pragma GCC unroll 4
        for (int a = 0; a < N; ++a)
#pragma GCC unroll 4
            for (int c = a; c < N; ++c) x[a][c] -= y[a] * y[c];
    }
#pragma GCC unroll 4
    for (int a = 0; a < N; ++a) {
        const V<T> inverse = inverse_root<T>(x[a][a], least[a]);
        at[a].set(j + a, inverse);
#pragma GCC unroll 4
        for (int c = a + 1; c < N; ++c) {
            x[a][c] *= inverse;
            at[c].set(j + a, x[a][c]);
        }
#pragma GCC unroll 4
        for (int b = a + 1; b < N; ++b)
#pragma GCC unroll 4
            for (int c = b; c < N; ++c) x[b][c] -= x[a][b] * x[a][c];
    }
}

// Columns j..j + N.
template <class T, int N>
MF_INLINE void lane_columns(T* u, std::int64_t j) {
    constexpr int STEP = N < 4 || kBytes == 64 ? N : 2;  // registers: 4 * STEP sums
    for (int c = 0; c < N; c += STEP)
        for (std::int64_t i = 0; i < j; i += kColumns) lane_block<T, STEP>(u, i, j + c);
    lane_diagonal<T, N>(u, j);
}

// The bordered matrices of up to W rows whose Grams and moments lie at `systems`; lanes without a row get
// the first one's.
template <class T>
MF_INLINE void fill_lanes(const RowProblem<T>* p, const T* const* systems, int n, T* u) {
    constexpr int N = W<T>;
    const std::int64_t k = p[0].table.stride;
    const bool bias = p[0].bias;
    const T* rows[N];
    V<T> ridge{}, scale{}, least{}, t{}, h{};
    for (int r = 0; r < N; ++r) {
        const RowProblem<T>& q = p[r < n ? r : 0];
        rows[r] = systems[r < n ? r : 0];
        ridge[r] = q.ridge, scale[r] = q.scale, least[r] = least_diagonal(q, q.scale);
        if (!bias) continue;
        h[r] = rows[r][k * k + 2 * k];
        t[r] = rows[r][k * k + 2 * k + 1] + q.bias_ridge;
    }
    V<T> x[N];
    for (std::int64_t j = 0; j < k; j += N)
        for (std::int64_t i = 0; i < j + N; ++i) {
            to_lanes<T>(rows, i * k + j, x);
#pragma GCC unroll 16
            for (int c = 0; c < N; ++c)
                if (j + c >= i) column(u, j + c).set(i, x[c]);
        }
    for (std::int64_t j = 0; j < k; ++j) {
        const V<T> own = p[0].shared != nullptr ? ridge + scale * splat(p[0].shared[j]) : ridge;
        column(u, j).set(j, own < least ? V<T>{} : column(u, j)[j] + own);
    }
    const Lanes<T> s = column(u, k), g = column(u, k + 1);
    for (std::int64_t j = 0; j < k; j += N) {
        to_lanes<T>(rows, k * k + j, x);
        for (int c = 0; c < N; ++c) g.set(j + c, x[c]);
        if (bias) to_lanes<T>(rows, k * k + k + j, x);
        for (int c = 0; c < N; ++c) s.set(j + c, bias ? x[c] : V<T>{});
    }
    s.set(k, t);
    g.set(k, h);
    g.set(k + 1, V<T>{});
}

// How many of the first k elements on the diagonal are above zero.
template <class T>
MF_INLINE V<T> lanes_kept(T* u, std::int64_t k) {
    const V<T> one = splat(T(1));
    V<T> count{};
    for (std::int64_t j = 0; j < k; ++j) count += column(u, j)[j] > V<T>{} ? one : V<T>{};
    return count;
}

// From z to x, in its place; returns the bias.
template <class T>
MF_INLINE V<T> lanes_back(T* u, std::int64_t k) {
    constexpr int C = kColumns;
    const Lanes<T> s = column(u, k), z = column(u, k + 1);
    const V<T> b = z[k] * s[k];
    for (std::int64_t j = 0; j < k; ++j) z.set(j, z[j] - b * s[j]);
    for (std::int64_t j = k - C; j >= 0; j -= C) {
        V<T> x[C];
#pragma GCC unroll 4
        for (int c = C - 1; c >= 0; --c) {
            x[c] = z[j + c];
#pragma GCC unroll 4
            for (int d = c + 1; d < C; ++d) x[c] -= column(u, j + d)[j + c] * x[d];
            x[c] *= column(u, j + c)[j + c];
            z.set(j + c, x[c]);
        }
        for (std::int64_t i = 0; i < j; ++i) {
            V<T> rest = z[i];
#pragma GCC unroll 4
            for (int c = 0; c < C; ++c) rest -= column(u, j + c)[i] * x[c];
            z.set(i, rest);
        }
    }
    return b;
}

template <class T>
void rows_solve(const RowProblem<T>* p, const T* const* systems, RowAnswer<T>* answers, int n, T* u) {
    const std::int64_t k = p[0].table.stride;
    const Lanes<T> z = column(u, k + 1);
    for (int first = 0; first < n; first += W<T>) {
        fill_lanes(p + first, systems + first, n - first, u);
        const V<T> wanted = lanes_kept(u, k);
        for (std::int64_t j = 0; j < k; j += kColumns) lane_columns<T, kColumns>(u, j);
        const V<T> missed = wanted - lanes_kept(u, k);
        lane_columns<T, 2>(u, k);
        V<T> value{}, square{};
        for (std::int64_t j = 0; j <= k; ++j) value -= z[j] * z[j];
        const V<T> bias = lanes_back(u, k);
        for (std::int64_t j = 0; j < k; ++j) square += z[j] * z[j];
        for (int r = 0; r < W<T> && first + r < n; ++r) {
            RowAnswer<T>& a = answers[first + r];
            for (std::int64_t j = 0; j < k; ++j) a.x[j] = z.at(j, r);
            if (p[0].bias) *a.bias = bias[r];
            a.value = static_cast<double>(value[r]);
            a.square = square[r];
            a.sound = missed[r] == 0;
        }
    }
}
