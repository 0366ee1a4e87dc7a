// Predictions and objective values of given factors.
#pragma once
#include <cstdint>

#include "matfac/als.hpp"

namespace matfac {

template <class T>
struct Model {
    TableView<const T> users;
    TableView<const T> items;
    const T* user_bias = nullptr;  // both or neither
    const T* item_bias = nullptr;
    double mean = 0;
};

// out[j] = mean + biases + user row . item row. Indices must be in range.
template <class T>
void predict_pairs(const Model<T>& model, const std::int32_t* users, const std::int32_t* items,
                   std::int64_t n, double* out, int n_threads, Control& control);

// The loss over entries and cells, without the ridge, summed in double in a fixed order.
template <class T>
double loss_value(const Model<T>& model, const CsrView<T>& ratings, Loss loss, double alpha,
                  int n_threads, Control& control);

// sum_r ridge_r (|row_r|^2 + bias_r^2)
template <class T>
double ridge_value(TableView<const T> table, const T* bias, const T* ridge, int n_threads,
                   Control& control);

}  // namespace matfac
