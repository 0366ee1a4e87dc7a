// Counter-based random numbers: a value depends on its keys alone, never on the thread that asks.
#pragma once
#include <cstdint>

namespace matfac {

// splitmix64's finaliser (Steele, Lea, Flood 2014): a bijection with full avalanche.
constexpr std::uint64_t mix(std::uint64_t z) {
    z += 0x9e3779b97f4a7c15ULL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

constexpr std::uint64_t keyed(std::uint64_t seed, std::uint64_t a, std::uint64_t b = 0) {
    return mix(mix(mix(seed) ^ a) ^ b);
}

// A sequential stream for one key, a std uniform random bit generator.
class Stream {
public:
    using result_type = std::uint64_t;
    explicit Stream(std::uint64_t key) : state_(key) {}
    static constexpr result_type min() { return 0; }
    static constexpr result_type max() { return ~result_type{0}; }
    result_type operator()() { return mix(state_++); }
    // Uniform in 0..n-1 (Lemire's multiply-shift; the bias is below n / 2^32).
    std::uint32_t below(std::uint32_t n) {
        return static_cast<std::uint32_t>(((operator()() >> 32) * n) >> 32);
    }

private:
    std::uint64_t state_;
};

// Fisher-Yates with our own draws: std::shuffle differs between standard libraries.
template <class T>
void shuffle(T* first, std::int64_t n, Stream& stream) {
    for (std::int64_t i = n - 1; i > 0; --i) {
        const auto j = stream.below(static_cast<std::uint32_t>(i + 1));
        const T swap = first[i];
        first[i] = first[j];
        first[j] = swap;
    }
}

}  // namespace matfac
