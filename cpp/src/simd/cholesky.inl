// Cholesky A = U'U of one small symmetric matrix, upper part, row-major, in place.
// U's rows are contiguous, so every update is a product of whole rows.

constexpr std::int64_t kPanel = 8;

// A pivot this far below its diagonal is rounding noise: its coordinate is left at zero.
template <class T>
constexpr T kTiny = sizeof(T) == 4 ? T(1e-6) : T(1e-14);

alignas(64) constexpr float kIotaF[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
alignas(64) constexpr double kIotaD[8] = {0, 1, 2, 3, 4, 5, 6, 7};
MF_INLINE V<float> iota(float) { return load(kIotaF); }
MF_INLINE V<double> iota(double) { return load(kIotaD); }

// v with its lanes up to and including `last` set to zero
template <class T>
MF_INLINE V<T> after(V<T> v, std::int64_t last) {
    return iota(T()) > splat(static_cast<T>(last)) ? v : V<T>{};
}

// inverse[i] = 1 / U_ii, or 0 for a coordinate left out. U's own diagonal is stored as zero, as is
// the part below it within its vector: the solves may then run over whole vectors.
template <class T>
void cholesky(T* a, T* inverse, std::int64_t n) {
    for (std::int64_t p = 0; p < n; p += kPanel) {
        const std::int64_t start = p / W<T> * W<T>;
        T original[kPanel];
        for (std::int64_t i = 0; i < kPanel; ++i) original[i] = a[(p + i) * n + p + i];
        gemm<T, true>(a + p * n + start, n, a + p, 1, n, a + start, n, kPanel, n - start, p);
        for (std::int64_t i = 0; i < kPanel; ++i) {
            const std::int64_t c = p + i;
            T *row = a + c * n, f[kPanel];
            T pivot = row[c];
            for (std::int64_t m = 0; m < i; ++m) {
                f[m] = a[(p + m) * n + c];
                pivot -= f[m] * f[m];
            }
            inverse[c] = pivot > kTiny<T> * original[i] ? 1 / root(pivot) : T(0);
            const V<T> scale = splat(inverse[c]);
            for (std::int64_t j = c / W<T> * W<T>; j < n; j += W<T>) {
                V<T> v = load(row + j);
                for (std::int64_t m = 0; m < i; ++m) v -= splat(f[m]) * load(a + (p + m) * n + j);
                store<T>(row + j, v * scale);
            }
            const std::int64_t own = c / W<T> * W<T>;
            store<T>(row + own, after<T>(load(row + own), c - own));
        }
    }
}

// Each of COUNT vectors b <- (U'U)^-1 b, together: one's wait is the other's work. Rows of U are taken
// a few at a time, so that b is read and written once for all of them.
template <class T, int COUNT>
void cholesky_solve(const T* u, const T* inverse, std::int64_t n, T* const* b) {
    constexpr int R = W<T> < 4 ? W<T> : 4;
    for (std::int64_t i = 0; i < n; i += W<T>) {
        V<T> v[COUNT];
        for (int c = 0; c < COUNT; ++c) v[c] = load(b[c] + i);
#pragma GCC unroll 16
        for (int m = 0; m < W<T>; ++m) {
            const V<T> row = load(u + (i + m) * n + i);
            for (int c = 0; c < COUNT; ++c) {
                const T z = v[c][m] * inverse[i + m];
                b[c][i + m] = z;
                v[c] -= splat<T>(z) * row;
            }
        }
        for (std::int64_t h = i; h < i + W<T>; h += R) {
            V<T> z[COUNT][R];
            for (int c = 0; c < COUNT; ++c)
#pragma GCC unroll 4
                for (int m = 0; m < R; ++m) z[c][m] = splat<T>(b[c][h + m]);
            for (std::int64_t j = i + W<T>; j < n; j += W<T>) {
                V<T> rest[COUNT];
                for (int c = 0; c < COUNT; ++c) rest[c] = load(b[c] + j);
#pragma GCC unroll 4
                for (int m = 0; m < R; ++m) {
                    const V<T> row = load(u + (h + m) * n + j);
                    for (int c = 0; c < COUNT; ++c) rest[c] -= z[c][m] * row;
                }
                for (int c = 0; c < COUNT; ++c) store<T>(b[c] + j, rest[c]);
            }
        }
    }
    for (std::int64_t i = n - R; i >= 0; i -= R) {
        T rest[COUNT][R];
        V<T> s[COUNT][R] = {};
        // Of the vector that holds these coordinates, the solved ones alone count: U is zero on the
        // left, and they themselves are for now.
        for (int c = 0; c < COUNT; ++c)
            for (int m = 0; m < R; ++m) {
                rest[c][m] = b[c][i + m];
                b[c][i + m] = 0;
            }
        for (std::int64_t j = i / W<T> * W<T>; j < n; j += W<T>) {
            V<T> x[COUNT];
            for (int c = 0; c < COUNT; ++c) x[c] = load(b[c] + j);
#pragma GCC unroll 4
            for (int m = 0; m < R; ++m) {
                const V<T> row = load(u + (i + m) * n + j);
                for (int c = 0; c < COUNT; ++c) s[c][m] += row * x[c];
            }
        }
        for (int c = 0; c < COUNT; ++c) {
#pragma GCC unroll 4
            for (int m = 0; m < R; ++m) rest[c][m] -= sum<T>(s[c][m]);
#pragma GCC unroll 4
            for (int m = R - 1; m >= 0; --m) {
                const T x = rest[c][m] * inverse[i + m];
                b[c][i + m] = x;
#pragma GCC unroll 4
                for (int l = 0; l < m; ++l) rest[c][l] -= u[(i + l) * n + i + m] * x;
            }
        }
    }
}
