#include "matfac/memory.hpp"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace matfac {

namespace {
constexpr std::size_t kHugePage = std::size_t{2} << 20;
}

void* allocate_table(std::size_t bytes) {
    // Small tables would waste most of a huge page.
    const std::size_t alignment = bytes >= 2 * kHugePage ? kHugePage : 64;
    if (bytes > std::numeric_limits<std::size_t>::max() - alignment) throw std::bad_alloc();
    const std::size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    const std::size_t size = rounded > 0 ? rounded : alignment;
#if defined(_WIN32)
    void* pointer = _aligned_malloc(size, alignment);
#else
    void* pointer = std::aligned_alloc(alignment, size);
#endif
    if (pointer == nullptr) throw std::bad_alloc();
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (alignment == kHugePage) madvise(pointer, size, MADV_HUGEPAGE);  // advice: failure is fine
#endif
    std::memset(pointer, 0, size);
    return pointer;
}

void free_table(void* pointer) noexcept {
#if defined(_WIN32)
    _aligned_free(pointer);
#else
    std::free(pointer);
#endif
}

}  // namespace matfac
