// C (m x n) += A (m x depth) B (depth x n), or as INTO says: the one product behind Grams, rotations,
// scores and Cholesky.
// A's element (i, k) is a[i * a_row + k * a_col]; B and C are row-major; n a multiple of kLanes.
// Each element is summed over k in order, whatever the block it falls in.

constexpr int kRows = kBytes == 64 ? 8 : 4;  // accumulators: kRows x kCols registers

// What becomes of C.
enum class Into { add, subtract, overwrite };

template <Into INTO, class X>
MF_INLINE X plus_product(X sum, X a, X b) {
    return INTO == Into::subtract ? sum - a * b : sum + a * b;
}

// Not inlined: within a larger function GCC takes registers of the loop over k for what lies around it.
template <class T, int ROWS, int COLS, Into INTO>
__attribute__((noinline)) void gemm_tile(T* c, std::int64_t ldc, const T* a, std::int64_t a_row,
                                         std::int64_t a_col, const T* b, std::int64_t ldb,
                                         std::int64_t depth) {
    V<T> acc[ROWS][COLS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < COLS; ++j)
            acc[i][j] = INTO == Into::overwrite ? V<T>{} : load(c + i * ldc + j * W<T>);
    for (std::int64_t k = 0; k < depth; ++k) {
        V<T> bk[COLS];
#pragma GCC unroll 2
        for (int j = 0; j < COLS; ++j) bk[j] = load(b + k * ldb + j * W<T>);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) {
            const V<T> ai = splat<T>(a[i * a_row + k * a_col]);
#pragma GCC unroll 2
            for (int j = 0; j < COLS; ++j) acc[i][j] = plus_product<INTO>(acc[i][j], ai, bk[j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 2
        for (int j = 0; j < COLS; ++j) store<T>(c + i * ldc + j * W<T>, acc[i][j]);
}

// Of the upper triangle the ROWS rows that end with the diagonal's vector of columns, whose lower half
// they leave out, and with MORE the vector after it. With 512 bits half a vector is half the work on
// processors that take two turns for one, and no more on others.
template <class T, int ROWS, bool MORE, Into INTO>
__attribute__((noinline)) void half_tile(T* c, std::int64_t ldc, const T* a, std::int64_t a_col, const T* b,
                                         std::int64_t ldb, std::int64_t depth) {
    constexpr int H = W<T> / 2;
    Part<T, H> half[ROWS];
    V<T> more[ROWS];
    b += H;
    c += H;
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
        half[i] = INTO == Into::overwrite ? Part<T, H>{} : load_part<H>(c + i * ldc);
        if constexpr (MORE) more[i] = INTO == Into::overwrite ? V<T>{} : load(c + i * ldc + H);
    }
    for (std::int64_t k = 0; k < depth; ++k) {
        const Part<T, H> bh = load_part<H>(b + k * ldb);
        V<T> bm{};
        if constexpr (MORE) bm = load(b + k * ldb + H);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) {
            const T ai = a[i + k * a_col];
            half[i] = plus_product<INTO>(half[i], ai - Part<T, H>{}, bh);
            if constexpr (MORE) more[i] = plus_product<INTO>(more[i], splat<T>(ai), bm);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
        store_part<H>(c + i * ldc, half[i]);
        if constexpr (MORE) store<T>(c + i * ldc + H, more[i]);
    }
}

struct Nothing {
    MF_INLINE void operator()() const {}
};

// ROWS of C at a time; between(): called before each tile.
template <class T, int ROWS, int COLS, Into INTO = Into::add, class Between = Nothing>
MF_INLINE void gemm_rows(T* c, std::int64_t ldc, const T* a, std::int64_t a_row, std::int64_t a_col,
                         const T* b, std::int64_t ldb, std::int64_t m, std::int64_t depth,
                         Between&& between = {}) {
    std::int64_t i = 0;
    for (; i + ROWS <= m; i += ROWS) {
        between();
        gemm_tile<T, ROWS, COLS, INTO>(c + i * ldc, ldc, a + i * a_row, a_row, a_col, b, ldb, depth);
    }
    for (; i < m; ++i)
        gemm_tile<T, 1, COLS, INTO>(c + i * ldc, ldc, a + i * a_row, a_row, a_col, b, ldb, depth);
}

template <class T, Into INTO, class Between>
MF_INLINE void gemm_between(T* c, std::int64_t ldc, const T* a, std::int64_t a_row, std::int64_t a_col,
                            const T* b, std::int64_t ldb, std::int64_t m, std::int64_t n,
                            std::int64_t depth, Between&& between) {
    std::int64_t j = 0;
    for (; j + 2 * W<T> <= n; j += 2 * W<T>)
        gemm_rows<T, kRows, 2, INTO>(c + j, ldc, a, a_row, a_col, b + j, ldb, m, depth, between);
    for (; j < n; j += W<T>)
        gemm_rows<T, kRows, 1, INTO>(c + j, ldc, a, a_row, a_col, b + j, ldb, m, depth, between);
}

template <class T, Into INTO = Into::add>
__attribute__((noinline)) void gemm(T* c, std::int64_t ldc, const T* a, std::int64_t a_row,
                                    std::int64_t a_col, const T* b, std::int64_t ldb, std::int64_t m,
                                    std::int64_t n, std::int64_t depth) {
    gemm_between<T, INTO>(c, ldc, a, a_row, a_col, b, ldb, m, n, depth, Nothing{});
}

// Rows of a block on the diagonal that half_tile takes.
template <class T>
constexpr int kUnder = W<T> == 16 ? 8 : 0;

// The upper part of the square C += tile' tile, or as INTO says; tile is depth x n, its rows ld apart. By
// vectors of columns, so some elements below the diagonal are computed too. between(): called now and then.
template <class T, Into INTO, class Between>
MF_INLINE void syrk_upper(T* c, const T* tile, std::int64_t ld, std::int64_t n, std::int64_t depth,
                          Between&& between) {
    constexpr int kCorner = W<T> < 8 ? W<T> : 8, U = kUnder<T>;
    std::int64_t j = 0;
    for (; j + 2 * W<T> <= n; j += 2 * W<T>) {
        const std::int64_t last = j + W<T>;  // its rows have no part left of their own vector
        gemm_rows<T, kRows, 2, INTO>(c + j, n, tile, 1, ld, tile + j, ld, last - U, depth, between);
        gemm_rows<T, kCorner, 1, INTO>(c + last * n + last, n, tile + last, 1, ld, tile + last, ld,
                                       W<T> - U, depth);
        if constexpr (U > 0) {
            const std::int64_t i = last - U, below = i + W<T>;
            between();
            half_tile<T, U, true, INTO>(c + i * n + j, n, tile + i, ld, tile + j, ld, depth);
            half_tile<T, U, false, INTO>(c + below * n + last, n, tile + below, ld, tile + last, ld, depth);
        }
    }
    for (; j < n; j += W<T>)
        gemm_rows<T, kRows, 1, INTO>(c + j, n, tile, 1, ld, tile + j, ld, j + W<T>, depth);
}

// How often it is called.
template <class T>
constexpr std::int64_t syrk_pauses(std::int64_t n) {
    const std::int64_t panels = n / (2 * W<T>);
    return panels * (W<T> / kRows) * panels;
}

template <class T>
void table_gram(TableView<const T> table, const T* weight, std::int64_t step, std::int64_t begin,
                std::int64_t end, T* gram, T* scratch) {
    const std::int64_t k = table.stride, ld = kTileRow(k);
    for (std::int64_t r = begin; r < end; r += kTile) {
        const std::int64_t n = end - r < kTile ? end - r : kTile;
        for (std::int64_t i = 0; i < n; ++i) {
            const std::int64_t at = (r + i) * step, next = at + 16 * step;
            const V<T> w = splat<T>(weight != nullptr ? root(weight[at]) : T(1));
            const T* row = table.row(at);
            if (step > 1 && next < table.n_rows) prefetch_row(table.row(next), k);
            for (std::int64_t j = 0; j < k; j += W<T>)
                store<T>(scratch + i * ld + j, w * load(row + j));
        }
        syrk_upper<T, Into::add>(gram, scratch, ld, k, n, Nothing{});
    }
}

// Brings a stretch of memory that is about to be written into the cache, a few lines a call.
template <class T>
struct Stretch {
    static constexpr std::int64_t kLine = 64 / sizeof(T);
    T *at, *end;
    std::int64_t step;
    MF_INLINE void operator()() {
        T* to = end - at < step ? end : at + step;
        for (; at < to; at += kLine) __builtin_prefetch(at, 1, 2);
    }
};

template <class T>
void rotate(TableView<T> table, const T* q, std::int64_t begin, std::int64_t end, T* scratch) {
    const std::int64_t k = table.stride;
    for (std::int64_t r = begin; r < end; r += kTile) {
        const std::int64_t n = end - r < kTile ? end - r : kTile;
        T* rows = table.row(r);
        // The rows that come next, in a call each for as many of these and two vectors of columns.
        const std::int64_t next = end - r - n < kTile ? end - r - n : kTile;
        gemm_between<T, Into::overwrite>(scratch, k, rows, k, 1, q, k, n, k, k,
                               Stretch<T>{rows + n * k, rows + (n + next) * k, 2 * W<T> * kRows});
        for (std::int64_t i = 0; i < n * k; i += W<T>) store<T>(rows + i, load(scratch + i));
    }
}
