#!/usr/bin/env bash
# The share of lines that the test-suite runs: Python by coverage.py, C++ by gcov and gcovr.
#   tests/coverage.sh [FOLDER] [PYTEST ARGUMENT]...      (default: build/coverage)
# Fails under 95 % of the Python lines, under 90 % of the C++ lines, or when a test fails.
# Needs the extras test and dev; about 20 minutes on two cores, the core being built without
# optimisation. FOLDER/tree holds the instrumented copy, FOLDER/*.txt the lines that never ran.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p "${1:-build/coverage}"
folder=$(cd "${1:-build/coverage}" && pwd)
tree=$folder/tree

rm -rf "$folder/python" "$tree/src"
mkdir -p "$folder/python" "$tree"
cp -a setup.py pyproject.toml README.md LICENSE src cpp tests docs examples benchmarks "$tree"
rm -f "$tree"/src/matfac/*.so
find "$tree" -name '*.gcda' -delete
cd "$tree"
MATFAC_COVERAGE=1 python setup.py -q build_ext --inplace
export PYTHONPATH=$tree/src COVERAGE_FILE=$folder/python/data

status=0
python -m coverage run -m pytest -q -p no:cacheprovider "${@:2}" || status=$?
python -m coverage combine -q "$folder/python"
echo "=== Python"
python -m coverage report --skip-covered --show-missing >"$folder/python.txt" || status=1
grep TOTAL "$folder/python.txt"
echo "=== C++"
# A row's address is taken billions of times, which gcovr would take for a fault of gcov.
gcovr --root . --filter cpp/ --merge-mode-functions=merge-use-line-min --merge-lines \
    --gcov-ignore-parse-errors=suspicious_hits.warn_once_per_file \
    --txt "$folder/cpp.txt" --fail-under-line 90 build || status=1
tail -n 3 "$folder/cpp.txt"
exit "$status"
