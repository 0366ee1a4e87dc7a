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

// Each of COUNT vectors b <- (U'U)^-1 b, together: one's wait is the other's work.
template <class T, int COUNT>
void cholesky_solve(const T* u, const T* inverse, std::int64_t n, T* const* b) {
    for (std::int64_t i = 0; i < n; ++i) {
        V<T> z[COUNT];
        for (int c = 0; c < COUNT; ++c) z[c] = splat<T>(b[c][i] *= inverse[i]);
        for (std::int64_t j = i / W<T> * W<T>; j < n; j += W<T>) {
            const V<T> row = load(u + i * n + j);
            for (int c = 0; c < COUNT; ++c) store<T>(b[c] + j, load(b[c] + j) - z[c] * row);
        }
    }
    for (std::int64_t i = n - 1; i >= 0; --i) {
        V<T> s[COUNT] = {};
        for (std::int64_t j = i / W<T> * W<T>; j < n; j += W<T>) {
            const V<T> row = load(u + i * n + j);
            for (int c = 0; c < COUNT; ++c) s[c] += row * load(b[c] + j);
        }
        for (int c = 0; c < COUNT; ++c) b[c][i] = (b[c][i] - sum<T>(s[c])) * inverse[i];
    }
}
