// A row's entries as curvatures c and linear terms g of its problem, with zeros after them up to a
// multiple of kLanes.

// Sums in double of kLanes numbers at a time, each in a place of its own.
template <class T>
struct Sums {
    static constexpr int N = W<double>;
    V<double> part[kLanes / N] = {};

    static MF_INLINE V<double> wide(const T* p) {
        return __builtin_convertvector(load_part<N>(p), V<double>);
    }
    MF_INLINE void add(const T* a) {
#pragma GCC unroll 8
        for (int i = 0; i < kLanes / N; ++i) part[i] += wide(a + i * N);
    }
    MF_INLINE void add(const T* a, const T* b) {
#pragma GCC unroll 8
        for (int i = 0; i < kLanes / N; ++i) part[i] += wide(a + i * N) * wide(b + i * N);
    }
    MF_INLINE double total() const {
        V<double> all = part[0];
        for (int i = 1; i < kLanes / N; ++i) all += part[i];
        return sum<double>(all);
    }
};

// w of each entry in c and, of what is left of its value, w t in g.
template <class T>
MF_INLINE double ratings_terms(const RowEntries<T>& e, T* __restrict c, T* __restrict g, double& curvature) {
    // Copies: for all the compiler knows, a store to g changes what e holds.
    const std::int64_t n = e.n, size = padded(n);
    const T mean = e.mean, *const bias = e.bias;
    const std::int32_t* const index = e.index;
    if (bias != nullptr)
        for (std::int64_t j = 0; j < n; ++j) g[j] -= mean + bias[index[j]];
    else
        for (std::int64_t j = 0; j < n; ++j) g[j] -= mean;
    Sums<T> squares, weights;
    if (e.weights == nullptr) {
        for (std::int64_t j = 0; j < size; j += kLanes) squares.add(g + j, g + j);
        curvature += static_cast<double>(n);
        return squares.total();
    }
    for (std::int64_t j = 0; j < size; j += kLanes) {
        T rest[kLanes];
        for (int i = 0; i < kLanes; i += W<T>) {
            store<T>(rest + i, load(g + j + i));
            store<T>(g + j + i, load(c + j + i) * load(g + j + i));
        }
        squares.add(g + j, rest);
        weights.add(c + j);
    }
    curvature += weights.total();
    return squares.total();
}

// c = w alpha r and g = c, for hu + w; alpha is 1 in the other parametrisation.
template <class T>
MF_INLINE double implicit_terms(const RowEntries<T>& e, T* c, T* g) {
    const bool hu = e.loss == Loss::hu;
    const V<T> alpha = splat(hu ? e.alpha : T(1)), own = splat(hu ? T(1) : T(0));
    Sums<T> sums;
    for (std::int64_t j = 0; j < padded(e.n); j += kLanes) {
        for (int i = 0; i < kLanes; i += W<T>) {
            const V<T> w = load(c + j + i), cw = w * (alpha * load(g + j + i));
            store<T>(c + j + i, cw);
            store<T>(g + j + i, cw + own * w);
        }
        sums.add(g + j);
    }
    return sums.total();
}

// The same for kShort entries at most, one by one: less work than filling vectors.
template <class T>
MF_INLINE double few_terms(const RowEntries<T>& e, T* c, T* g, double& curvature) {
    for (std::int64_t j = 0; j < padded(e.n); j += W<T>) {
        store<T>(c + j, V<T>{});
        store<T>(g + j, V<T>{});
    }
    const bool ratings = e.loss == Loss::ratings, hu = e.loss == Loss::hu;
    const T alpha = hu ? e.alpha : T(1), own = hu ? T(1) : T(0);
    double constant = 0, weights = 0;
    for (std::int64_t j = 0; j < e.n; ++j) {
        const T w = e.weights != nullptr ? e.weights[j] : T(1);
        T r = e.values != nullptr ? e.values[j] : T(1);
        if (ratings) {
            r -= e.mean + (e.bias != nullptr ? e.bias[e.index[j]] : T(0));
            c[j] = w;
            g[j] = w * r;
            constant += static_cast<double>(g[j]) * static_cast<double>(r);
            weights += static_cast<double>(w);
        } else {
            c[j] = w * (alpha * r);
            g[j] = c[j] + own * w;
            constant += static_cast<double>(g[j]);
        }
    }
    curvature += weights;
    return constant;
}

template <class T>
double row_terms(const RowEntries<T>& e, T* __restrict c, T* __restrict g, double& curvature) {
    if (e.n <= kShort) return few_terms(e, c, g, curvature);
    const std::int64_t n = e.n;
    const T *const values = e.values, *const weights = e.weights;
    for (std::int64_t j = 0; j < n; ++j) g[j] = values != nullptr ? values[j] : T(1);
    for (std::int64_t j = 0; j < n; ++j) c[j] = weights != nullptr ? weights[j] : T(1);
    for (std::int64_t j = n; j < padded(n); ++j) c[j] = g[j] = T(0);
    return e.loss == Loss::ratings ? ratings_terms(e, c, g, curvature) : implicit_terms(e, c, g);
}
