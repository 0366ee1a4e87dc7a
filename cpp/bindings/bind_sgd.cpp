#include "matfac/sgd.hpp"
#include "numpy_views.hpp"

namespace matfac::bindings {

namespace {

template <class T>
SgdPlan<T> make_plan(const Csr<T>& csr, std::int64_t k, std::uint64_t seed, int n_threads) {
    check_factors(k);
    checked_threads(n_threads);
    Interruptible call;
    return call.run([&](Control& control) {
        return SgdPlan<T>(csr.view, padded(k), seed, n_threads, control);
    });
}

template <class T>
double epoch(const SgdPlan<T>& plan, std::int64_t k, Array<T> users, Array<T> items,
             Array<T> user_rows, Array<T> item_rows, double mean, double rate, double bias_rate,
             bool bias, bool nonnegative, std::uint64_t number, bool deterministic, double limit,
             int n_threads) {
    SgdModel<T> model;
    model.users = mutable_table_of(users, k, "users");
    model.items = mutable_table_of(items, k, "items");
    check_rows(model.users.n_rows, plan.n_users(), "users");
    check_rows(model.items.n_rows, plan.n_items(), "items");
    model.user_rows = rows_of(user_rows, plan.n_users(), "user_rows");
    model.item_rows = rows_of(item_rows, plan.n_items(), "item_rows");
    model.mean = static_cast<T>(mean);
    model.rate = static_cast<T>(rate);
    model.bias_rate = static_cast<T>(bias_rate);
    model.bias = bias;
    model.nonnegative = nonnegative;
    checked_threads(n_threads);
    Interruptible call;
    const EpochResult result = call.run([&](Control& control) {
        return run_sgd_epoch(plan, model, number, deterministic, limit, n_threads, control);
    });
    return result.loss;
}

// users, items, values and weights (or None) in the order of one epoch.
template <class T>
py::tuple visit_arrays(const SgdPlan<T>& plan, std::uint64_t number) {
    const auto nnz = static_cast<py::ssize_t>(plan.nnz());
    py::array_t<std::int32_t> users(nnz), items(nnz);
    py::array_t<T> values(nnz);
    std::vector<std::int64_t> entries(static_cast<std::size_t>(nnz));
    visits(plan, number, users.mutable_data(), entries.data());
    const SgdBlock<T> all = plan.block(0, 0);
    std::optional<py::array_t<T>> weights;
    if (all.weight != nullptr) weights.emplace(nnz);
    for (py::ssize_t i = 0; i < nnz; ++i) {
        items.mutable_data()[i] = all.item[entries[i]];
        values.mutable_data()[i] = all.value[entries[i]];
        if (weights) weights->mutable_data()[i] = all.weight[entries[i]];
    }
    return py::make_tuple(users, items, values, weights);
}

template <class T>
void bind(py::module_& m, const char* name) {
    py::class_<SgdPlan<T>>(m, name, "Ratings sorted into blocks for SGD.")
        .def(py::init(&make_plan<T>), py::arg("csr"), py::arg("k"), py::arg("seed"),
             py::arg("n_threads"))
        .def_property_readonly("bands", &SgdPlan<T>::bands)
        .def_property_readonly("turns", &SgdPlan<T>::turns)
        .def_property_readonly("nnz", &SgdPlan<T>::nnz)
        .def("visits", &visit_arrays<T>, py::arg("number"),
             "users, items, values and weights (or None) in the order one thread visits them.")
        .def("epoch", &epoch<T>, py::kw_only(), py::arg("k"), py::arg("users").noconvert(),
             py::arg("items").noconvert(), py::arg("user_rows").noconvert(),
             py::arg("item_rows").noconvert(), py::arg("mean"), py::arg("rate"), py::arg("bias_rate"),
             py::arg("bias"), py::arg("nonnegative") = false, py::arg("number"),
             py::arg("deterministic"), py::arg("limit") = std::numeric_limits<double>::infinity(),
             py::arg("n_threads"),
             "One pass over the ratings; returns the sum of weight * error^2 met on the way. Past "
             "`limit`, or at NaN, the rest is left out.");
}

}  // namespace

void bind_sgd(py::module_& m) {
    bind<float>(m, "SgdPlanFloat32");
    bind<double>(m, "SgdPlanFloat64");
}

}  // namespace matfac::bindings
