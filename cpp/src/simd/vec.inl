// Vectors of one register, V<T>. Included inside a target region, where kBytes is the register's size.
// No std from here on: a std template instantiated in the region would leak its instructions.

template <class T>
struct VecOf;
template <>
struct VecOf<float> {
    typedef float type __attribute__((vector_size(kBytes), aligned(4), may_alias));
};
template <>
struct VecOf<double> {
    typedef double type __attribute__((vector_size(kBytes), aligned(8), may_alias));
};
template <class T>
using V = typename VecOf<T>::type;
template <class T>
constexpr int W = kBytes / static_cast<int>(sizeof(T));

template <class T>
MF_INLINE V<T> load(const T* p) {
    return *reinterpret_cast<const V<T>*>(p);
}
template <class T>
MF_INLINE void store(T* p, V<T> v) {
    *reinterpret_cast<V<T>*>(p) = v;
}

// Fewer lanes than a register has.
template <class T, int N>
struct PartOf {
    typedef T type __attribute__((vector_size(N * sizeof(T)), aligned(sizeof(T)), may_alias));
};
template <class T, int N>
using Part = typename PartOf<T, N>::type;
template <int N, class T>
MF_INLINE Part<T, N> load_part(const T* p) {
    return *reinterpret_cast<const Part<T, N>*>(p);
}
template <int N, class T>
MF_INLINE void store_part(T* p, typename PartOf<T, N>::type v) {
    *reinterpret_cast<Part<T, N>*>(p) = v;
}

template <class T>
MF_INLINE V<T> splat(T x) {
    return x - V<T>{};  // GCC's broadcast: x - 0 is x for every x
}

// Fold<N, L>: from two vectors of N lanes, those of a first: what lies in the even blocks of L lanes
// plus what lies in the odd ones. Up to 128 bits (P lanes) each part keeps to itself, the one order
// that is one instruction.
template <int P, int N, int L>
struct Fold;
#define MF_FOLD(P, N, L, EVEN, ODD)                                                      \
    template <>                                                                          \
    struct Fold<P, N, L> {                                                               \
        template <class X>                                                               \
        static MF_INLINE X of(X a, X b) {                                                \
            return __builtin_shufflevector(a, b, EVEN) + __builtin_shufflevector(a, b, ODD); \
        }                                                                                \
    };
#define MF_LANES(...) __VA_ARGS__
MF_FOLD(4, 4, 1, MF_LANES(0, 2, 4, 6), MF_LANES(1, 3, 5, 7))
MF_FOLD(4, 8, 1, MF_LANES(0, 2, 8, 10, 4, 6, 12, 14), MF_LANES(1, 3, 9, 11, 5, 7, 13, 15))
MF_FOLD(4, 16, 1, MF_LANES(0, 2, 16, 18, 4, 6, 20, 22, 8, 10, 24, 26, 12, 14, 28, 30),
        MF_LANES(1, 3, 17, 19, 5, 7, 21, 23, 9, 11, 25, 27, 13, 15, 29, 31))
MF_FOLD(2, 2, 1, MF_LANES(0, 2), MF_LANES(1, 3))
MF_FOLD(2, 4, 1, MF_LANES(0, 4, 2, 6), MF_LANES(1, 5, 3, 7))
MF_FOLD(2, 8, 1, MF_LANES(0, 8, 2, 10, 4, 12, 6, 14), MF_LANES(1, 9, 3, 11, 5, 13, 7, 15))
MF_FOLD(2, 4, 2, MF_LANES(0, 1, 4, 5), MF_LANES(2, 3, 6, 7))
MF_FOLD(2, 8, 2, MF_LANES(0, 1, 4, 5, 8, 9, 12, 13), MF_LANES(2, 3, 6, 7, 10, 11, 14, 15))
#undef MF_FOLD
#undef MF_LANES

// The lower half of the lanes plus the upper one.
template <class X>
MF_INLINE auto halves4(X v) {
    return __builtin_shufflevector(v, v, 0, 1) + __builtin_shufflevector(v, v, 2, 3);
}
template <class X>
MF_INLINE auto halves8(X v) {
    return __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
}
template <class X>
MF_INLINE auto halves16(X v) {
    return __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
           __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
}

// Rows handled together: as many as one vector of their sums has lanes, at most four.
template <class T>
constexpr int kGroup = W<T> <= 4 ? W<T> : 4;

// One number per row of a group.
template <class T>
using Group = Part<T, kGroup<T>>;
template <class T>
MF_INLINE Group<T> load_group(const T* p) {
    return load_part<kGroup<T>>(p);
}
template <class T>
MF_INLINE void store_group(T* p, typename PartOf<T, kGroup<T>>::type g) {
    store_part<kGroup<T>>(p, g);
}

// The sums of the lanes of v[0..kGroup).
template <class T>
MF_INLINE Group<T> sum_lanes(V<T>* v) {
    constexpr int N = W<T>, G = kGroup<T>, P = 16 / sizeof(T);
#pragma GCC unroll 4
    for (int i = 0; i < G / 2; ++i) v[i] = Fold<P, N, 1>::of(v[2 * i], v[2 * i + 1]);
    if constexpr (G == 4) v[0] = Fold<P, N, P == 2 ? 2 : 1>::of(v[0], v[1]);
    if constexpr (N == 16) {
        return halves8(halves16(v[0]));
    } else if constexpr (N == 8 && P == 2) {  // two parts of each pair of rows, side by side
        const V<T> w = Fold<P, N, 2>::of(v[0], v[0]);
        return __builtin_shufflevector(w, w, 0, 1, 2, 3);
    } else if constexpr (N == 8) {
        return halves8(v[0]);
    } else {
        return v[0];
    }
}

// Each lane of a group in a vector of its own. Lanes by constants: by a variable they go through memory.
template <class T>
MF_INLINE void spread(Group<T> g, V<T>* out) {
    constexpr int G = kGroup<T>;
    out[0] = splat<T>(g[0]);
    if constexpr (G > 1) out[1] = splat<T>(g[1]);
    if constexpr (G > 2) out[2] = splat<T>(g[2]), out[3] = splat<T>(g[3]);
}

template <class T>
MF_INLINE T sum_group(Group<T> g) {
    T total = 0;
#pragma GCC unroll 8
    for (int i = 0; i < kGroup<T>; ++i) total += g[i];
    return total;
}

// Sum of one vector's lanes.
template <class T>
MF_INLINE T sum(V<T> v) {
    constexpr int N = W<T>;
    if constexpr (N == 16) {
        const auto w = halves4(halves8(halves16(v)));
        return w[0] + w[1];
    } else if constexpr (N == 8) {
        const auto w = halves4(halves8(v));
        return w[0] + w[1];
    } else if constexpr (N == 4) {
        const auto w = halves4(v);
        return w[0] + w[1];
    } else {
        return v[0] + v[1];
    }
}

template <class T>
MF_INLINE T dot(const T* a, const T* b, std::int64_t k) {
    V<T> s{};
    for (std::int64_t j = 0; j < k; j += W<T>) s += load(a + j) * load(b + j);
    return sum<T>(s);
}

template <class T>
MF_INLINE void prefetch_row(const T* row, std::int64_t stride) {
    const char* p = reinterpret_cast<const char*>(row);
    const std::int64_t bytes = stride * static_cast<std::int64_t>(sizeof(T));
    for (std::int64_t b = 0; b < bytes; b += 64) __builtin_prefetch(p + b, 0, 3);
}
