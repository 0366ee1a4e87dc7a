// A row's entries as the terms of its ridge problem, and the sums that go with them.
#pragma once
#include <cstdint>

#include "matfac/als.hpp"
#include "matfac/kernels.hpp"

namespace matfac {

constexpr int kParts = 8;  // sums side by side: one addition need not wait for another

// sum of a_j b_j (b null: of a_j) for a multiple of kLanes, in double and in a fixed order.
template <class T>
double dot(const T* a, const T* b, std::int64_t size) {
    double part[kParts] = {}, sum = 0;
    for (std::int64_t j = 0; j < size; j += kParts)
        for (int i = 0; i < kParts; ++i)
            part[i] += static_cast<double>(a[j + i]) *
                       (b != nullptr ? static_cast<double>(b[j + i]) : 1.0);
    for (const double p : part) sum += p;
    return sum;
}

// |a - b|^2, as `dot` sums.
template <class T>
double distance(const T* a, const T* b, std::int64_t size) {
    double part[kParts] = {}, sum = 0;
    for (std::int64_t j = 0; j < size; j += kParts)
        for (int i = 0; i < kParts; ++i) {
            const double z = static_cast<double>(a[j + i]) - static_cast<double>(b[j + i]);
            part[i] += z * z;
        }
    for (const double p : part) sum += p;
    return sum;
}

// From values in g and weights in c, which go on with zeros up to a multiple of kLanes.
template <class T>
double ratings_terms(const HalfSweep<T>& s, const RowProblem<T>& p, bool weighted, const T* c,
                     T* g) {
    const T mean = static_cast<T>(s.mean);
    for (std::int64_t j = 0; j < p.n; ++j)
        g[j] -= mean + (p.bias ? s.fixed_bias[p.index[j]] : T(0));
    if (!weighted) return dot(g, g, padded(p.n));
    double part[kParts] = {}, constant = 0;
    for (std::int64_t j = 0; j < padded(p.n); j += kParts)
        for (int i = 0; i < kParts; ++i) {
            const T t = g[j + i];
            g[j + i] *= c[j + i];
            part[i] += static_cast<double>(g[j + i]) * static_cast<double>(t);
        }
    for (const double sum : part) constant += sum;
    return constant;
}

// From the same, over `size` elements with those zeros.
template <class T>
double implicit_terms(const HalfSweep<T>& s, std::int64_t size, T* c, T* g) {
    const bool hu = s.loss == Loss::hu;
    const T alpha = hu ? static_cast<T>(s.alpha) : T(1);
    for (std::int64_t j = 0; j < size; ++j) {
        const T w = c[j];
        c[j] = w * (alpha * g[j]);
        g[j] = c[j] + (hu ? w : T(0));
    }
    return dot<T>(g, nullptr, size);
}

// Entries [begin, end) of a row as curvatures c and linear terms g, with room for a multiple of
// kLanes; returns the constant that completes the square, and adds the curvatures to `curvature`.
template <class T>
double fill_terms(const HalfSweep<T>& s, RowProblem<T>& p, std::int64_t begin, std::int64_t end,
                  T* c, T* g, double& curvature) {
    const std::int64_t n = end - begin;
    p.index = s.ratings.indices + begin;
    p.n = n;
    p.c = c;
    p.g = g;
    const T* values = s.ratings.values != nullptr ? s.ratings.values + begin : nullptr;
    const T* weights = s.ratings.weights != nullptr ? s.ratings.weights + begin : nullptr;
    for (std::int64_t j = 0; j < n; ++j) {
        g[j] = values != nullptr ? values[j] : T(1);
        c[j] = weights != nullptr ? weights[j] : T(1);
    }
    for (std::int64_t j = n; j < padded(n); ++j) c[j] = g[j] = T(0);
    if (s.loss != Loss::ratings) return implicit_terms(s, padded(n), c, g);
    curvature += weights != nullptr ? dot<T>(c, nullptr, padded(n)) : static_cast<double>(n);
    return ratings_terms(s, p, weights != nullptr, c, g);
}

}  // namespace matfac
