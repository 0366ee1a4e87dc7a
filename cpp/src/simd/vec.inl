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

// 0..N-1 as a template's arguments.
template <int... I>
struct Numbers {};
template <int N, int... I>
struct UpTo : UpTo<N - 1, N - 1, I...> {};
template <int... I>
struct UpTo<0, I...> {
    using type = Numbers<I...>;
};

// N lanes of two vectors side by side, the i-th of which was LANE::of(i).
template <class LANE, class X, int... I>
MF_INLINE auto shuffled(X a, X b, Numbers<I...>) {
    return __builtin_shufflevector(a, b, LANE::of(I)...);
}
template <class LANE, int N, class X>
MF_INLINE auto shuffled(X a, X b) {
    return shuffled<LANE>(a, b, typename UpTo<N>::type{});
}

template <int FIRST>
struct From {
    static constexpr int of(int i) { return FIRST + i; }
};

// The lower half of N lanes plus the upper one.
template <int N, class X>
MF_INLINE auto halves(X v) {
    return shuffled<From<0>, N / 2>(v, v) + shuffled<From<N / 2>, N / 2>(v, v);
}

// Of each part of S lanes the even or odd blocks of L, those of the first vector of N lanes before the
// second's.
template <int N, int S, int L, int ODD>
struct Blocks {
    static constexpr int of(int i) {
        const int half = i % S / (S / 2), m = i % (S / 2);
        return half * N + i / S * S + (2 * (m / L) + ODD) * L + m % L;
    }
};

// From two vectors one: what lies in the even blocks plus what lies in the odd ones. Parts of 128 bits
// are the one order that is one instruction.
template <int N, int S, int L, class X>
MF_INLINE X fold(X a, X b) {
    return shuffled<Blocks<N, S, L, 0>, N>(a, b) + shuffled<Blocks<N, S, L, 1>, N>(a, b);
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
    for (int i = 0; i < G / 2; ++i) v[i] = fold<N, P, 1>(v[2 * i], v[2 * i + 1]);
    if constexpr (G == 4) v[0] = P == 2 ? fold<N, N, 2>(v[0], v[1]) : fold<N, P, 1>(v[0], v[1]);
    if constexpr (N == 16) {
        return halves<8>(halves<16>(v[0]));
    } else if constexpr (N == 8 && P == 2) {  // two parts of each pair of rows, side by side
        const V<T> w = fold<N, N, 2>(v[0], v[0]);
        return __builtin_shufflevector(w, w, 0, 1, 2, 3);
    } else if constexpr (N == 8) {
        return halves<8>(v[0]);
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
        const auto w = halves<4>(halves<8>(halves<16>(v)));
        return w[0] + w[1];
    } else if constexpr (N == 8) {
        const auto w = halves<4>(halves<8>(v));
        return w[0] + w[1];
    } else if constexpr (N == 4) {
        const auto w = halves<4>(v);
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

// Element j of row r of a batch lies in lane r of vector j.
template <class T>
struct Lanes {
    T* data;
    MF_INLINE T& at(std::int64_t j, std::int64_t r) const { return data[j * W<T> + r]; }
    MF_INLINE V<T> operator[](std::int64_t j) const { return load(data + j * W<T>); }
    MF_INLINE void set(std::int64_t j, V<T> v) const { store<T>(data + j * W<T>, v); }
};

// What rounding leaves of a zero, beside 1.
template <class T>
constexpr T kEpsilon = sizeof(T) == 4 ? T(1.2e-7) : T(2.3e-16);
