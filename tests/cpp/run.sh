#!/usr/bin/env bash
# Builds the core and tests/cpp/core.cpp without Python, and runs them.
#   run.sh [plain | asan | tsan | clang | nehalem | aarch64]...     (default: plain)
# plain    g++, warnings are errors, every instruction set of this processor
# asan     the same under AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer
# tsan     clang, libomp and Archer under ThreadSanitizer; tsan.supp names the Hogwild kernel
# clang    clang, warnings are errors
# nehalem  plain's program on an emulated x86-64 processor without AVX (qemu-user)
# aarch64  cross-compiled, on an emulated Arm processor (qemu-user)
# What a mode needs is installed by apt-get where it is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=${MATFAC_CPP_BUILD:-build/cpp}
# Without -Wsign-conversion: indices are signed here, sizes of the standard library are not.
warnings="-Wall -Wextra -Wconversion -Wno-sign-conversion -Werror"
common="-std=c++20 -fno-math-errno -ffp-contract=fast $warnings -fopenmp -Icpp/include"
# Without AVX-512 its kernels are checked all the same: compiled for AVX2, two registers to a vector.
grep -q avx512vl /proc/cpuinfo || common+=" -DMATFAC_AVX512_BY_AVX2 -Wno-psabi"

need() { # need COMMAND PACKAGE...
    command -v "$1" >/dev/null && return
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${@:2}" >/dev/null
}

need_clang() { # one version of all, or they do not find each other
    need clang++-19 clang-19 libclang-rt-19-dev
    [[ -e /usr/lib/llvm-19/lib/libarcher.so ]] || need libarcher.so libomp-19-dev
}

compile() { # compile NAME COMPILER FLAGS...: the program $build/NAME/core
    local folder=$build/$1 source
    mkdir -p "$folder"
    for source in cpp/src/*.cpp cpp/src/simd/*.cpp tests/cpp/core.cpp; do
        echo "$source"
    done | xargs -P "${MATFAC_BUILD_JOBS:-$(nproc)}" -I '{}' sh -c \
        "object=$folder/\$(basename {} .cpp).o; ${*:2} $common -c {} -o \$object"
    "${@:2}" -fopenmp "$folder"/*.o -o "$folder/core"
}

for mode in "${@:-plain}"; do
    echo "--- $mode"
    case $mode in
    plain)
        compile plain g++ -O3
        "$build/plain/core"
        ;;
    asan)
        compile asan g++ -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined \
            -fno-sanitize-recover=all
        "$build/asan/core"
        ;;
    tsan)
        need_clang
        compile tsan clang++-19 -O1 -g1 -fsanitize=thread
        OMP_TOOL_LIBRARIES=/usr/lib/llvm-19/lib/libarcher.so \
            TSAN_OPTIONS="ignore_noninstrumented_modules=1 suppressions=$PWD/tests/cpp/tsan.supp" \
            "$build/tsan/core"
        ;;
    clang)
        need_clang
        compile clang clang++-19 -O2
        "$build/clang/core"
        ;;
    nehalem)
        need qemu-x86_64 qemu-user
        [[ -x $build/plain/core ]] || compile plain g++ -O3
        qemu-x86_64 -cpu Nehalem "$build/plain/core"
        ;;
    aarch64)
        need aarch64-linux-gnu-g++ g++-aarch64-linux-gnu
        need qemu-aarch64 qemu-user
        compile aarch64 aarch64-linux-gnu-g++ -O2
        qemu-aarch64 -L /usr/aarch64-linux-gnu "$build/aarch64/core"
        ;;
    *)
        echo "unknown mode $mode" >&2
        exit 2
        ;;
    esac
done
