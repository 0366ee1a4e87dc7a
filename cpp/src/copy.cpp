#include <algorithm>

#include "matfac/kernels.hpp"
#include "matfac/memory.hpp"
#include "matfac/parallel.hpp"

namespace matfac {

void copy_bytes(char* to, const char* from, std::size_t bytes, int n_threads, Control& control) {
    constexpr std::size_t part = std::size_t{1} << 18;
    const auto parts = static_cast<std::int64_t>((bytes + part - 1) / part);
    for_chunks(n_threads, parts, control, [&](std::int64_t chunk, int) {
        const std::size_t begin = static_cast<std::size_t>(chunk) * part;
        copy_past_caches(to + begin, from + begin, std::min(part, bytes - begin));
    });
}

}  // namespace matfac
