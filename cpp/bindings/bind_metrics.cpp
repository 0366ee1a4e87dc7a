#include "matfac/metrics.hpp"
#include "scoring.hpp"

namespace matfac::bindings {

namespace {

Relevant relevant_of(const Array<std::int64_t>& indptr, const Array<std::int32_t>& indices,
                     std::int64_t n_rows) {
    Relevant relevant;
    relevant.indptr = indptr_of(indptr, n_rows, "relevant_indptr");
    relevant.indices = vector_of(indices, relevant.indptr[n_rows], "relevant_indices");
    return relevant;
}

py::array_t<double> per_list(const Array<std::int32_t>& lists,
                             const Array<std::int64_t>& relevant_indptr,
                             const Array<std::int32_t>& relevant_indices, std::int64_t k,
                             int n_threads) {
    if (lists.ndim() != 2) refuse("lists", "must have two dimensions");
    check_aligned(lists, "lists");
    const Lists view{lists.shape(0), lists.shape(1), lists.data()};
    const Relevant relevant = relevant_of(relevant_indptr, relevant_indices, view.n_rows);
    if (k < 1) refuse("k", "must be at least 1");
    checked_threads(n_threads);
    py::array_t<double> out({view.n_rows, static_cast<std::int64_t>(n_list_metrics)});
    double* to = out.mutable_data();
    Interruptible call;
    call.run([&](Control& control) {
        list_metrics(view, relevant, k, to, n_threads, control);
        return 0;
    });
    return out;
}

template <class T>
py::array_t<double> auc(std::int64_t k, const Array<T>& queries, const Array<T>& items,
                        const MaybeArray<T>& item_bias, const std::vector<ListArrays>& exclude,
                        const Array<std::int64_t>& relevant_indptr,
                        const Array<std::int32_t>& relevant_indices, int n_threads) {
    const Scoring<T> query = scoring_of(k, queries, items, item_bias, exclude, n_threads);
    const Relevant relevant = relevant_of(relevant_indptr, relevant_indices, query.queries.n_rows);
    check_indices(relevant_indices, query.items.n_rows, "relevant_indices");
    py::array_t<double> out(static_cast<py::ssize_t>(query.queries.n_rows));
    double* to = out.mutable_data();
    Interruptible call;
    call.run([&](Control& control) {
        run_auc(query, relevant, to, control);
        return 0;
    });
    return out;
}

template <class T>
void bind(py::module_& m) {
    m.def("auc", &auc<T>, py::kw_only(), py::arg("k"), py::arg("queries").noconvert(),
          py::arg("items").noconvert(), py::arg("item_bias").noconvert() = py::none(),
          py::arg("exclude").noconvert() = std::vector<ListArrays>(),
          py::arg("relevant_indptr").noconvert(), py::arg("relevant_indices").noconvert(),
          py::arg("n_threads"),
          "Per query row, the area under the ROC curve of its relevant items among those that are "
          "not excluded; both sorted within their row.");
}

}  // namespace

void bind_metrics(py::module_& m) {
    m.attr("LIST_METRICS") = py::make_tuple("hit_rate", "precision", "recall", "recall_capped",
                                            "ndcg", "map", "mrr");
    m.def("list_metrics", &per_list, py::kw_only(), py::arg("lists").noconvert(),
          py::arg("relevant_indptr").noconvert(), py::arg("relevant_indices").noconvert(),
          py::arg("k"), py::arg("n_threads"),
          "The LIST_METRICS at cut-off k, one row per list. Relevant items are sorted within their "
          "row.");
    bind<float>(m);
    bind<double>(m);
}

}  // namespace matfac::bindings
