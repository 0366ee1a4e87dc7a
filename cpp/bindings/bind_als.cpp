#include <string>
#include <vector>

#include "blas_table.hpp"
#include "matfac/als.hpp"
#include "matfac/evaluate.hpp"
#include "matfac/multiply.hpp"
#include "numpy_views.hpp"

namespace matfac::bindings {

namespace {

Loss loss_named(const std::string& name) {
    if (name == "ratings") return Loss::ratings;
    if (name == "ials") return Loss::ials;
    if (name == "hu") return Loss::hu;
    throw py::value_error("loss must be 'ratings', 'ials' or 'hu', not '" + name + "'");
}

template <class T>
py::tuple half_sweep(const Csr<T>& csr, const std::string& loss, double mean, double alpha,
                     std::int64_t k, Array<T> fixed, Array<T> solved,
                     const MaybeArray<T>& fixed_bias, MaybeArray<T> solved_bias,
                     MaybeArray<T> prior, const MaybeArray<T>& prior_bias, const Array<T>& ridge,
                     const MaybeArray<T>& fixed_weight, const MaybeArray<T>& lasso,
                     bool nonnegative, int cg_steps, double tolerance, double relaxation,
                     bool keep_basis, const SharedBasis<T>* basis, std::vector<Array<T>> along,
                     int n_threads) {
    HalfSweep<T> sweep;
    sweep.ratings = csr.view;
    sweep.loss = loss_named(loss);
    sweep.mean = mean;
    sweep.alpha = alpha;
    // With keep_basis the core works on a copy, so a read-only table will do.
    if (keep_basis) {
        const TableView<const T> view = table_of(fixed, k, "fixed");
        sweep.fixed = {view.n_rows, view.k, view.stride, const_cast<T*>(view.data)};
    } else {
        sweep.fixed = mutable_table_of(fixed, k, "fixed");
    }
    sweep.solved = mutable_table_of(solved, k, "solved");
    check_rows(sweep.fixed.n_rows, csr.view.n_cols, "fixed");
    check_rows(sweep.solved.n_rows, csr.view.n_rows, "solved");
    sweep.fixed_bias = vector_of(fixed_bias, csr.view.n_cols, "fixed_bias");
    sweep.solved_bias = mutable_vector_of(solved_bias, csr.view.n_rows, "solved_bias");
    if ((sweep.fixed_bias == nullptr) != (sweep.solved_bias == nullptr))
        refuse("fixed_bias", "and solved_bias must both be given or both be None");
    if (sweep.fixed_bias != nullptr && sweep.loss != Loss::ratings)
        refuse("fixed_bias", "goes with loss 'ratings' alone");
    if (prior) {
        sweep.prior = mutable_table_of(*prior, k, "prior");
        check_rows(sweep.prior.n_rows, csr.view.n_rows, "prior");
    }
    sweep.prior_bias = vector_of(prior_bias, csr.view.n_rows, "prior_bias");
    if (sweep.prior_bias != nullptr && sweep.solved_bias == nullptr)
        refuse("prior_bias", "goes with solved_bias alone");
    sweep.ridge = vector_of(ridge, csr.view.n_rows, "ridge");
    sweep.fixed_weight = vector_of(fixed_weight, csr.view.n_cols, "fixed_weight");
    sweep.lasso = vector_of(lasso, csr.view.n_rows, "lasso");
    sweep.nonnegative = nonnegative;
    if (cg_steps < 0) refuse("cg_steps", "must not be negative");
    sweep.cg_steps = cg_steps;
    sweep.tolerance = tolerance;
    if (!(relaxation > 0 && relaxation < 2)) refuse("relaxation", "must be within (0, 2)");
    sweep.relaxation = relaxation;
    sweep.keep_basis = keep_basis;
    if (basis != nullptr) {
        if (!keep_basis) refuse("basis", "goes with keep_basis alone");
        if (static_cast<std::int64_t>(basis->gram.size()) != k * k)
            refuse("basis", "must be of k = " + std::to_string(k) + " factors");
        sweep.basis = basis;
    }
    if (keep_basis && !along.empty()) refuse("along", "goes with no keep_basis");
    for (Array<T>& table : along) sweep.along.push_back(mutable_table_of(table, k, "along"));
    sweep.n_threads = checked_threads(n_threads);
    Interruptible call;
    const SweepResult result = call.run(
        [&](Control& control) { return run_half_sweep(sweep, blas_table(), control); });
    return py::make_tuple(result.value, result.ridge);
}

template <class T>
SharedBasis<T> basis_of(const Array<T>& table, std::int64_t k, int n_threads) {
    const TableView<const T> view = table_of(table, k, "table");
    checked_threads(n_threads);
    Interruptible call;
    return call.run([&](Control& control) {
        return shared_basis<T>(view, nullptr, false, blas_table(), n_threads, control);
    });
}

template <class T>
double loss_of(const Csr<T>& csr, const std::string& loss, double mean, double alpha,
               std::int64_t k, const Array<T>& users, const Array<T>& items,
               const MaybeArray<T>& user_bias, const MaybeArray<T>& item_bias, int n_threads) {
    Model<T> model{table_of(users, k, "users"), table_of(items, k, "items"),
                   vector_of(user_bias, csr.view.n_rows, "user_bias"),
                   vector_of(item_bias, csr.view.n_cols, "item_bias"), mean};
    check_rows(model.users.n_rows, csr.view.n_rows, "users");
    check_rows(model.items.n_rows, csr.view.n_cols, "items");
    const Loss kind = loss_named(loss);
    checked_threads(n_threads);
    Interruptible call;
    return call.run([&](Control& control) {
        return loss_value(model, csr.view, kind, alpha, n_threads, control);
    });
}

template <class T>
double ridge_of(const Array<T>& table, std::int64_t k, const MaybeArray<T>& bias,
                const Array<T>& ridge, int n_threads) {
    const auto view = table_of(table, k, "table");
    const T* biases = vector_of(bias, view.n_rows, "bias");
    const T* ridges = vector_of(ridge, view.n_rows, "ridge");
    checked_threads(n_threads);
    Interruptible call;
    return call.run([&](Control& control) {
        return ridge_value(view, biases, ridges, n_threads, control);
    });
}

template <class T>
void multiply_into(const Csr<T>& csr, std::int64_t k, const Array<T>& table, Array<T> out,
                   int n_threads) {
    const TableView<const T> from = table_of(table, k, "table");
    const TableView<T> to = mutable_table_of(out, k, "out");
    check_rows(from.n_rows, csr.view.n_cols, "table");
    check_rows(to.n_rows, csr.view.n_rows, "out");
    checked_threads(n_threads);
    Interruptible call;
    call.run([&](Control& control) {
        multiply(csr.view, from, to, n_threads, control);
        return 0;
    });
}

template <class T>
void bind(py::module_& m, const char* basis) {
    py::class_<SharedBasis<T>>(m, basis, "The eigenbasis of a factor table's Gram.");
    m.def("shared_basis", &basis_of<T>, py::arg("table").noconvert(), py::kw_only(), py::arg("k"),
          py::arg("n_threads"), "What all rows solved against a whole table share.");
    m.def("half_sweep", &half_sweep<T>, py::arg("csr"), py::kw_only(), py::arg("loss"),
          py::arg("mean") = 0.0, py::arg("alpha") = 0.0, py::arg("k"),
          py::arg("fixed").noconvert(), py::arg("solved").noconvert(),
          py::arg("fixed_bias").noconvert() = py::none(),
          py::arg("solved_bias").noconvert() = py::none(),
          py::arg("prior").noconvert() = py::none(),
          py::arg("prior_bias").noconvert() = py::none(), py::arg("ridge").noconvert(),
          py::arg("fixed_weight").noconvert() = py::none(),
          py::arg("lasso").noconvert() = py::none(), py::arg("nonnegative") = false,
          py::arg("cg_steps"), py::arg("tolerance") = 0.0, py::arg("relaxation") = 1.0,
          py::arg("keep_basis") = false,
          py::arg("basis").none(true) = static_cast<SharedBasis<T>*>(nullptr),
          py::arg("along").noconvert() = std::vector<Array<T>>{}, py::arg("n_threads"),
          "Solve every row of one side; returns the objective but for the fixed side's ridge, "
          "and the solved side's ridge and lasso part. `prior` and the tables `along` are left in the "
          "basis of the work.");
    m.def("loss_value", &loss_of<T>, py::arg("csr"), py::kw_only(), py::arg("loss"),
          py::arg("mean") = 0.0, py::arg("alpha") = 0.0, py::arg("k"),
          py::arg("users").noconvert(), py::arg("items").noconvert(),
          py::arg("user_bias").noconvert() = py::none(),
          py::arg("item_bias").noconvert() = py::none(), py::arg("n_threads"),
          "The loss over entries and cells, without the ridge.");
    m.def("multiply", &multiply_into<T>, py::arg("csr"), py::kw_only(), py::arg("k"),
          py::arg("table").noconvert(), py::arg("out").noconvert(), py::arg("n_threads"),
          "out = csr times a factor table; the weights of csr play no part.");
    m.def("ridge_value", &ridge_of<T>, py::arg("table").noconvert(), py::arg("k"),
          py::arg("bias").noconvert(), py::arg("ridge").noconvert(), py::arg("n_threads") = 1,
          "sum of ridge times the squared norm of each row and its bias.");
}

}  // namespace

void bind_als(py::module_& m) {
    bind<float>(m, "BasisFloat32");
    bind<double>(m, "BasisFloat64");
}

}  // namespace matfac::bindings
