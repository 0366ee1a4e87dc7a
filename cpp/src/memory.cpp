#include "matfac/memory.hpp"

#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

#if !defined(_WIN32)
#include <sys/mman.h>
#endif

namespace matfac {

namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;

#if !defined(_WIN32)
// Straight from the system: its pages come zeroed, each when it is first touched, by the thread that
// works on it and between two looks at Control. Clearing gigabytes here would be neither.
constexpr std::size_t kMapped = 2 * kHugePage;  // smaller ones would waste most of a huge page

std::size_t pages(std::size_t bytes) { return (bytes + kHugePage - 1) / kHugePage * kHugePage; }

void* map(std::size_t bytes) {
    const std::size_t size = pages(bytes), spare = size + kHugePage;
    void* raw = mmap(nullptr, spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    if (raw == MAP_FAILED) throw std::bad_alloc();
    char* const begin = static_cast<char*>(raw);
    const std::size_t past = reinterpret_cast<std::size_t>(begin) % kHugePage;
    const std::size_t head = past == 0 ? 0 : kHugePage - past;
    if (head > 0) munmap(begin, head);
    munmap(begin + head + size, spare - head - size);
#if defined(MADV_HUGEPAGE)
    madvise(begin + head, size, MADV_HUGEPAGE);  // advice: failure is fine
#endif
    return begin + head;
}
#endif

}  // namespace

void* allocate_table(std::size_t bytes) {
    constexpr std::size_t alignment = 64;
    if (bytes > std::numeric_limits<std::size_t>::max() - 2 * kHugePage) throw std::bad_alloc();
    const std::size_t size = (bytes / alignment + 1) * alignment;
#if defined(_WIN32)
    void* pointer = _aligned_malloc(size, alignment);
#else
    if (bytes >= kMapped) return map(bytes);
    void* pointer = std::aligned_alloc(alignment, size);
#endif
    if (pointer == nullptr) throw std::bad_alloc();
    std::memset(pointer, 0, size);
    return pointer;
}

void free_table(void* pointer, std::size_t bytes) noexcept {
    if (pointer == nullptr) return;
#if defined(_WIN32)
    (void)bytes;
    _aligned_free(pointer);
#else
    if (bytes >= kMapped)
        munmap(pointer, pages(bytes));
    else
        std::free(pointer);
#endif
}

}  // namespace matfac
