#!/usr/bin/env bash
# The tests in Python with the core built under sanitizers, once per instruction set given. By hand or
# at night: a build takes 5 to 10 minutes on two cores, all tests half an hour per instruction set.
#   tests/sanitize.sh address | thread [PYTEST ARGUMENT]...
# address  g++'s AddressSanitizer, UndefinedBehaviorSanitizer and LeakSanitizer. CPython and other
#          packages leave memory behind at exit: a leak counts where the core is on its stack.
# thread   clang 19, libomp and Archer under ThreadSanitizer; cpp/tsan.supp names the Hogwild kernel.
# MATFAC_ISAS="baseline avx2 avx512" (the default) are the instruction sets. On a processor without
# AVX-512 its kernels are compiled for AVX2, with each vector in two registers: the same reads and writes.
# Left out: what measures memory, which is the sanitizer's, and what builds. Under ThreadSanitizer also
# forks, which it does not follow, and polars, whose allocator crashes there.
# build/sanitize/MODE holds the copy that is built, and the reports.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=${1:?address or thread}
folder=$PWD/build/sanitize/$mode
tests=("${@:2}")
left_out=(--ignore=tests/test_{memory,build}.py)

mkdir -p "$folder"
rm -rf "$folder"/report* "$folder/src"
cp -a setup.py pyproject.toml README.md LICENSE src cpp tests docs examples benchmarks "$folder"
rm -f "$folder"/src/matfac/*.so
cd "$folder"
grep -q avx512vl /proc/cpuinfo || export CPPFLAGS="${CPPFLAGS-} -DMATFAC_AVX512_BY_AVX2 -Wno-psabi"
case $mode in
address)
    MATFAC_SANITIZE=address,undefined MATFAC_OPENMP=1 python setup.py -q build_ext --inplace
    run=(env "LD_PRELOAD=$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)"
        PYTHONMALLOC=malloc UBSAN_OPTIONS=halt_on_error=1:abort_on_error=1:print_stacktrace=1
        "ASAN_OPTIONS=allocator_may_return_null=1:abort_on_error=1:exitcode=0:log_path=$folder/report")
    ;;
thread)
    if ! command -v clang++-19 >/dev/null || [[ ! -e /usr/lib/llvm-19/lib/libarcher.so ]]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
            clang-19 libomp-19-dev libclang-rt-19-dev llvm-19 >/dev/null
    fi
    left_out+=(--ignore=tests/test_{checkpoint,fork}.py
        --deselect=tests/test_bounds.py::test_a_gzip_bomb_is_refused) # measures memory
    mkdir -p "$folder/absent"
    echo 'raise ModuleNotFoundError("kept away from ThreadSanitizer")' >"$folder/absent/polars.py"
    # Both for setup.py's probe too: without them every wait of OpenMP is told as a race.
    export OMP_TOOL_LIBRARIES=/usr/lib/llvm-19/lib/libarcher.so
    export TSAN_OPTIONS="ignore_noninstrumented_modules=1 suppressions=$folder/tests/cpp/tsan.supp"
    CC=clang-19 CXX=clang++-19 LDSHARED="clang++-19 -shared" MATFAC_SANITIZE=thread \
        MATFAC_OPENMP=1 python setup.py -q build_ext --inplace
    run=(env "LD_PRELOAD=$(clang++-19 -print-file-name=libclang_rt.tsan-x86_64.so)"
        "TSAN_OPTIONS=$TSAN_OPTIONS exitcode=0 log_path=$folder/report")
    ;;
*)
    echo "unknown mode $mode" >&2
    exit 2
    ;;
esac

((${#tests[@]})) || tests=(tests "${left_out[@]}")
status=0
export PYTHONPATH=$folder/absent:$folder/src
for isa in ${MATFAC_ISAS:-baseline avx2 avx512}; do
    echo "--- $mode, $isa"
    # -s: a captured report would be lost with the process.
    MATFAC_SIMD=$isa "${run[@]}" python -m pytest -q -s -p no:cacheprovider "${tests[@]}" || status=$?
done
told='/_core\.cpython|cpp/(src|include|bindings)/|runtime error'
if grep -lE "$told" report* 2>/dev/null; then
    grep -hE 'SUMMARY|runtime error' report* | sort | uniq -c
    status=1
else
    echo "no report of the core"
fi
exit "$status"
