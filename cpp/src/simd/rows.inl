// Row problems: products with gathered rows, normal equations.

constexpr int kAhead = 16;  // rows between a prefetch and its use
constexpr std::int64_t kHeld = 1 << 12;  // elements of rows that a first cache holds from pass to pass

// Rows of the fixed table through an index; with COPY, `tile` gets each of them.
template <class T, bool COPY = false>
struct Gathered {
    TableView<const T> table;
    const std::int32_t* index;
    std::int64_t n;
    T* tile = nullptr;
    static constexpr bool copies = COPY;

    MF_INLINE void start(std::int64_t k) const {
        for (std::int64_t j = 0; j < n && j < kAhead; ++j) prefetch_row(table.row(index[j]), k);
    }
    MF_INLINE void ahead(std::int64_t j, std::int64_t k) const {
        for (std::int64_t a = j + kAhead; a < j + kAhead + kGroup<T> && a < n; ++a)
            prefetch_row(table.row(index[a]), k);
    }
    MF_INLINE const T* row(std::int64_t j) const { return table.row(index[j]); }
};

// Brings rows of the table into the cache for what comes after, a few a call.
template <class T>
struct Coming {
    const RowProblem<T>& p;
    std::int64_t row, last, step;

    // kTile rows from entry `first` on, those of the next problem included, in so many calls.
    MF_INLINE Coming(const RowProblem<T>& problem, std::int64_t first, std::int64_t calls)
        : p(problem), row(first) {
        const std::int64_t end = p.n + p.n_next;
        last = calls == 0 ? first : end - first < kTile ? end : first + kTile;
        step = calls == 0 ? 0 : (last - first + calls - 1) / calls;
    }
    MF_INLINE void operator()() {
        constexpr std::int64_t line = 64 / sizeof(T);
        const std::int64_t end = last - row < step ? last : row + step;
        for (; row < end; ++row) {
            const T* y = p.table.row(row < p.n ? p.index[row] : p.next[row - p.n]);
            for (std::int64_t at = 0; at < p.table.stride; at += line) __builtin_prefetch(y + at, 0, 2);
        }
    }
};

// Rows that a first cache still holds, while others are coming.
template <class T>
struct Held {
    TableView<const T> table;
    const std::int32_t* index;
    Coming<T>& coming;
    static constexpr T* tile = nullptr;
    static constexpr bool copies = false;

    MF_INLINE void start(std::int64_t) const {}
    MF_INLINE void ahead(std::int64_t, std::int64_t) const { coming(); }
    MF_INLINE const T* row(std::int64_t j) const { return table.row(index[j]); }
};

// Rows that lie one after the other, while others are coming.
template <class T>
struct Tiled {
    const T* data;
    std::int64_t stride;
    Coming<T>& coming;
    static constexpr T* tile = nullptr;
    static constexpr bool copies = false;

    MF_INLINE void start(std::int64_t) const {}
    MF_INLINE void ahead(std::int64_t, std::int64_t) const { coming(); }
    MF_INLINE const T* row(std::int64_t j) const { return data + j * stride; }
};

