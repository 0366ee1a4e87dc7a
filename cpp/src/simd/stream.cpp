#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "matfac/kernels.hpp"

namespace matfac {

void copy_past_caches(char* to, const char* from, std::size_t bytes) {
    std::size_t done = 0;
#if defined(__SSE2__)
    constexpr std::size_t size = sizeof(__m128i);
    if (reinterpret_cast<std::uintptr_t>(to) % size == 0) {
        for (; done + size <= bytes; done += size)
            _mm_stream_si128(reinterpret_cast<__m128i*>(to + done),
                             _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + done)));
        _mm_sfence();
    }
#endif
    std::memcpy(to + done, from + done, bytes - done);
}

}  // namespace matfac
