// Short rows by their entries' kernel matrices, as dual.inl solves one, in a lane each: so many
// factorizations at once, whose numbers need not wait for each other.
// With z_j = D^-1/2 y_j the answer is x = D^-1/2 sum_j s_j u_j z_j, where S (z_i . z_j + 1 / bias_ridge) S + I
// times u is w, S the diagonal of s_j = sqrt(c_j), and w_j = g_j / s_j.

template <class T>
struct ShortBatch {
    Lanes<T> s, w, u, start, kernel, inverse;  // start: scores at the warm start
    MF_INLINE explicit ShortBatch(T* scratch)
        : s{scratch}, w{s.data + kShort * W<T>}, u{w.data + kShort * W<T>},
          start{u.data + kShort * W<T>}, kernel{start.data + kShort * W<T>},
          inverse{kernel.data + kShort * kShort * W<T>} {}
};

// out.at(j, lane) = x . y_j for the first n of the rows, and for up to kGroup - 1 more.
template <class T, int NV, class Rows>
MF_INLINE void scores(const Rows& rows, std::int64_t n, std::int64_t k, const V<T>* held, const T* x,
                      Lanes<T> out, std::int64_t lane) {
    constexpr int G = kGroup<T>;
    const std::int64_t vectors = NV > 0 ? NV : k / W<T>;
    for (std::int64_t j = 0; j < n; j += G) {
        const T* y[G];
        for (int i = 0; i < G; ++i) y[i] = rows.row(j + i < n ? j + i : j);
        V<T> acc[G] = {};
#pragma GCC unroll 8
        for (std::int64_t c = 0; c < vectors; ++c) {
            const V<T> xc = NV > 0 ? held[NV > 0 ? c : 0] : load(x + c * W<T>);
#pragma GCC unroll 8
            for (int i = 0; i < G; ++i) acc[i] += xc * load(y[i] + c * W<T>);
        }
        const Group<T> sums = sum_lanes<T>(acc);
#pragma GCC unroll 8
        for (int i = 0; i < G; ++i) out.at(j + i, lane) = sums[i];
    }
}

// Zeros after the n entries of row `lane`: they change nothing.
template <class T>
MF_INLINE void short_end(const ShortBatch<T>& b, std::int64_t n, std::int64_t size, std::int64_t lane) {
    for (std::int64_t a = n; a < size; ++a) {
        b.s.at(a, lane) = b.w.at(a, lane) = b.start.at(a, lane) = T(0);
        for (std::int64_t j = 0; j <= a; ++j) b.kernel.at(a * kShort + j, lane) = T(0);
    }
}

// 1 / D of a row.
template <class T>
MF_INLINE const T* short_inverse(const RowProblem<T>& p, T* inverse) {
    const V<T> one = splat(T(1));
    for (std::int64_t c = 0; c < p.table.stride; c += W<T>) {
        const V<T> shared = p.shared != nullptr ? load(p.shared + c) : V<T>{};
        store<T>(inverse + c, one / (splat(p.ridge) + splat(p.scale) * shared));
    }
    return inverse;
}

