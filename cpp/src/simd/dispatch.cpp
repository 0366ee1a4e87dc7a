#include <atomic>
#include <stdexcept>
#include <string>

#include "matfac/kernels.hpp"
#include "tables.hpp"

namespace matfac {

namespace {

Isa best() {
    if (isa_available(Isa::avx512)) return Isa::avx512;
    if (isa_available(Isa::avx2)) return Isa::avx2;
    return Isa::baseline;
}

std::atomic<Isa>& current() {
    static std::atomic<Isa> isa{best()};
    return isa;
}

}  // namespace

// The processor probes also check that the system saves the wide registers.
bool isa_available(Isa isa) {
    if (simd::table<float>(isa) == nullptr) return false;
#if defined(__x86_64__)
    switch (isa) {
        case Isa::avx512:
#ifdef MATFAC_AVX512_BY_AVX2
            return isa_available(Isa::avx2);
#else
            return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                   __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                   __builtin_cpu_supports("fma");
#endif
        case Isa::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
        default: return true;
    }
#else
    return true;
#endif
}

Isa isa_in_use() { return current(); }

void use_isa(Isa isa) {
    if (!isa_available(isa))
        throw std::invalid_argument(std::string("this processor or build has no ") + isa_name(isa) +
                                    " kernels");
    current() = isa;
}

const char* isa_name(Isa isa) {
    switch (isa) {
        case Isa::avx512: return "avx512";
        case Isa::avx2: return "avx2";
        default: return "baseline";
    }
}

template <class T>
const KernelTable<T>& kernels() {
    return *simd::table<T>(current());
}

template const KernelTable<float>& kernels<float>();
template const KernelTable<double>& kernels<double>();

}  // namespace matfac
