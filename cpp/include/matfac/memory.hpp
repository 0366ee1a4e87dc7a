// Aligned buffers, on 2 MiB pages where the system grants them: factor gathers miss the TLB otherwise.
#pragma once
#include <cstddef>
#include <utility>

namespace matfac {

void* allocate_table(std::size_t bytes);  // zero-filled, 64-byte aligned; throws std::bad_alloc
void free_table(void* pointer, std::size_t bytes) noexcept;  // of as many bytes, or null

class Control;
// By parts, which all threads share.
void copy_bytes(char* to, const char* from, std::size_t bytes, int n_threads, Control& control);

// Owner of one such allocation of `size` elements of a trivial type.
template <class T>
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(std::size_t size)
        : data_(static_cast<T*>(allocate_table(size * sizeof(T)))), size_(size) {}
    Buffer(Buffer&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(size_, other.size_);
        return *this;
    }
    ~Buffer() { free_table(data_, size_ * sizeof(T)); }

    T* data() const { return data_; }
    std::size_t size() const { return size_; }
    T& operator[](std::size_t i) const { return data_[i]; }

private:
    T* data_ = nullptr;
    std::size_t size_ = 0;
};

}  // namespace matfac
