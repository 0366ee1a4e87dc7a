// The core alone, without Python: every instruction set that this processor has, both element types,
// one thread and several. Built and run by run.sh, under sanitizers and emulators too.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "matfac/als.hpp"
#include "matfac/aside.hpp"
#include "matfac/evaluate.hpp"
#include "matfac/kernels.hpp"
#include "matfac/passes.hpp"
#include "matfac/rng.hpp"
#include "matfac/row_schedule.hpp"
#include "matfac/sgd.hpp"
#include "matfac/strings.hpp"
#include "matfac/topk.hpp"
#include "matfac/transpose.hpp"

namespace {

using namespace matfac;

int checks = 0, failures = 0;

void check(bool holds, const std::string& what) {
    ++checks;
    if (holds) return;
    ++failures;
    std::printf("FAILED: %s\n", what.c_str());
}

// Random ratings with an empty row.
template <class T>
struct Ratings {
    std::int64_t m, n;
    std::vector<std::int64_t> indptr{0};
    std::vector<std::int32_t> indices;
    std::vector<T> values;

    Ratings(std::int64_t rows, std::int64_t columns) : m(rows), n(columns) {
        Stream stream(keyed(1, 2));
        for (std::int64_t u = 0; u < m; ++u) {
            for (std::int64_t i = 0; i < n && u != m / 2; ++i)
                if (stream.below(4) == 0) {
                    indices.push_back(static_cast<std::int32_t>(i));
                    values.push_back(static_cast<T>(1 + stream.below(5)));
                }
            indptr.push_back(static_cast<std::int64_t>(indices.size()));
        }
    }
    CsrView<T> view() const {
        return {m, n, indptr.data(), indices.data(), values.data(), nullptr};
    }
};

template <class T>
struct Table {
    TableView<T> view;
    Buffer<T> data;

