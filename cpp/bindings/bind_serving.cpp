#include "matfac/evaluate.hpp"
#include "matfac/topk.hpp"
#include "scoring.hpp"

namespace matfac::bindings {

namespace {

template <class T>
py::array_t<double> predict(std::int64_t k, const Array<T>& users, const Array<T>& items,
                            const MaybeArray<T>& user_bias, const MaybeArray<T>& item_bias,
                            double mean, const Array<std::int32_t>& user_index,
                            const Array<std::int32_t>& item_index, int n_threads) {
    Model<T> model{table_of(users, k, "users"), table_of(items, k, "items"),
                   vector_of(user_bias, users.shape(0), "user_bias"),
                   vector_of(item_bias, items.shape(0), "item_bias"), mean};
    if ((model.user_bias == nullptr) != (model.item_bias == nullptr))
        refuse("user_bias", "and item_bias must both be given or both be None");
    const std::int64_t n = user_index.size();
    vector_of(user_index, n, "user_index");
    vector_of(item_index, n, "item_index");
    check_indices(user_index, model.users.n_rows, "user_index");
    check_indices(item_index, model.items.n_rows, "item_index");
    checked_threads(n_threads);
    py::array_t<double> out(static_cast<py::ssize_t>(n));
    double* to = out.mutable_data();
    Interruptible call;
    call.run([&](Control& control) {
        predict_pairs(model, user_index.data(), item_index.data(), n, to, n_threads, control);
        return 0;
    });
    return out;
}

template <class T>
py::tuple top_k(std::int64_t k, const Array<T>& queries, const Array<T>& items,
                const MaybeArray<T>& item_bias, const MaybeArray<std::int32_t>& candidates,
                const std::optional<ListArrays>& include, const std::vector<ListArrays>& exclude,
                std::int64_t n_best, int n_threads) {
    Scoring<T> query = scoring_of(k, queries, items, item_bias, exclude, n_threads);
    const std::int64_t n_items = query.items.n_rows;
    if (candidates) {
        query.n_candidates = candidates->size();
        query.candidates = vector_of(*candidates, query.n_candidates, "candidates");
        check_indices(*candidates, n_items, "candidates");
        for (std::int64_t i = 1; i < query.n_candidates; ++i)
            if (query.candidates[i] <= query.candidates[i - 1]) refuse("candidates", "must rise");
    }
    ItemLists only;
    if (include) only = lists_of(*include, query.queries.n_rows, n_items, "include");
    if (n_best < 1) refuse("n_best", "must be at least 1");
    py::array_t<std::int32_t> ids({query.queries.n_rows, n_best});
    py::array_t<T> scores({query.queries.n_rows, n_best});
    std::int32_t* to_ids = ids.mutable_data();
    T* to_scores = scores.mutable_data();
    Interruptible call;
    call.run([&](Control& control) {
        run_top_k(query, only, n_best, to_ids, to_scores, control);
        return 0;
    });
    return py::make_tuple(ids, scores);
}

template <class T>
void bind(py::module_& m) {
    m.def("predict", &predict<T>, py::kw_only(), py::arg("k"), py::arg("users").noconvert(),
          py::arg("items").noconvert(), py::arg("user_bias").noconvert() = py::none(),
          py::arg("item_bias").noconvert() = py::none(), py::arg("mean") = 0.0,
          py::arg("user_index").noconvert(), py::arg("item_index").noconvert(),
          py::arg("n_threads"), "Scores of (user, item) pairs, in float64.");
    m.def("top_k", &top_k<T>, py::kw_only(), py::arg("k"), py::arg("queries").noconvert(),
          py::arg("items").noconvert(), py::arg("item_bias").noconvert() = py::none(),
          py::arg("candidates").noconvert() = py::none(),
          py::arg("include").noconvert() = py::none(),
          py::arg("exclude").noconvert() = std::vector<ListArrays>(), py::arg("n_best"),
          py::arg("n_threads"),
          "Indices and scores of the n_best items per query row, padded with -1 and -inf. Only "
          "candidates are listed, only a row's own items of include, and none of its exclude lists. "
          "Lists are pairs of indptr and sorted indices.");
}

}  // namespace

void bind_serving(py::module_& m) {
    bind<float>(m);
    bind<double>(m);
}

}  // namespace matfac::bindings