// out += sum_j a_j y_j with a = coefficient(j, y_j . x for a group from j on). Rows past the last
// stand in for nothing: their coefficients must come out as 0. NV: vectors per row, or 0 for any.
template <class T, int NV, class Rows, class Coefficient>
MF_INLINE void pass(const Rows& rows, std::int64_t n, std::int64_t stride, const T* x, T* out,
                    Coefficient coefficient) {
    constexpr int G = kGroup<T>, HELD = NV > 0 ? NV : 1;
    // Vectors of each row that stay in registers from its product to its sum; `held` takes NV of the 32.
    constexpr int KEPT = NV * G <= 16 ? NV : kBytes < 64 ? 0 : NV <= 8 ? 16 / G : 8 / G;
    const std::int64_t vectors = NV > 0 ? NV : stride / W<T>, k = vectors * W<T>;
    V<T> held[HELD], kept[KEPT > 0 ? KEPT : 1][G];
    for (int c = 0; c < NV; ++c) held[c] = load(out + c * W<T>);
    rows.start(k);
    for (std::int64_t j = 0; j < n; j += G) {
        const T* y[G];
        rows.ahead(j, k);
        for (int i = 0; i < G; ++i) y[i] = rows.row(j + i < n ? j + i : j);
        V<T> acc[G] = {};
        T* copy = rows.tile + (Rows::copies ? j * k : 0);
#pragma GCC unroll 16
        for (std::int64_t c = 0; c < vectors; ++c) {
            const V<T> xc = load(x + c * W<T>);
#pragma GCC unroll 8
            for (int i = 0; i < G; ++i) {
                const V<T> yc = load(y[i] + c * W<T>);
                if constexpr (Rows::copies) store<T>(copy + i * k + c * W<T>, yc);
                if (c < KEPT) kept[c][i] = yc;
                acc[i] += yc * xc;
            }
        }
        V<T> scale[G];
        spread<T>(coefficient(j, sum_lanes<T>(acc)), scale);
        if constexpr (KEPT < HELD) __asm__ volatile("" ::: "memory");
#pragma GCC unroll 16
        for (std::int64_t c = 0; c < vectors; ++c) {
            V<T> sum = NV > 0 ? held[NV > 0 ? c : 0] : load(out + c * W<T>);
#pragma GCC unroll 8
            for (int i = 0; i < G; ++i)
                sum += scale[i] * (c < KEPT ? kept[c][i] : load(y[i] + c * W<T>));
            if constexpr (NV > 0)
                held[c] = sum;
            else
                store<T>(out + c * W<T>, sum);
        }
    }
    for (int c = 0; c < NV; ++c) store<T>(out + c * W<T>, held[c]);
}

// A ridge this far below the largest shared coordinate is none: rounding in the smallest would grow
// past the square root of what it is beside 1.
template <class T>
constexpr T kNoRidge = sizeof(T) == 4 ? T(4e-11) : T(3.5e-24);

// What the shared matrix and ridge have to reach at a coordinate: without a ridge, less is rounding
// beside the largest shared one, and a step along it leads anywhere.
template <class T>
MF_INLINE T least_diagonal(const RowProblem<T>& p, T scale) {
    if (p.shared == nullptr) return 0;
    const T largest = scale * p.largest_shared;
    return p.ridge > kNoRidge<T> * largest ? T(0) : kEpsilon<T> * largest;
}

// diag = ridge + scale shared; inverse = 1 / (ridge + precondition_scale shared), 0 where that is 0
// or rounding, but 1 where all of it is 0.
template <class T>
MF_INLINE void diagonals(const RowProblem<T>& p, T* diag, T* inverse) {
    const V<T> ridge = splat(p.ridge), one = splat(T(1));
    const V<T> least = splat(least_diagonal(p, p.precondition_scale));
    const bool bare = !(p.ridge > 0) && !(p.precondition_scale * p.largest_shared > 0);
    for (std::int64_t j = 0; j < p.table.stride; j += W<T>) {
        const V<T> shared = p.shared != nullptr ? load(p.shared + j) : V<T>{};
        store<T>(diag + j, ridge + splat(p.scale) * shared);
        if (inverse != nullptr) {
            const V<T> m = bare ? one : ridge + splat(p.precondition_scale) * shared;
            store<T>(inverse + j, m > least ? one / m : V<T>{});
        }
    }
}

template <int N>
struct Constant {
    static constexpr int value = N;
};

// Calls f with the vectors per row as a constant where a row stays in registers, else with 0.
template <class T, class F>
MF_INLINE void by_width(std::int64_t stride, F f) {
    switch (stride / W<T>) {
        case 2: return f(Constant<2>{});
        case 4: return f(Constant<4>{});
        case 8:
            if constexpr (kBytes >= 32) return f(Constant<8>{});
            [[fallthrough]];
        case 16:
            if constexpr (kBytes == 64) return f(Constant<16>{});
            [[fallthrough]];
        default: return f(Constant<0>{});
    }
}