// The part of row `lane` before the factorization: its terms, products and scores.
template <class T, int NV>
MF_INLINE void short_begin(const RowProblem<T>& p, const T* x, std::int64_t size, bool relaxed,
                           const ShortBatch<T>& b, std::int64_t lane, const T* inverse, T* z) {
    constexpr int HELD = NV > 0 ? NV : 1;
    const std::int64_t k = p.table.stride, vectors = NV > 0 ? NV : k / W<T>;
    const Gathered<T> rows{p.table, p.index, p.n};
    // What is needed now would wait for more rows than these, fetched at a time.
    constexpr std::int64_t kAtOnce = 6;
    Coming<T> coming(p, p.n, p.n > kAtOnce ? p.n : 1);
    for (std::int64_t j = 0; j < p.n; ++j) {
        b.s.at(j, lane) = p.c[j];
        b.w.at(j, lane) = p.g[j];
    }
    for (std::int64_t a = 0; a < p.n; ++a) {
        coming();
        V<T> held[HELD];
        for (std::int64_t c = 0; c < vectors; ++c) {
            const V<T> v = load(inverse + c * W<T>) * load(rows.row(a) + c * W<T>);
            if constexpr (NV > 0)
                held[c] = v;
            else
                store<T>(z + c * W<T>, v);
        }
        scores<T, NV>(rows, a + 1, k, held, z, Lanes<T>{&b.kernel.at(a * kShort, 0)}, lane);
    }
    if (relaxed) {
        V<T> held[HELD];
        for (int c = 0; c < NV; ++c) held[c] = load(x + c * W<T>);
        scores<T, NV>(rows, p.n, k, held, x, b.start, lane);
    }
    short_end(b, p.n, size, lane);
}

// From s = c, w = g and products to s, w and u, and the biases (flat: 1 / bias_ridge, or 0); all lanes
// at once. Returns the lanes' largest diagonal of the kernel matrix.
template <class T>
MF_INLINE V<T> short_factor(const ShortBatch<T>& b, std::int64_t size, V<T> flat) {
    const V<T> one = splat(T(1)), zero{};
    V<T> most{}, inverse[kShort];
    for (std::int64_t j = 0; j < size * W<T>; ++j) b.s.data[j] = root(b.s.data[j]);
    for (std::int64_t j = 0; j < size; ++j) b.w.set(j, b.s[j] > zero ? b.w[j] / b.s[j] : zero);
    for (std::int64_t a = 0; a < size; ++a) {
        const Lanes<T> row{&b.kernel.at(a * kShort, 0)};
        const V<T> sa = b.s[a];
        V<T> ua = b.w[a], pivot = one + sa * sa * (row[a] + flat);
        most = pivot > most ? pivot : most;
        most = pivot == pivot ? most : pivot;  // keeps what is no number
        for (std::int64_t j = 0; j < a; ++j) {
            const Lanes<T> above{&b.kernel.at(j * kShort, 0)};
            V<T> t = sa * b.s[j] * (row[j] + flat);
            for (std::int64_t i = 0; i < j; ++i) t -= row[i] * above[i];
            row.set(j, t);
        }
        for (std::int64_t j = 0; j < a; ++j) {
            const V<T> t = row[j], l = t * inverse[j];
            pivot -= l * t;
            ua -= l * b.u[j];
            row.set(j, l);
        }
        inverse[a] = one / pivot;
        b.u.set(a, ua);
    }
    for (std::int64_t a = size - 1; a >= 0; --a) {
        V<T> ua = b.u[a] * inverse[a];
        for (std::int64_t j = a + 1; j < size; ++j) ua -= b.kernel[j * kShort + a] * b.u[j];
        b.u.set(a, ua);
    }
    return most;
}

// x += relaxation times the way to sum_j (s_j u_j) y_j / D; returns the ridge's part of its square.
template <class T, int NV>
MF_INLINE T short_step(const RowProblem<T>& p, const ShortBatch<T>& b, std::int64_t lane,
                       const T* inverse, T relaxation, RowAnswer<T>& answer) {
    constexpr int HELD = NV > 0 ? NV : 1;
    const std::int64_t k = p.table.stride, vectors = NV > 0 ? NV : k / W<T>;
    T* const x = answer.x;
    V<T> held[HELD], part{}, square{};
    for (int c = 0; c < NV; ++c) held[c] = V<T>{};
    if constexpr (NV > 0)
        for (std::int64_t j = 0; j < p.n; ++j) {
            const V<T> a = splat(b.s.at(j, lane));
            const T* y = p.table.row(p.index[j]);
#pragma GCC unroll 8
            for (int c = 0; c < NV; ++c) held[c] += a * load(y + c * W<T>);
        }
    for (std::int64_t c = 0; c < vectors; ++c) {
        V<T> all{};
        if constexpr (NV > 0)
            all = held[c];
        else
            for (std::int64_t j = 0; j < p.n; ++j)
                all += splat(b.s.at(j, lane)) * load(p.table.row(p.index[j]) + c * W<T>);
        const V<T> d = load(inverse + c * W<T>);
        V<T> to = d * all;
        if (relaxation != T(1)) {
            const V<T> from = load(x + c * W<T>), way = to - from;
            part += way * way / d;
            to = from + splat(relaxation) * way;
        }
        store<T>(x + c * W<T>, to);
        square += to * to;
    }
    answer.square = sum<T>(square);
    return sum<T>(part);
}

