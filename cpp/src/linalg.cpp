#include "matfac/linalg.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <stdexcept>
#include <vector>

#include "matfac/aside.hpp"

namespace matfac {

namespace {

constexpr std::int64_t kLong = 384;  // from here on it may take a twentieth of a second

// LAPACK's columns are our rows: the matrix is symmetric and column-major is its transpose.
void by_lapack(const BlasTable& blas, int n, double* matrix, double* values) {
    char vectors = 'V', upper = 'U';
    int query = -1, info = 0, iwork_size = 0;
    double work_size = 0;
    blas.dsyevd(&vectors, &upper, &n, matrix, &n, values, &work_size, &query, &iwork_size, &query,
                &info);
    if (!(work_size <= std::numeric_limits<int>::max()))
        throw std::length_error("n_factors must be at most 32,000, LAPACK's sizes have 32 bits");
    int lwork = static_cast<int>(work_size), liwork = iwork_size;
    std::vector<double> work(static_cast<std::size_t>(lwork));
    std::vector<int> iwork(static_cast<std::size_t>(liwork));
    blas.dsyevd(&vectors, &upper, &n, matrix, &n, values, work.data(), &lwork, iwork.data(),
                &liwork, &info);
    if (info != 0)
        throw std::domain_error(
            "the eigenvalues of a factor Gram did not converge: raise reg or scale the ratings");
}

// One Jacobi rotation that annihilates a[p][q] of the symmetric a; rows of v follow.
void rotate(std::int64_t n, double* a, double* v, std::int64_t p, std::int64_t q) {
    const double apq = a[p * n + q];
    if (apq == 0) return;
    const double theta = (a[q * n + q] - a[p * n + p]) / (2 * apq);
    const double t = (theta >= 0 ? 1 : -1) / (std::abs(theta) + std::sqrt(theta * theta + 1));
    const double c = 1 / std::sqrt(t * t + 1), s = t * c;
    for (std::int64_t i = 0; i < n; ++i) {
        const double ip = a[i * n + p], iq = a[i * n + q];
        a[i * n + p] = c * ip - s * iq;
        a[i * n + q] = s * ip + c * iq;
    }
    for (std::int64_t i = 0; i < n; ++i) {
        const double pi = a[p * n + i], qi = a[q * n + i];
        a[p * n + i] = c * pi - s * qi;
        a[q * n + i] = s * pi + c * qi;
        const double vp = v[p * n + i], vq = v[q * n + i];
        v[p * n + i] = c * vp - s * vq;
        v[q * n + i] = s * vp + c * vq;
    }
}

void by_jacobi(std::int64_t n, double* a, double* values) {
    std::vector<double> v(static_cast<std::size_t>(n * n), 0.0);
    double norm = 0;
    for (std::int64_t i = 0; i < n * n; ++i) norm += a[i] * a[i];
    for (std::int64_t i = 0; i < n; ++i) v[i * n + i] = 1;
    for (int sweep = 0; sweep < 60; ++sweep) {
        double off = 0;
        for (std::int64_t p = 0; p < n; ++p)
            for (std::int64_t q = p + 1; q < n; ++q) off += a[p * n + q] * a[p * n + q];
        if (off <= 1e-30 * norm) break;
        for (std::int64_t p = 0; p < n; ++p)
            for (std::int64_t q = p + 1; q < n; ++q) rotate(n, a, v.data(), p, q);
    }
    std::vector<std::int64_t> order(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) order[i] = i;
    std::sort(order.begin(), order.end(),
              [&](std::int64_t i, std::int64_t j) { return a[i * n + i] < a[j * n + j]; });
    for (std::int64_t i = 0; i < n; ++i) values[i] = a[order[i] * n + order[i]];
    for (std::int64_t i = 0; i < n; ++i)
        std::copy_n(v.data() + order[i] * n, n, a + i * n);
}

// On a copy, which the decomposition owns.
void by_lapack_aside(const BlasTable& blas, int n, double* matrix, double* values,
                     Control& control) {
    const std::int64_t size = std::int64_t{n} * n;
    const auto owned = std::make_shared<std::vector<double>>(static_cast<std::size_t>(size + n));
    std::copy_n(matrix, size, owned->data());
    const bool done = run_aside(control, [blas, n, size, owned] {
        by_lapack(blas, n, owned->data(), owned->data() + size);
    });
    if (!done) return;
    std::copy_n(owned->data(), size, matrix);
    std::copy_n(owned->data() + size, n, values);
}

}  // namespace

void symmetric_eigen(const BlasTable& blas, std::int64_t n, double* matrix, double* values,
                     Control& control) {
    if (blas.dsyevd != nullptr && n >= kLong && control.interrupted)
        by_lapack_aside(blas, static_cast<int>(n), matrix, values, control);
    else if (blas.dsyevd != nullptr)
        by_lapack(blas, static_cast<int>(n), matrix, values);
    else
        by_jacobi(n, matrix, values);
}

}  // namespace matfac
