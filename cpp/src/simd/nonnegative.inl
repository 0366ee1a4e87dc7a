// min x'Ax - 2 h'x over x >= 0, by coordinate descent from the warm start: every step lowers it.

constexpr int kMaxPasses = 1024;

template <class T>
constexpr T kEnough = sizeof(T) == 4 ? T(1e-9) : T(1e-16);

// a is square with both triangles, h and x have n elements, slope is work; returns the minimum.
template <class T>
double descend_nonnegative(const T* a, const T* h, T* x, T* slope, std::int64_t n) {
    for (std::int64_t j = 0; j < n; ++j) slope[j] = -h[j];
    for (std::int64_t i = 0; i < n; ++i) {
        x[i] = x[i] > 0 ? x[i] : T(0);
        if (x[i] == 0) continue;
        const V<T> xi = splat(x[i]);
        for (std::int64_t j = 0; j < n; j += W<T>) store<T>(slope + j, load(slope + j) + xi * load(a + i * n + j));
    }
    T fallen = 0;
    for (int pass = 0; pass < kMaxPasses; ++pass) {
        T falls = 0;
        for (std::int64_t i = 0; i < n; ++i) {
            const T own = a[i * n + i];
            if (!(own > 0)) continue;
            const T wanted = x[i] - slope[i] / own, next = wanted > 0 ? wanted : T(0);
            const T step = next - x[i];
            if (step == 0) continue;
            x[i] = next;
            falls += step * step * own;
            const V<T> s = splat(step);
            for (std::int64_t j = 0; j < n; j += W<T>)
                store<T>(slope + j, load(slope + j) + s * load(a + i * n + j));
        }
        fallen += falls;
        if (!(falls > kEnough<T> * fallen)) break;
    }
    return static_cast<double>(dot(x, slope, n)) - static_cast<double>(dot(x, h, n));
}
