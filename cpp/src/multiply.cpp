#include "matfac/multiply.hpp"

#include <algorithm>
#include <vector>

#include "matfac/kernels.hpp"

namespace matfac {

namespace {

constexpr std::int64_t kPart = 1024;  // entries summed in T before they go to a sum in double

template <class T>
void multiply_row(const CsrView<T>& matrix, std::int64_t row, TableView<const T> table, T* out,
                  std::vector<double>& sum) {
    const auto& kernel = kernels<T>();
    const std::int64_t begin = matrix.indptr[row], end = matrix.indptr[row + 1];
    std::fill_n(out, table.stride, T(0));
    if (end - begin > kPart) sum.assign(static_cast<std::size_t>(table.stride), 0.0);
    for (std::int64_t b = begin; b < end; b += kPart) {
        kernel.row_combine(table, matrix.indices + b, matrix.values + b, std::min(kPart, end - b),
                           out);
        if (end - begin <= kPart) return;
        for (std::int64_t j = 0; j < table.stride; ++j) {
            sum[j] += static_cast<double>(out[j]);
            out[j] = b + kPart < end ? T(0) : static_cast<T>(sum[j]);
        }
    }
}

}  // namespace

template <class T>
void multiply(const CsrView<T>& matrix, TableView<const T> table, TableView<T> out, int n_threads,
              Control& control) {
    // Small chunks: the rows of a transposed feature matrix differ in length without bound.
    const std::int64_t rows = std::clamp<std::int64_t>(matrix.n_rows / 64, 1, 256);
    for_chunks(n_threads, (matrix.n_rows + rows - 1) / rows, control,
               [&](std::int64_t chunk, int) {
                   std::vector<double> sum;
                   const std::int64_t last = std::min(matrix.n_rows, (chunk + 1) * rows);
                   for (std::int64_t row = chunk * rows; row < last; ++row)
                       multiply_row(matrix, row, table, out.row(row), sum);
               });
}

template void multiply<float>(const CsrView<float>&, TableView<const float>, TableView<float>, int,
                              Control&);
template void multiply<double>(const CsrView<double>&, TableView<const double>, TableView<double>,
                               int, Control&);

}  // namespace matfac
