#include <cmath>
#include <vector>

#include "matfac/pairwise.hpp"
#include "numpy_views.hpp"

namespace matfac::bindings {

namespace {

constexpr int kMostNegatives = 4096;

PairwiseLoss loss_of(const std::string& name) {
    if (name == "bpr") return PairwiseLoss::bpr;
    if (name == "warp") return PairwiseLoss::warp;
    if (name == "logistic") return PairwiseLoss::logistic;
    if (name == "softmax") return PairwiseLoss::softmax;
    refuse("loss", "must be 'bpr', 'warp', 'logistic' or 'softmax', not '" + name + "'");
}

// WARP's weight of a violation found at trial t: sum of 1/r up to the rank that t suggests,
// (n_items - 1) / t, over that sum up to n_items - 1. So 1 for the first trial.
template <class T>
std::vector<T> trial_weights(int trials, std::int64_t n_items) {
    const auto harmonic = [](std::int64_t n) {
        const auto x = static_cast<double>(n);
        if (n > 1000) return std::log(x) + 0.57721566490153286 + (0.5 - 1 / (12 * x)) / x;
        double sum = 0;
        for (std::int64_t r = n; r > 0; --r) sum += 1.0 / static_cast<double>(r);
        return sum;
    };
    const std::int64_t others = std::max<std::int64_t>(n_items - 1, 1);
    std::vector<T> weights(static_cast<std::size_t>(trials + 1), T(0));
    for (int t = 1; t <= trials; ++t)
        weights[t] = static_cast<T>(harmonic(std::max<std::int64_t>(others / t, 1)) / harmonic(others));
    return weights;
}

int checked_negatives(int negatives) {
    if (negatives < 1 || negatives > kMostNegatives)
        refuse("negatives", "must lie in 1.." + std::to_string(kMostNegatives));
    return negatives;
}

// The arguments that an epoch and a fold-in share.
template <class T>
PairwiseModel<T> model_of(std::int64_t k, Array<T>& users, TableView<T> items,
                          Array<T>& user_rows, Array<T>& item_rows, double mean, const std::string& loss, int negatives,
                          bool bias, const std::vector<T>& weights) {
    PairwiseModel<T> model;
    model.sgd.users = mutable_table_of(users, k, "users");
    model.sgd.items = items;
    model.sgd.user_rows = rows_of(user_rows, model.sgd.users.n_rows, "user_rows");
    model.sgd.item_rows = rows_of(item_rows, model.sgd.items.n_rows, "item_rows");
    model.sgd.mean = static_cast<T>(mean);
    model.sgd.bias = bias;
    model.loss = loss_of(loss);
    model.negatives = negatives;
    model.trial_weight = weights.data();
    return model;
}

// A plan and the matrix that it looks positives up in.
template <class T>
class OwningPlan {
public:
    OwningPlan(const Csr<T>& csr, std::int64_t k, std::uint64_t seed, bool by_popularity,
               int n_threads)
        : indptr_(csr.indptr), indices_(csr.indices), plan_(make(csr, k, seed, by_popularity, n_threads)) {}

    py::tuple epoch(std::int64_t k, Array<T> users, Array<T> items, Array<T> user_rows,
                    Array<T> item_rows, double mean, const std::string& loss, int negatives,
                    double rate, bool bias, std::uint64_t number, bool deterministic,
                    int n_threads) const {
        const auto weights = trial_weights<T>(checked_negatives(negatives), plan_.positives().n_cols);
        auto model = model_of(k, users, mutable_table_of(items, k, "items"), user_rows, item_rows,
                              mean, loss, negatives, bias, weights);
        check_rows(model.sgd.users.n_rows, plan_.positives().n_rows, "users");
        check_rows(model.sgd.items.n_rows, plan_.positives().n_cols, "items");
        model.sgd.rate = static_cast<T>(rate);
        checked_threads(n_threads);
        Interruptible call;
        const PairwiseResult result = call.run([&](Control& control) {
            return run_pairwise_epoch(plan_, model, number, deterministic, n_threads, control);
        });
        return py::make_tuple(result.loss, result.n_samples);
    }

