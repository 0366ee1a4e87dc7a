#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>
#include <vector>

#include "matfac/als.hpp"
#include "matfac/kernels.hpp"
#include "matfac/linalg.hpp"

namespace matfac {

namespace {

constexpr std::int64_t kWork = 1 << 28;  // multiplications between looks at the clock
constexpr std::int64_t kAddition = 8;  // of an element of pieces far apart, in multiplications
constexpr double kNearly = 0.5;
constexpr std::int64_t kSampled = 512;  // rows a factor, where nearly is enough

// Rows are cut into a fixed number of pieces, whatever the thread count, and the pieces' Grams
// are added in order: the same bits for any number of threads.
std::int64_t gram_pieces(std::int64_t n_rows, std::int64_t stride, std::size_t element) {
    const auto budget = static_cast<std::int64_t>((std::size_t{64} << 20) / element);
    const std::int64_t most = std::clamp<std::int64_t>(budget / (stride * stride), 4, 32);
    return std::clamp<std::int64_t>(n_rows / 256, 1, most);
}

// Whether the matrix, scaled to a diagonal of ones, is off the identity by at most kNearly in every
// row's sum: by a diagonal's inverse it then comes to a condition number of
// (1 + kNearly) / (1 - kNearly) or less.
bool nearly_diagonal(std::int64_t k, const std::vector<double>& gram) {
    for (std::int64_t i = 0; i < k; ++i) {
        if (!(gram[i * k + i] > 0)) return false;
        double off = 0;
        for (std::int64_t j = 0; j < k; ++j)
            if (j != i) off += std::abs(gram[i * k + j]) / std::sqrt(gram[j * k + j]);
        if (!(off <= kNearly * std::sqrt(gram[i * k + i]))) return false;
    }
    return true;
}

}  // namespace

template <class T>
std::vector<double> table_gram(TableView<const T> table, const T* weight, int n_threads,
                               Control& control, std::int64_t step) {
    const auto& kernel = kernels<T>();
    const std::int64_t k = table.k, stride = table.stride, rows = (table.n_rows + step - 1) / step;
    const std::int64_t pieces = gram_pieces(rows, stride, sizeof(T));
    Buffer<T> partial(static_cast<std::size_t>(pieces * stride * stride));
    const std::int64_t tile = kTile * kTileRow(stride);
    // Rows between looks for Ctrl-C: whole tiles, so that the sums are the same.
    const std::int64_t block = kTile * std::max<std::int64_t>(1, kWork / (kTile * stride * stride));
    Buffer<T> scratch(static_cast<std::size_t>(std::max(1, n_threads) * tile));
    const auto add_rows = [&](std::int64_t piece, int thread) {
        const std::int64_t end = rows * (piece + 1) / pieces;
        for (std::int64_t r = rows * piece / pieces; r < end; r += block) {
            if (control.stopped(thread)) return;
            kernel.table_gram(table, weight, step, r, std::min(end, r + block),
                              partial.data() + piece * stride * stride,
                              scratch.data() + thread * tile);
        }
    };
    for_chunks(worth_threads(n_threads, rows * stride * stride), pieces, control, add_rows);
    std::vector<double> gram(static_cast<std::size_t>(k * k), 0.0);
    const auto add_pieces = [&](std::int64_t chunk, int) {
        for (std::int64_t i = chunk * kLanes; i < std::min(k, (chunk + 1) * kLanes); ++i)
            for (std::int64_t piece = 0; piece < pieces; ++piece)
                for (std::int64_t j = i; j < k; ++j)
                    gram[i * k + j] += partial[piece * stride * stride + i * stride + j];
    };
    for_chunks(worth_threads(n_threads, kAddition * pieces * k * k), (k + kLanes - 1) / kLanes,
               control, add_pieces);
    for (std::int64_t i = 0; i < k; ++i)
        for (std::int64_t j = 0; j < i; ++j) gram[i * k + j] = gram[j * k + i];
    return gram;
}

template <class T>
SharedBasis<T> shared_basis(TableView<const T> table, const T* weight, bool loosely,
                            const BlasTable& blas, int n_threads, Control& control) {
    const std::int64_t k = table.k, stride = table.stride;
    // Of every so many rows the mean is off that of all by about 1 / sqrt(kSampled).
    const std::int64_t step =
        loosely ? std::max<std::int64_t>(1, table.n_rows / (kSampled * stride)) : 1;
    std::vector<double> gram = table_gram(table, weight, n_threads, control, step);
    if (control.stop) return {};
    double total = loosely ? static_cast<double>((table.n_rows + step - 1) / step) : 1;
    if (weight != nullptr) {
        total = 0;
        for (std::int64_t r = 0; r < table.n_rows; r += step) total += static_cast<double>(weight[r]);
        if (!(total > 0)) total = 1;
    }
    for (double& g : gram)
        if (!std::isfinite(g)) throw std::overflow_error("a factor table holds NaN or infinity");
    std::vector<double> values(static_cast<std::size_t>(k)), sum = gram;
    if (loosely && nearly_diagonal(k, gram)) {
        SharedBasis<T> as_is{Buffer<T>(static_cast<std::size_t>(stride)), {}, std::move(sum), table.n_rows};
        for (std::int64_t j = 0; j < k; ++j)
            as_is.eigenvalues[j] = static_cast<T>(gram[j * k + j] / total);
        return as_is;
    }
    symmetric_eigen(blas, k, gram.data(), values.data(), control);  // eigenvectors as rows of gram
    if (control.stop) return {};

    SharedBasis<T> basis{Buffer<T>(static_cast<std::size_t>(stride)),
                         Buffer<T>(static_cast<std::size_t>(stride * stride)), std::move(sum),
                         table.n_rows};
    // A Gram has no negative eigenvalues but by rounding.
    for (std::int64_t j = 0; j < stride; ++j)
        basis.eigenvalues[j] = static_cast<T>(j < k ? std::max(values[j], 0.0) / total : 0.0);
    for (std::int64_t i = 0; i < k; ++i)
        for (std::int64_t j = 0; j < k; ++j)
            basis.vectors[i * stride + j] = static_cast<T>(gram[j * k + i]);
    return basis;
}

template <class T>
SharedBasis<T> transposed(const SharedBasis<T>& basis) {
    const std::size_t stride = basis.eigenvalues.size();
    if (basis.vectors.size() == 0) return {Buffer<T>(stride), {}, basis.gram, basis.n_rows};
    SharedBasis<T> back{Buffer<T>(stride), Buffer<T>(stride * stride), basis.gram, basis.n_rows};
    for (std::size_t i = 0; i < stride; ++i)
        for (std::size_t j = 0; j < stride; ++j)
            back.vectors[j * stride + i] = basis.vectors[i * stride + j];
    return back;
}

template <class T>
void rotate_table(TableView<T> table, const SharedBasis<T>& basis, int n_threads,
                  Control& control) {
    if (basis.vectors.size() == 0) return;
    const auto& kernel = kernels<T>();
    constexpr std::int64_t kRowsPerChunk = 256;
    const std::int64_t chunks = (table.n_rows + kRowsPerChunk - 1) / kRowsPerChunk;
    Buffer<T> scratch(static_cast<std::size_t>(std::max(1, n_threads) * kTile * table.stride));
    n_threads = worth_threads(n_threads, table.n_rows * table.stride * table.stride);
    for_chunks(n_threads, chunks, control, [&](std::int64_t chunk, int thread) {
        kernel.rotate(table, basis.vectors.data(), chunk * kRowsPerChunk,
                      std::min(table.n_rows, (chunk + 1) * kRowsPerChunk),
                      scratch.data() + thread * kTile * table.stride);
    });
}

template std::vector<double> table_gram<float>(TableView<const float>, const float*, int,
                                               Control&, std::int64_t);
template std::vector<double> table_gram<double>(TableView<const double>, const double*, int,
                                                Control&, std::int64_t);
template SharedBasis<float> shared_basis<float>(TableView<const float>, const float*, bool,
                                                const BlasTable&, int, Control&);
template SharedBasis<double> shared_basis<double>(TableView<const double>, const double*, bool,
                                                  const BlasTable&, int, Control&);
template SharedBasis<float> transposed<float>(const SharedBasis<float>&);
template SharedBasis<double> transposed<double>(const SharedBasis<double>&);
template void rotate_table<float>(TableView<float>, const SharedBasis<float>&, int, Control&);
template void rotate_table<double>(TableView<double>, const SharedBasis<double>&, int, Control&);

}  // namespace matfac
