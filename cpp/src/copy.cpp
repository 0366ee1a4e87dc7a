#include <algorithm>
#include <cstdint>
#include <cstring>

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include "matfac/memory.hpp"
#include "matfac/parallel.hpp"

namespace matfac {

namespace {

// Past the caches, which keep what is in use: a copy is not read again soon.
void stream(char* to, const char* from, std::size_t bytes) {
    std::size_t done = 0;
#if defined(__SSE2__)
    if (reinterpret_cast<std::uintptr_t>(to) % sizeof(__m128i) == 0) {
        for (; done + sizeof(__m128i) <= bytes; done += sizeof(__m128i))
            _mm_stream_si128(reinterpret_cast<__m128i*>(to + done),
                             _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + done)));
        _mm_sfence();
    }
#endif
    std::memcpy(to + done, from + done, bytes - done);
}

}  // namespace

void copy_bytes(void* to, const void* from, std::size_t bytes, int n_threads, Control& control) {
    constexpr std::size_t part = std::size_t{1} << 18;
    const auto parts = static_cast<std::int64_t>((bytes + part - 1) / part);
    for_chunks(n_threads, parts, control, [&](std::int64_t chunk, int) {
        const std::size_t begin = static_cast<std::size_t>(chunk) * part;
        stream(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin,
               std::min(part, bytes - begin));
    });
}

}  // namespace matfac