// COUNT vectors of columns, from `column` on, of n entries' rows from entry t on: `tile` gets
// sqrt(c) y, and gy and cy grow by g y and c y. UNIT: c is 1.
template <class T, bool BIAS, bool UNIT, int COUNT>
MF_INLINE void weigh(const RowProblem<T>& p, const Gathered<T>& rows, std::int64_t t, std::int64_t n,
                     std::int64_t column, const T* roots, T* gy, T* cy, T* tile) {
    const std::int64_t k = p.table.stride, ld = kTileRow(k);
    V<T> sum_g[COUNT], sum_c[COUNT];
#pragma GCC unroll 4
    for (int v = 0; v < COUNT; ++v) {
        sum_g[v] = load(gy + column + v * W<T>);
        sum_c[v] = load(cy + column + v * W<T>);
    }
    for (std::int64_t i = 0; i < n; ++i) {
        const T* y = rows.row(t + i) + column;
        const V<T> g = splat<T>(p.g[t + i]), c = splat<T>(UNIT ? T(1) : p.c[t + i]);
        const V<T> w = splat<T>(UNIT ? T(1) : roots[i]);
#pragma GCC unroll 4
        for (int v = 0; v < COUNT; ++v) {
            const V<T> yv = load(y + v * W<T>);
            store<T>(tile + i * ld + column + v * W<T>, UNIT ? yv : w * yv);
            sum_g[v] += g * yv;
            if constexpr (BIAS) sum_c[v] += UNIT ? yv : c * yv;
        }
    }
#pragma GCC unroll 4
    for (int v = 0; v < COUNT; ++v) {
        store<T>(gy + column + v * W<T>, sum_g[v]);
        if constexpr (BIAS) store<T>(cy + column + v * W<T>, sum_c[v]);
    }
}

// moments: [0, k) sum g y, [k, 2k) sum c y, [2k] sum g, [2k + 1] sum c; [2k + 16, 4k + 16) work.
template <class T, bool BIAS, bool UNIT>
MF_INLINE void row_gram_of(const RowProblem<T>& p, T* gram, T* moments, T* scratch) {
    constexpr int G = kGroup<T>;
    const std::int64_t k = p.table.stride;
    T *gy = moments, *cy = moments + k, roots[kTile];
    Group<T> total_g{}, total_c{};
    const Gathered<T> rows{p.table, p.index, p.n};
    rows.start(k);
    for (std::int64_t t = 0; t < p.n; t += kTile) {
        const std::int64_t n = p.n - t < kTile ? p.n - t : kTile;
        if constexpr (!UNIT)
            for (std::int64_t i = 0; i < n; ++i) roots[i] = root(p.c[t + i]);
        for (std::int64_t i = 0; i < n; i += G) {
            total_g += load_group(p.g + t + i);
            total_c += load_group(p.c + t + i);
        }
        std::int64_t j = 0;
        for (; j + 4 * W<T> <= k; j += 4 * W<T>)
            weigh<T, BIAS, UNIT, 4>(p, rows, t, n, j, roots, gy, cy, scratch);
        for (; j < k; j += W<T>) weigh<T, BIAS, UNIT, 1>(p, rows, t, n, j, roots, gy, cy, scratch);
        Coming<T> coming(p, t + n, syrk_pauses<T>(k));
        if (p.starts && t == 0)
            syrk_upper<T, Into::overwrite>(gram, scratch, kTileRow(k), k, n, coming);
        else
            syrk_upper<T, Into::add>(gram, scratch, kTileRow(k), k, n, coming);
    }
    moments[2 * k] += sum_group<T>(total_g);
    moments[2 * k + 1] += sum_group<T>(total_c);
}

template <class T>
void row_gram(const RowProblem<T>& p, T* gram, T* moments, T* scratch) {
    if (p.bias && p.unit)
        row_gram_of<T, true, true>(p, gram, moments, scratch);
    else if (p.bias)
        row_gram_of<T, true, false>(p, gram, moments, scratch);
    else
        row_gram_of<T, false, false>(p, gram, moments, scratch);
}

