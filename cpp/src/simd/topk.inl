// Scores of many users and items, and which of them are worth a closer look.

template <class T>
void pack(TableView<const T> table, const std::int32_t* index, std::int64_t begin, std::int64_t end,
          T* panel) {
    const std::int64_t n = end - begin, width = padded(n);
    for (std::int64_t j0 = 0; j0 < width; j0 += kLanes)
        for (std::int64_t i0 = 0; i0 < table.stride; i0 += kLanes)
            for (std::int64_t j = j0; j < j0 + kLanes; ++j) {
                const T* row = nullptr;
                if (j < n) row = table.row(index != nullptr ? index[begin + j] : begin + j) + i0;
                for (std::int64_t i = 0; i < kLanes; ++i)
                    panel[(i0 + i) * width + j] = row != nullptr ? row[i] : T(0);
            }
}

template <class T>
void score(TableView<const T> users, std::int64_t u0, std::int64_t n_users, const T* panel,
           std::int64_t width, const T* bias, std::int64_t n, T* scores) {
    for (std::int64_t j = 0; j < n; ++j) scores[j] = bias != nullptr ? bias[j] : T(0);
    for (std::int64_t j = n; j < width; ++j) scores[j] = -static_cast<T>(__builtin_inf());
    for (std::int64_t i = 1; i < n_users; ++i)
        for (std::int64_t j = 0; j < width; j += W<T>)
            store<T>(scores + i * width + j, load(scores + j));
    gemm<T>(scores, width, users.row(u0), users.stride, 1, panel, width, n_users, width, users.k);
}

// Lanes of a comparison: all bits set or none.
template <class T>
struct MaskOf;
template <>
struct MaskOf<float> {
    typedef std::int32_t type __attribute__((vector_size(kBytes), may_alias));
};
template <>
struct MaskOf<double> {
    typedef std::int64_t type __attribute__((vector_size(kBytes), may_alias));
};
template <class T>
using Mask = typename MaskOf<T>::type;

typedef std::int64_t Words __attribute__((vector_size(kBytes), may_alias));

// The bits of all lanes, or-ed.
template <class M>
MF_INLINE std::int64_t any_bits(M mask) {
    const Words w = reinterpret_cast<Words>(mask);
    std::int64_t bits = 0;
#pragma GCC unroll 8
    for (int i = 0; i < kBytes / 8; ++i) bits |= w[i];
    return bits;
}

// Hits are rare once k good scores are known, so a block of vectors is first asked as a whole.
template <class T>
std::int64_t above(const T* scores, std::int64_t n, T threshold, std::int32_t* at) {
    constexpr std::int64_t kBlock = 2 * kLanes;
    const V<T> limit = splat(threshold);
    std::int64_t found = 0;
    for (std::int64_t j = 0; j < n; j += kBlock) {
        const std::int64_t end = j + kBlock < n ? j + kBlock : n;
        Mask<T> any{};
        for (std::int64_t v = j; v < end; v += W<T>) any |= load(scores + v) > limit;
        if (any_bits(any) == 0) continue;
        for (std::int64_t i = j; i < end; ++i) {
            at[found] = static_cast<std::int32_t>(i);
            found += scores[i] > threshold;
        }
    }
    return found;
}