    py::tuple samples(std::uint64_t number, int negatives) const {
        const auto nnz = static_cast<py::ssize_t>(plan_.positives().nnz());
        checked_negatives(negatives);
        py::array_t<std::int32_t> users(nnz), items(nnz);
        py::array_t<std::int32_t> drawn({nnz, static_cast<py::ssize_t>(negatives)});
        Control control;
        pairwise_samples(plan_, number, negatives, control, users.mutable_data(), items.mutable_data(),
                         drawn.mutable_data());
        return py::make_tuple(users, items, drawn);
    }

private:
    static PairwisePlan<T> make(const Csr<T>& csr, std::int64_t k, std::uint64_t seed,
                                bool by_popularity, int n_threads) {
        check_factors(k);
        checked_threads(n_threads);
        if (csr.view.nnz() > std::numeric_limits<std::uint32_t>::max())
            refuse("csr", "must have fewer than 2^32 entries");
        Interruptible call;
        return call.run([&](Control& control) {
            return PairwisePlan<T>(csr.view, padded(k), seed, by_popularity, n_threads, control);
        });
    }

    Array<std::int64_t> indptr_;
    Array<std::int32_t> indices_;
    PairwisePlan<T> plan_;
};

template <class T>
void fold_in(const Csr<T>& csr, std::int64_t k, Array<T> users, Array<T> items, Array<T> user_rows,
             Array<T> item_rows, double mean, const std::string& loss, int negatives,
             const std::vector<double>& rates, bool bias, Array<std::int32_t> pool, int n_threads) {
    const auto weights = trial_weights<T>(checked_negatives(negatives), csr.view.n_cols);
    // Read alone, so a read-only table will do.
    const TableView<const T> fixed = table_of(items, k, "items");
    const TableView<T> view{fixed.n_rows, fixed.k, fixed.stride, const_cast<T*>(fixed.data)};
    const auto model = model_of(k, users, view, user_rows, item_rows, mean, loss, negatives, bias, weights);
    check_rows(model.sgd.users.n_rows, csr.view.n_rows, "users");
    check_rows(model.sgd.items.n_rows, csr.view.n_cols, "items");
    const std::int64_t size = pool.size();
    if (pool.ndim() != 1 || size < 1 || size > std::numeric_limits<std::uint32_t>::max())
        refuse("pool", "must be a vector of 1 to 2^32 - 1 items");
    for (std::int64_t j = 0; j < size; ++j)
        if (pool.data()[j] < 0 || pool.data()[j] >= csr.view.n_cols) refuse("pool", "holds no item");
    checked_threads(n_threads);
    Interruptible call;
    call.run([&](Control& control) {
        fold_in_pairwise(csr.view, pool.data(), static_cast<std::uint32_t>(size), model, rates,
                         n_threads, control);
        return true;
    });
}

template <class T>
void bind(py::module_& m, const char* name) {
    using Plan = OwningPlan<T>;
    py::class_<Plan>(m, name, "Positives sorted into blocks for SGD against sampled negatives.")
        .def(py::init<const Csr<T>&, std::int64_t, std::uint64_t, bool, int>(), py::arg("csr"),
             py::arg("k"), py::arg("seed"), py::arg("by_popularity"), py::arg("n_threads"))
        .def("samples", &Plan::samples, py::arg("number"), py::arg("negatives"),
             "users, items and nnz x negatives drawn items (-1: none found), in the order one "
             "thread visits them.")
        .def("epoch", &Plan::epoch, py::kw_only(), py::arg("k"), py::arg("users").noconvert(),
             py::arg("items").noconvert(), py::arg("user_rows").noconvert(),
             py::arg("item_rows").noconvert(), py::arg("mean"), py::arg("loss"),
             py::arg("negatives"), py::arg("rate"), py::arg("bias"), py::arg("number"),
             py::arg("deterministic"), py::arg("n_threads"),
             "One pass over the positives; returns the sum of the losses met on the way, and how "
             "many positives had a negative.");
    m.def("pairwise_fold_in", &fold_in<T>, py::arg("csr"), py::kw_only(), py::arg("k"),
          py::arg("users").noconvert(), py::arg("items").noconvert(),
          py::arg("user_rows").noconvert(), py::arg("item_rows").noconvert(), py::arg("mean"),
          py::arg("loss"), py::arg("negatives"), py::arg("rates"), py::arg("bias"),
          py::arg("pool").noconvert(), py::arg("n_threads"),
          "Fit users and user_rows to the rows of csr, one pass per rate, with the items fixed.");
}

}  // namespace

void bind_pairwise(py::module_& m) {
    bind<float>(m, "PairwisePlanFloat32");
    bind<double>(m, "PairwisePlanFloat64");
}

}  // namespace matfac::bindings