    Table(std::int64_t n, std::int64_t k, std::uint64_t seed)
        : data(static_cast<std::size_t>(n * padded(k))) {
        view = {n, k, padded(k), data.data()};
        Stream stream(keyed(seed, 7));
        for (std::int64_t i = 0; i < n; ++i)
            for (std::int64_t j = 0; j < k; ++j)
                view.row(i)[j] = static_cast<T>(stream.below(2001)) / T(1000) - T(1);
    }
    std::vector<T> copy() const { return {data.data(), data.data() + data.size()}; }
};

// The ridge solution of one row, by Gauss's elimination in double.
template <class T>
std::vector<double> solved(const Ratings<T>& r, const Table<T>& items, std::int64_t u, double ridge) {
    const auto k = static_cast<std::size_t>(items.view.k);
    std::vector<std::vector<double>> a(k, std::vector<double>(k + 1, 0.0));
    for (std::size_t i = 0; i < k; ++i) a[i][i] = ridge;
    for (auto e = static_cast<std::size_t>(r.indptr[static_cast<std::size_t>(u)]);
         e < static_cast<std::size_t>(r.indptr[static_cast<std::size_t>(u) + 1]); ++e) {
        const T* y = items.view.row(r.indices[e]);
        for (std::size_t i = 0; i < k; ++i) {
            for (std::size_t j = 0; j < k; ++j)
                a[i][j] += static_cast<double>(y[i]) * static_cast<double>(y[j]);
            a[i][k] += static_cast<double>(y[i]) * static_cast<double>(r.values[e]);
        }
    }
    for (std::size_t p = 0; p < k; ++p)
        for (std::size_t i = 0; i < k; ++i) {
            if (i == p) continue;
            const double f = a[i][p] / a[p][p];
            for (std::size_t j = p; j <= k; ++j) a[i][j] -= f * a[p][j];
        }
    std::vector<double> x(k);
    for (std::size_t i = 0; i < k; ++i) x[i] = a[i][k] / a[i][i];
    return x;
}

template <class T>
void test_half_sweep(const std::string& name, std::int64_t k) {
    const Ratings<T> r(60, 45);
    const std::vector<T> ridge(60, T(0.5));
    const double tolerance = sizeof(T) == 4 ? 2e-3 : 1e-9;
    for (const Loss loss : {Loss::ratings, Loss::ials, Loss::hu})
        for (const int steps : {0, 3}) {
            std::vector<T> first;
            for (const int threads : {1, 3}) {
                Table<T> items(45, k, 1), users(60, k, 2);
                HalfSweep<T> sweep;
                sweep.ratings = r.view();
                sweep.loss = loss;
                sweep.alpha = 0.1;
                sweep.fixed = items.view;
                sweep.solved = users.view;
                sweep.ridge = ridge.data();
                sweep.cg_steps = steps;
                sweep.n_threads = threads;
                Control control;
                const SweepResult result = run_half_sweep(sweep, BlasTable{}, control);
                check(result.completed && std::isfinite(result.value), name + " half sweep ends");
                if (threads == 1)
                    first = users.copy();
                else
                    check(first == users.copy(), name + " half sweep: bits for 3 threads as for 1");
                if (loss != Loss::ratings || steps != 0) continue;
                for (std::int64_t u = 0; u < 60; ++u) {
                    const auto x = solved(r, items, u, 0.5);
                    for (std::int64_t j = 0; j < k; ++j)
                        check(std::abs(static_cast<double>(users.view.row(u)[j]) -
                                       (u == 30 ? 0.0 : x[static_cast<std::size_t>(j)])) < tolerance,
                              name + " half sweep solves row " + std::to_string(u));
                }
            }
        }
}

// Long rows that are solved together, because one thread has enough of them, get the bits that they
// get one by one, where five threads share them.
template <class T>
void test_bands(const std::string& name) {
    const std::int64_t k = 64, n = kCached / (k * static_cast<std::int64_t>(sizeof(T))) + 1;
    std::vector<std::int64_t> indptr{0};
    std::vector<std::int32_t> indices;
    Stream stream(keyed(5, 6));
    for (const std::int64_t step : {1, 2, 2, 2, 3, 3, 5, 7, 9, 11, 1, 2, 2, 2, 3, 3, 5, 7, 9, 11,
                                    1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 20, 3000, 7000}) {
        for (std::int64_t i = static_cast<std::int64_t>(stream.below(5)); i < n; i += step)
            if (stream.below(16) != 0) indices.push_back(static_cast<std::int32_t>(i));
        indptr.push_back(static_cast<std::int64_t>(indices.size()));
    }
    const auto m = static_cast<std::int64_t>(indptr.size()) - 1;
    std::vector<T> values;
    for (std::size_t j = 0; j < indices.size(); ++j) values.push_back(static_cast<T>(1 + stream.below(5)));
    const CsrView<T> ratings{m, n, indptr.data(), indices.data(), values.data(), nullptr};
    const std::vector<T> ridge(static_cast<std::size_t>(m), T(0.5));
    const Table<T> items(n, k, 1);
    // One loss for each type: the emulated runs take minutes as it is.
    const Loss loss = sizeof(T) == 4 ? Loss::ratings : Loss::ials;
    std::vector<std::vector<T>> answers;
    std::vector<double> sums;
    for (const int threads : {1, 5}) {
        Table<T> users(m, k, 2);
        std::vector<T> bias(static_cast<std::size_t>(m), T(0.1)), others(static_cast<std::size_t>(n), T(0.2));
        HalfSweep<T> sweep;
        sweep.ratings = ratings;
        sweep.loss = loss;
        sweep.alpha = 0.1;
        sweep.fixed = items.view;
        sweep.solved = users.view;
        if (loss == Loss::ratings) {
            sweep.fixed_bias = others.data();
            sweep.solved_bias = bias.data();
        }
        sweep.ridge = ridge.data();
        sweep.cg_steps = 2;
        sweep.relaxation = 1.4;
        sweep.keep_basis = true;
        sweep.n_threads = threads;
        const RowSchedule plan(ratings, items.view, false, threads);
        check((plan.batches > 1) == (threads == 1), name + " bands: batches of one thread alone");
        Control control;
        const SweepResult result = run_half_sweep(sweep, BlasTable{}, control);
        answers.push_back(users.copy());
        answers.back().insert(answers.back().end(), bias.begin(), bias.end());
        sums.push_back(result.value);
        sums.push_back(result.ridge);
    }
    check(answers[0] == answers[1], name + " bands: bits of rows solved one by one");
    check(sums[0] == sums[2] && sums[1] == sums[3], name + " bands: values of rows solved one by one");
}

template <class T>
void test_sgd(const std::string& name, std::int64_t k, const Ratings<T>& r) {
    std::vector<T> first;
    for (const bool deterministic : {true, false})
        for (const int threads : {1, 3}) {
            Control control;
            const SgdPlan<T> plan(r.view(), padded(k), 5, threads, control);
            Table<T> users(r.m, k, 1), items(r.n, k, 2);
            const SgdRow<T> start{T(0), T(100), T(0.01), T(0)};
            std::vector<SgdRow<T>> user_rows(static_cast<std::size_t>(r.m), start);
            std::vector<SgdRow<T>> item_rows(static_cast<std::size_t>(r.n), start);
            SgdModel<T> model;
            model.users = users.view;
            model.items = items.view;
            model.user_rows = user_rows.data();
            model.item_rows = item_rows.data();
            model.mean = T(3);
            model.rate = T(0.2);  // stable for the longest rows
            double before = 0, loss = 0;
            for (std::uint64_t epoch = 0; epoch < 5; ++epoch) {
                loss = run_sgd_epoch(plan, model, epoch, deterministic, 1e30, threads, control).loss;
                if (epoch == 0) before = loss;
            }
            check(loss < before, name + " sgd lowers the loss");
            if (deterministic && threads == 1) first = users.copy();
            if (deterministic && threads == 3)
                check(first == users.copy(), name + " sgd: bits for 3 threads as for 1");
            const EpochResult cut = run_sgd_epoch(plan, model, 5, true, 1e-3, threads, control);
            check(!cut.completed && cut.loss > 1e-3, name + " sgd stops past the limit");
        }
}

template <class T>
void test_top_k(const std::string& name, std::int64_t k) {
    const Table<T> users(70, k, 1), items(500, k, 2);
    Scoring<T> query;
    query.queries = {70, k, padded(k), users.view.data};
    query.items = {500, k, padded(k), items.view.data};
    query.n_threads = 3;
    std::vector<std::int32_t> ids(70 * 10);
    std::vector<T> scores(70 * 10);
    Control control;
    run_top_k(query, ItemLists{}, 10, ids.data(), scores.data(), control);
    for (std::size_t u = 0; u < 70; ++u) {
        std::vector<double> all;
        for (std::int64_t i = 0; i < 500; ++i) {
            double s = 0;
            for (std::int64_t j = 0; j < k; ++j)
                s += static_cast<double>(users.view.row(static_cast<std::int64_t>(u))[j]) *
                     static_cast<double>(items.view.row(i)[j]);
            all.push_back(s);
        }
        std::sort(all.begin(), all.end(), [](double a, double b) { return a > b; });
        for (std::size_t j = 0; j < 10; ++j)
            check(std::abs(all[j] - static_cast<double>(scores[u * 10 + j])) < 1e-3,
                  name + " top k is the best k");
    }
}

template <class T>
void test_transpose(const std::string& name) {
    const Ratings<T> r(1000, 200);  // more than one thread's worth
    const auto nnz = r.indices.size();
    for (const int threads : {1, 3}) {
        std::vector<std::int64_t> indptr(201), back_indptr(1001);
        std::vector<std::int32_t> indices(nnz), back_indices(nnz);
        std::vector<T> values(nnz), back_values(nnz);
        Control control;
        transpose(r.view(), indptr.data(), indices.data(), values.data(), static_cast<T*>(nullptr),
                  threads, control);
        const CsrView<T> turned{200, 1000, indptr.data(), indices.data(), values.data(), nullptr};
        transpose(turned, back_indptr.data(), back_indices.data(), back_values.data(),
                  static_cast<T*>(nullptr), threads, control);
        check(back_indptr == r.indptr && back_indices == r.indices && back_values == r.values,
              name + " transposed twice is itself");
    }
}

void test_interrupt(const std::string& name) {
    const Ratings<float> r(3000, 200);
    Table<float> items(200, 64, 1), users(3000, 64, 2);
    const std::vector<float> ridge(3000, 0.5F);
    HalfSweep<float> sweep;
    sweep.ratings = r.view();
    sweep.fixed = items.view;
    sweep.solved = users.view;
    sweep.ridge = ridge.data();
    sweep.n_threads = 3;
    Control control;
    control.interrupted = [] { return true; };
    for (int i = 0; i < 1000 && !control.stop; ++i)
        run_half_sweep(sweep, BlasTable{}, control);
    check(control.stop && !run_half_sweep(sweep, BlasTable{}, control).completed,
          name + " an interrupt stops the sweep");
    int asked = 0;
    Control once;
    once.interrupted = [&asked] { return ++asked > 0; };
    for (int i = 0; i < 8; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
        once.stopped(0);
    }
    check(once.stop && asked == 1, name + " after an interrupt no other is asked for");
}

void test_aside() {
    Control control;
    int found = 0;
    check(run_aside(control, [&] { found = 7; }) && found == 7, "aside: a call that ends");
    bool thrown = false;
    try {
        run_aside(control, [] { throw std::runtime_error("told"); });
    } catch (const std::runtime_error&) {
        thrown = true;
    }
    check(thrown, "aside: what it throws is thrown here");
    const auto go_on = std::make_shared<std::atomic<bool>>(false);
    const auto ended = std::make_shared<std::atomic<bool>>(false);
    control.interrupted = [] { return true; };
    const bool whole = run_aside(control, [go_on, ended] {
        while (!*go_on) std::this_thread::yield();
        *ended = true;
    });
    check(!whole && !*ended, "aside: it is left to itself");
    *go_on = true;
    wait_for_calls_aside();
    check(ended->load(), "aside: it ends in its own time");
}

// Of as many values as vectors and parts of a thread begin and end at.
template <class T>
void test_passes(const std::string& name) {
    Stream stream(keyed(3, 4));
    for (const std::int64_t n : {1, 15, 16, 17, 63, 64, 65, 1000, 65'535, 65'536, 140'000}) {
        std::vector<T> values, weights;
        double sum = 0;
        for (std::int64_t i = 0; i < n; ++i) {
            values.push_back(static_cast<T>(stream.below(1000)) - T(500));
            weights.push_back(static_cast<T>(stream.below(4)));
            sum += static_cast<double>(values.back()) * static_cast<double>(weights.back());
        }
        const std::int64_t indptr[] = {0, 0, n / 3, n / 3, n, n};
        for (const int threads : {1, 3}) {
            Control control;
            const auto [least, most] = value_range(values.data(), n, threads, control);
            check(least == *std::min_element(values.begin(), values.end()) &&
                      most == *std::max_element(values.begin(), values.end()),
                  name + " range of " + std::to_string(n));
            double sums[5];
            row_sums(indptr, 5, values.data(), weights.data(), sums, threads, control);
            check(sums[0] == 0 && sums[2] == 0 && sums[4] == 0 && sums[1] + sums[3] == sum,
                  name + " sums of " + std::to_string(n));
            std::vector<std::int64_t> wide(static_cast<std::size_t>(n), 7);
            std::vector<std::int32_t> narrowed(wide.size());
            check(narrow(wide.data(), n, narrowed.data(), threads, control) &&
                      std::equal(wide.begin(), wide.end(), narrowed.begin()),
                  name + " indices of " + std::to_string(n));
            wide.back() = std::int64_t{1} << 32;
            check(!narrow(wide.data(), n, narrowed.data(), threads, control),
                  name + " an index too large for 32 bits, of " + std::to_string(n));
        }
    }
}

void test_strings() {
    std::string bytes;
    std::vector<std::int64_t> bounds{0};
    Stream stream(keyed(5, 6));
    for (int i = 0; i < 20'000; ++i) {
        bytes += std::string(stream.below(20), static_cast<char>('a' + stream.below(26)));
        bytes += std::to_string(stream.below(300));
        bounds.push_back(static_cast<std::int64_t>(bytes.size()));
    }
    const StringsView strings{20'000, bounds.data(), bytes.data()};
    std::vector<std::int32_t> numbers(20'000);
    Control control;
    const auto firsts = number_strings(strings, numbers.data(), control);
    std::map<std::string_view, std::int32_t> known;
    for (std::int64_t i = 0; i < strings.n; ++i) {
        const auto [at, fresh] = known.try_emplace(strings[i], static_cast<std::int32_t>(known.size()));
        check(numbers[static_cast<std::size_t>(i)] == at->second, "number of a string");
        if (fresh) check(firsts[static_cast<std::size_t>(at->second)] == i, "where a string first stands");
    }
    check(firsts.size() == known.size(), "distinct strings");
}

template <class T>
void test_all(const std::string& name) {
    for (const std::int64_t k : {1, 15, 16, 33, 130}) {
        test_half_sweep<T>(name, k);
        test_sgd<T>(name, k, Ratings<T>(300, 200));
        test_top_k<T>(name, k);
    }
    test_sgd<T>(name, 33, Ratings<T>(20'000, 30));  // users take turns
    test_transpose<T>(name);
    test_passes<T>(name);
    test_bands<T>(name);
}

}  // namespace

int main() {
    for (const Isa isa : {Isa::baseline, Isa::avx2, Isa::avx512}) {
        if (!isa_available(isa)) {
            std::printf("%s: not here\n", isa_name(isa));
            continue;
        }
        use_isa(isa);
        const int before = checks;
        test_all<float>(std::string(isa_name(isa)) + " float32");
        test_all<double>(std::string(isa_name(isa)) + " float64");
        test_interrupt(isa_name(isa));
        test_aside();
        std::printf("%s: %d checks\n", isa_name(isa), checks - before);
    }
    test_strings();
    std::printf("%d checks, %d failures\n", checks, failures);
    return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