template <class T>
void row_solve(const RowProblem<T>& p, T* gram, T* moments, RowAnswer<T>& answer) {
    const std::int64_t k = p.table.stride;
    T *x = answer.x, *cy = moments + k, *right = moments + 2 * k + 16;
    diagonals(p, right, static_cast<T*>(nullptr));
    const T least = least_diagonal(p, p.scale);
    for (std::int64_t j = 0; j < k; ++j) {
        T& diagonal = gram[j * k + j];  // of a coordinate left out: zero
        diagonal = right[j] < least ? T(0) : diagonal + right[j];
    }
    const std::int64_t wanted = kept(gram, k);
    for (std::int64_t j = 0; j < k; ++j) right[j] = moments[j];
    cholesky(gram, k);
    answer.sound = kept(gram, k) == wanted;
    T b = 0;
    if (!p.bias) {
        T* const sides[] = {right};
        cholesky_solve<T, 1>(gram, k, sides);
    } else {
        // The bordered system [A s; s' t] by its Schur complement; s is kept for the correction.
        for (std::int64_t j = 0; j < k; ++j) x[j] = cy[j];
        T* const sides[] = {right, x};
        cholesky_solve<T, 2>(gram, k, sides);
        const T left = moments[2 * k + 1] + p.bias_ridge - dot(cy, x, k);
        b = left > 0 ? (moments[2 * k] - dot(cy, right, k)) / left : T(0);
        for (std::int64_t j = 0; j < k; ++j) right[j] -= b * x[j];
        *answer.bias = b;
    }
    for (std::int64_t j = 0; j < k; ++j) x[j] = right[j];
    answer.square = dot(x, x, k);
    // At the minimum the quadratic part is minus half the linear one.
    answer.value = -static_cast<double>(dot(x, moments, k)) -
                   static_cast<double>(b) * static_cast<double>(moments[2 * k]);
}

// out += sum_j a_j table[index_j]
template <class T>
void row_combine(TableView<const T> table, const std::int32_t* index, const T* a, std::int64_t n,
                 T* out) {
    constexpr int G = kGroup<T>;
    const std::int64_t k = table.stride;
    const Gathered<T> rows{table, index, n};
    rows.start(k);
    for (std::int64_t j = 0; j < n; j += G) {
        const T* y[G];
        V<T> scale[G];
        rows.ahead(j, k);
        for (int i = 0; i < G; ++i) {
            y[i] = rows.row(j + i < n ? j + i : j);
            scale[i] = splat(j + i < n ? a[j + i] : T(0));
        }
        for (std::int64_t c = 0; c < k; c += W<T>) {
            V<T> sum = load(out + c);
#pragma GCC unroll 8
            for (int i = 0; i < G; ++i) sum += scale[i] * load(y[i] + c);
            store<T>(out + c, sum);
        }
    }
}

template <class T>
double squares(TableView<const T> table, const T* weight, std::int64_t begin, std::int64_t end) {
    double total = 0;
    for (std::int64_t r = begin; r < end; ++r) {
        const T* row = table.row(r);
        total += static_cast<double>(weight[r]) * static_cast<double>(dot(row, row, table.stride));
    }
    return total;
}

template <class T>
void row_dots(TableView<const T> table, const std::int32_t* index, std::int64_t n, const T* x,
              T* s) {
    constexpr int G = kGroup<T>;
    const Gathered<T> rows{table, index, n};
    rows.start(table.stride);
    for (std::int64_t j = 0; j < n; j += G) {
        V<T> acc[G] = {};
        rows.ahead(j, table.stride);
        for (std::int64_t c = 0; c < table.stride; c += W<T>) {
            const V<T> xc = load(x + c);
#pragma GCC unroll 8
            for (int i = 0; i < G; ++i) acc[i] += load(rows.row(j + i < n ? j + i : j) + c) * xc;
        }
        const Group<T> sums = sum_lanes<T>(acc);
        for (int i = 0; i < G && j + i < n; ++i) s[j + i] = sums[i];
    }
}

template <class T>
void pair_dots(TableView<const T> left, const std::int32_t* left_index, TableView<const T> right,
               const std::int32_t* right_index, std::int64_t n, T* s) {
    for (std::int64_t j = 0; j < n; ++j) {
        if (j + 8 < n) {
            prefetch_row(left.row(left_index[j + 8]), left.stride);
            prefetch_row(right.row(right_index[j + 8]), right.stride);
        }
        s[j] = dot(left.row(left_index[j]), right.row(right_index[j]), left.stride);
    }
}
