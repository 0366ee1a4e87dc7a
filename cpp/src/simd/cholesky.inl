// Cholesky A = U'U of one small symmetric matrix, upper part, row-major, in place, a panel of rows at
// a time. U's rows are contiguous, so every update is a product of whole rows. In place of its blocks
// on the diagonal lie their transposed inverses: no step waits for a division but within such a block.

// Rows of a panel, a whole number of vectors; n is a multiple of it.
template <class T>
constexpr int kPanel = W<T> < 8 ? 8 : W<T>;

// A pivot this far below its diagonal is rounding noise: its coordinate is left at zero.
template <class T>
constexpr T kTiny = sizeof(T) == 4 ? T(1e-6) : T(1e-14);

// The block at `a`, its rows n apart, becomes U'^-1, lower, with zeros above; unit: what made its
// diagonal 1 before any update, on both sides, so that no size of the entries overflows here. A
// coordinate left out has a row and a column of zeros.
template <class T>
MF_INLINE void invert_block(T* a, std::int64_t n, const T* unit) {
    constexpr int P = kPanel<T>, NV = P / W<T>;
    V<T> u[P][NV], l[P][NV];
    alignas(64) T pivots[P], own[P] = {};
#pragma GCC unroll 16
    for (int i = 0; i < P; ++i) {
        own[i] = unit[i];
        for (int v = 0; v < NV; ++v) {
            u[i][v] = splat<T>(unit[i]) * load(a + i * n + v * W<T>) * load(unit + v * W<T>);
            l[i][v] = load(own + v * W<T>);
        }
        own[i] = 0;
    }
#pragma GCC unroll 16
    for (int c = 0; c < P; ++c) {
        const T pivot = u[c][c / W<T>][c % W<T>];
        const bool kept = pivot > kTiny<T>;
        const V<T> inverse = splat<T>(kept ? 1 / pivot : T(0));
        pivots[c] = kept ? pivot : T(0);
        V<T> x[NV], y[NV];
        for (int v = 0; v < NV; ++v) {
            x[v] = inverse * u[c][v];
            y[v] = inverse * l[c][v];
        }
#pragma GCC unroll 16
        for (int i = c + 1; i < P; ++i) {
            const V<T> f = splat<T>(u[c][i / W<T>][i % W<T>]);
            for (int v = 0; v < NV; ++v) {
                u[i][v] -= f * x[v];
                l[i][v] -= f * y[v];
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < P; ++i) {
        const V<T> scale = splat<T>(pivots[i] > 0 ? 1 / root(pivots[i]) : T(0));
        for (int v = 0; v < NV; ++v) store<T>(a + i * n + v * W<T>, scale * l[i][v]);
    }
}

template <class T>
void cholesky(T* a, std::int64_t n) {
    constexpr int P = kPanel<T>;
    for (std::int64_t p = 0; p < n; p += P) {
        T *panel = a + p * n, *block = panel + p, unit[P];
        for (std::int64_t i = 0; i < P; ++i)
            unit[i] = block[i * n + i] > 0 ? 1 / root(block[i * n + i]) : T(0);
        gemm<T, true>(block, n, a + p, 1, n, a + p, n, P, n - p, p);
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
