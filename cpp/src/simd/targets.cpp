// Compiles the kernel body once per instruction set. Everything the body needs is included before
// the first region: what is included inside would be compiled for that set and might be shared.
#include "matfac/kernels.hpp"
#include "tables.hpp"

#if defined(__clang__)
#define MF_BEGIN(features) \
    _Pragma(MF_STRING(clang attribute push(__attribute__((target(features))), apply_to = function)))
#define MF_END _Pragma("clang attribute pop")
#else
#define MF_BEGIN(features) _Pragma("GCC push_options") _Pragma(MF_STRING(GCC target(features)))
#define MF_END _Pragma("GCC pop_options")
#endif
#define MF_STRING(...) #__VA_ARGS__

#define MF_INLINE inline __attribute__((always_inline))
#define MF_LAMBDA __attribute__((always_inline))

namespace matfac::simd {

namespace baseline {
constexpr int kBytes = 16;
#include "kernels_body.inl"
}  // namespace baseline

#if defined(__x86_64__)

MF_BEGIN("avx2,fma")
namespace avx2 {
constexpr int kBytes = 32;
#include "kernels_body.inl"
}  // namespace avx2
MF_END

// MATFAC_AVX512_BY_AVX2: the same reads and writes, each by two AVX2 registers, so that sanitizers can
// follow these kernels on a processor without AVX-512.
#ifdef MATFAC_AVX512_BY_AVX2
MF_BEGIN("avx2,fma")
#else
MF_BEGIN("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#endif
namespace avx512 {
constexpr int kBytes = 64;
#include "kernels_body.inl"
}  // namespace avx512
MF_END

template <class T>
const KernelTable<T>* table(Isa isa) {
    switch (isa) {
        case Isa::avx512: return &avx512::kTable<T>;
        case Isa::avx2: return &avx2::kTable<T>;
        default: return &baseline::kTable<T>;
    }
}

#else

template <class T>
const KernelTable<T>* table(Isa isa) {
    return isa == Isa::baseline ? &baseline::kTable<T> : nullptr;
}

#endif

template const KernelTable<float>* table<float>(Isa);
template const KernelTable<double>* table<double>(Isa);

}  // namespace matfac::simd
