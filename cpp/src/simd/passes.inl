// The values of a matrix: their range and their sums.

template <class T>
void values_range(const T* values, std::int64_t n, T* least, T* most) {
    constexpr int kSide = 4;  // one comparison need not wait for another
    V<T> low[kSide], high[kSide], zero{};
    for (int i = 0; i < kSide; ++i) low[i] = high[i] = splat<T>(values[0]);
    std::int64_t at = 0;
    for (; at + kSide * W<T> <= n; at += kSide * W<T>)
#pragma GCC unroll 4
        for (int i = 0; i < kSide; ++i) {
            const V<T> v = load(values + at + i * W<T>);
            low[i] = v < low[i] ? v : low[i];
            high[i] = v > high[i] ? v : high[i];
            zero += v - v;  // NaN for what is not finite
        }
    T l = values[0], h = values[0], odd = sum<T>(zero);
    for (int j = 0; j < kSide * W<T>; ++j) {
        const T a = low[j / W<T>][j % W<T>], b = high[j / W<T>][j % W<T>];
        l = a < l ? a : l;
        h = b > h ? b : h;
    }
    for (; at < n; ++at) {
        const T v = values[at];
        l = v < l ? v : l;
        h = v > h ? v : h;
        odd += v - v;
    }
    *least = l + odd;
    *most = h + odd;
}

// weights null: 1.
template <class T>
double values_sum(const T* values, const T* weights, std::int64_t n) {
    Sums<T> sums;
    std::int64_t at = 0;
    for (; at + kLanes <= n; at += kLanes)
        weights != nullptr ? sums.add(values + at, weights + at) : sums.add(values + at);
    double total = sums.total();
    for (; at < n; ++at)
        total += static_cast<double>(values[at]) *
                 (weights != nullptr ? static_cast<double>(weights[at]) : 1.0);
    return total;
}