template <class T, int NV>
void short_rows_of(const RowProblem<T>* p, RowAnswer<T>* answers, bool* solved, int n, T relaxation,
                   T* scratch) {
    const std::int64_t k = p[0].table.stride;
    const ShortBatch<T> b(scratch);
    T *inverse = b.inverse.data, *z = inverse + W<T> * k;
    const bool relaxed = relaxation != T(1);
    std::int64_t size = 0;
    for (int r = 0; r < n; ++r) size = p[r].n > size ? p[r].n : size;
    V<T> flat{}, start_bias{};
    const T* own[W<T>];  // rows of as many entries mostly have one
    for (int r = 0; r < n; ++r) {
        own[r] = r > 0 && p[r].ridge == p[r - 1].ridge ? own[r - 1] : short_inverse(p[r], inverse + r * k);
        short_begin<T, NV>(p[r], answers[r].x, size, relaxed, b, r, own[r], z);
        if (p[r].bias) {
            flat[r] = 1 / p[r].bias_ridge;
            start_bias[r] = *answers[r].bias;
        }
    }
    for (int r = n; r < W<T>; ++r) short_end(b, 0, size, r);
    const V<T> most = short_factor(b, size, flat);

    // The predictions are (w - u) / s; at the minimum the quadratic part is minus half the linear one.
    V<T> value{}, bias{}, from{};
    for (std::int64_t j = 0; j < size; ++j) {
        const V<T> s = b.s[j], u = b.u[j], at = b.w[j] - u;
        value += b.w[j] * at;
        bias += s * u;
        if (relaxed) {
            const V<T> way = s * (b.start[j] + start_bias) - at;
            from += way * way;
        }
        b.s.set(j, s * u);
    }
    bias *= flat;
    for (int r = 0; r < n; ++r) {
        const RowProblem<T>& q = p[r];
        RowAnswer<T>& answer = answers[r];
        solved[r] = !q.faint && q.ridge > 0 && !(q.bias && !(q.bias_ridge > 0)) && !(least_diagonal(q, q.scale) > 0) &&
                    most[r] < kMostKernel<T>;
        if (!solved[r]) continue;
        T part = short_step<T, NV>(q, b, r, own[r], relaxation, answer);
        if (q.bias) {
            const T way = bias[r] - start_bias[r];
            part += q.bias_ridge * way * way;
            *answer.bias = relaxed ? start_bias[r] + relaxation * way : bias[r];
        }
        answer.value = -static_cast<double>(value[r]);
        if (relaxed) {
            const double past = static_cast<double>(relaxation) - 1;
            answer.value += past * past * static_cast<double>(from[r] + part);
        }
    }
}

template <class T>
void short_rows(const RowProblem<T>* p, RowAnswer<T>* answers, bool* solved, int n, T relaxation,
                T* scratch) {
    by_width<T>(p[0].table.stride, [&](auto width) MF_LAMBDA {
        for (int r = 0; r < n; r += W<T>)
            short_rows_of<T, width.value>(p + r, answers + r, solved + r, n - r < W<T> ? n - r : W<T>,
                                          relaxation, scratch);
    });
}
