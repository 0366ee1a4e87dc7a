// Cholesky A = U'U of one small symmetric matrix, upper part, row-major, in place, a panel of rows at
// a time. U's rows are contiguous, so every update is a product of whole rows. In place of its blocks
// on the diagonal lie their transposed inverses: no step waits for a division but within such a block.

// Rows of a panel, a whole number of vectors; n is a multiple of it.
template <class T>
constexpr int kPanel = W<T> < 8 ? 8 : W<T>;

// A pivot this far below its diagonal may be rounding of the n updates: its coordinate is left at zero.
template <class T>
MF_INLINE T tiny(std::int64_t n) {
    return 2 * kEpsilon<T> * static_cast<T>(n < 8 ? 8 : n);
}

// Lanes of a block's vectors, at most eight: fewer products are spent on what lies below its diagonal.
template <class T>
constexpr int kCell = W<T> < 8 ? W<T> : 8;

// The block at `a`, its rows n apart, becomes U'^-1, lower, with zeros above; unit: what made its
// diagonal 1 before any update, on both sides, so that no size of the entries overflows here. A
// coordinate left out has a row and a column of zeros.
template <class T>
MF_INLINE void invert_block(T* a, std::int64_t n, const T* unit) {
    const T least = tiny<T>(n);
    constexpr int P = kPanel<T>, N = kCell<T>, NV = P / N;
    Part<T, N> u[P][NV], l[P][NV], x[P][NV], y[P][NV];
    alignas(64) T inverses[P];
    const Part<T, N> zero{}, one = T(1) - zero;
#pragma GCC unroll 8
    for (int b = 0; b < P; b += N) {
#pragma GCC unroll 16
        for (int i = b; i < b + N; ++i) {
            for (int v = 0; v < NV; ++v) {
                u[i][v] = (unit[i] - zero) * load_part<N>(a + i * n + v * N) * load_part<N>(unit + v * N);
                l[i][v] = zero;
            }
            l[i][b / N][i % N] = T(1);
#pragma GCC unroll 16
            for (int c = 0; c < b; ++c) {
                const Part<T, N> f = u[c][i / N][i % N] - zero;
                for (int v = b / N; v < NV; ++v) u[i][v] -= f * x[c][v];
                for (int v = 0; v <= c / N; ++v) l[i][v] -= f * y[c][v];
            }
        }
        // Two pivots at a time, p and (p q - f f) / p: the second's division beside the first's.
#pragma GCC unroll 16
        for (int c = b; c < b + N; c += 2) {
            const int d = c + 1;
            const Part<T, N> p = u[c][c / N][c % N] - zero, q = u[d][d / N][d % N] - zero;
            const Part<T, N> f = u[c][d / N][d % N] - zero, minor = p * q - f * f;
            const Part<T, N> over = p > least ? p : one, under = p > least ? minor : q;
            const Part<T, N> first = p > least ? one / p : zero;
            const Part<T, N> second = under > least * over ? over / under : zero;
            inverses[c] = first[0];
            inverses[d] = second[0];
            for (int v = b / N; v < NV; ++v) {
                x[c][v] = first * u[c][v];
                u[d][v] -= f * x[c][v];
                x[d][v] = second * u[d][v];
            }
            for (int v = 0; v <= b / N; ++v) {
                y[c][v] = first * l[c][v];
                l[d][v] -= f * y[c][v];
                y[d][v] = second * l[d][v];
            }
#pragma GCC unroll 16
            for (int i = c + 2; i < b + N; ++i) {
                const Part<T, N> g = u[c][i / N][i % N] - zero, h = u[d][i / N][i % N] - zero;
                for (int v = b / N; v < NV; ++v) u[i][v] = u[i][v] - g * x[c][v] - h * x[d][v];
                for (int v = 0; v <= b / N; ++v) l[i][v] = l[i][v] - g * y[c][v] - h * y[d][v];
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < P; ++i) {
        const Part<T, N> scale = root(inverses[i]) - zero;
        for (int v = 0; v < NV; ++v) {
            const Part<T, N> row = scale * l[i][v] * load_part<N>(unit + v * N);
            store_part<N>(a + i * n + v * N, v <= i / N ? row : zero);
        }
    }
}

// Takes what the rows above give off the panel from row p on.
template <class T>
MF_INLINE void panel_update(T* a, std::int64_t n, std::int64_t p) {
    constexpr int P = kPanel<T>, U = kUnder<T>, TOP = P - U;
    T *block = a + p * n + p, *under = block + TOP * n;
    const T *b = a + p, *left = b + TOP;
    gemm<T, Into::subtract>(block, n, b, 1, n, b, n, TOP, n - p, p);
    if constexpr (U > 0) {
        if (p + P == n) return half_tile<T, U, false, Into::subtract>(under, n, left, n, b, n, p);
        half_tile<T, U, true, Into::subtract>(under, n, left, n, b, n, p);
        gemm<T, Into::subtract>(under + 2 * P, n, left, 1, n, b + 2 * P, n, U, n - p - 2 * P, p);
    }
}

template <class T>
void cholesky(T* a, std::int64_t n) {
    constexpr int P = kPanel<T>;
    for (std::int64_t p = 0; p < n; p += P) {
        T *panel = a + p * n, *block = panel + p, unit[P];
        for (std::int64_t i = 0; i < P; ++i)
            unit[i] = block[i * n + i] > 0 ? 1 / root(block[i * n + i]) : T(0);
        panel_update(a, n, p);
        invert_block(block, n, unit);
        for (std::int64_t j = p + P; j < n; j += W<T>) {
            V<T> r[P];
#pragma GCC unroll 16
            for (int i = 0; i < P; ++i) r[i] = load(panel + i * n + j);
#pragma GCC unroll 16
            for (int i = 0; i < P; ++i) {
                V<T> s = splat<T>(block[i * n]) * r[0];
#pragma GCC unroll 16
                for (int m = 1; m <= i; ++m) s += splat<T>(block[i * n + m]) * r[m];
                store<T>(panel + i * n + j, s);
            }
        }
    }
}

// Of a factorized matrix: how many coordinates were not left out.
template <class T>
MF_INLINE std::int64_t kept(const T* a, std::int64_t n) {
    std::int64_t count = 0;
    for (std::int64_t j = 0; j < n; ++j) count += a[j * n + j] > 0;
    return count;
}

// Each of COUNT vectors b <- (U'U)^-1 b, together: one's wait is the other's work. Rows of U are taken
// a few at a time, so that b is read and written once for all of them.
template <class T, int COUNT>
void cholesky_solve(const T* a, std::int64_t n, T* const* b) {
    constexpr int P = kPanel<T>, NV = P / W<T>, G = kGroup<T>;
    for (std::int64_t p = 0; p < n; p += P) {
        const T *panel = a + p * n, *block = panel + p;
        for (int c = 0; c < COUNT; ++c) {
            V<T> x[NV];
            for (int v = 0; v < NV; ++v) x[v] = load(b[c] + p + v * W<T>);
#pragma GCC unroll 8
            for (int i = 0; i < P; i += G) {
                V<T> s[G] = {};
#pragma GCC unroll 8
                for (int m = 0; m < G; ++m)
                    for (int v = 0; v < NV; ++v) s[m] += load(block + (i + m) * n + v * W<T>) * x[v];
                store_group<T>(b[c] + p + i, sum_lanes<T>(s));
            }
        }
        for (std::int64_t h = p; h < p + P; h += G) {
            V<T> z[COUNT][G];
            for (int c = 0; c < COUNT; ++c)
#pragma GCC unroll 8
                for (int m = 0; m < G; ++m) z[c][m] = splat<T>(b[c][h + m]);
            for (std::int64_t j = p + P; j < n; j += W<T>) {
                V<T> rest[COUNT];
                for (int c = 0; c < COUNT; ++c) rest[c] = load(b[c] + j);
#pragma GCC unroll 8
                for (int m = 0; m < G; ++m) {
                    const V<T> row = load(a + (h + m) * n + j);
                    for (int c = 0; c < COUNT; ++c) rest[c] -= z[c][m] * row;
                }
                for (int c = 0; c < COUNT; ++c) store<T>(b[c] + j, rest[c]);
            }
        }
    }
    for (std::int64_t p = n - P; p >= 0; p -= P) {
        const T* block = a + p * n + p;
        for (std::int64_t i = p; i < p + P && p + P < n; i += G) {
            V<T> s[COUNT][G] = {};
            for (std::int64_t j = p + P; j < n; j += W<T>) {
                V<T> x[COUNT];
                for (int c = 0; c < COUNT; ++c) x[c] = load(b[c] + j);
#pragma GCC unroll 8
                for (int m = 0; m < G; ++m) {
                    const V<T> row = load(a + (i + m) * n + j);
                    for (int c = 0; c < COUNT; ++c) s[c][m] += row * x[c];
                }
            }
            for (int c = 0; c < COUNT; ++c) {
                store_group<T>(b[c] + i, load_group(b[c] + i) - sum_lanes<T>(s[c]));
            }
        }
        for (int c = 0; c < COUNT; ++c) {
            V<T> x[2][NV] = {};
#pragma GCC unroll 16
            for (int i = 0; i < P; ++i) {
                const V<T> z = splat<T>(b[c][p + i]);
                for (int v = 0; v < NV; ++v) x[i % 2][v] += z * load(block + i * n + v * W<T>);
            }
            for (int v = 0; v < NV; ++v) store<T>(b[c] + p + v * W<T>, x[0][v] + x[1][v]);
        }
    }
}
