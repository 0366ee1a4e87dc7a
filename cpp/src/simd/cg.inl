// Conjugate gradient of a row: passes over its entries, and turns between them.

// Where the vectors of a row's conjugate gradient lie: residual, direction, the matrix times the
// direction, the diagonal, and the preconditioner.
template <class T>
struct CgVectors {
    T *r, *d, *q, *diag, *inverse;
    MF_INLINE CgVectors(T* work, std::int64_t k)
        : r(work), d(r + k), q(d + k), diag(q + k), inverse(diag + k) {}
};

// r = ridge prior - diag x, to which the first pass adds sum_j (g_j - c_j s_j) y_j.
template <class T>
MF_INLINE void cg_begin(CgRow<T>& s) {
    const RowProblem<T>& p = s.problem;
    const std::int64_t k = p.table.stride;
    const CgVectors<T> v(s.work, k);
    const T* x = s.answer.x;
    diagonals(p, v.diag, v.inverse);
    for (std::int64_t j = 0; j < k; j += W<T>) store<T>(v.r + j, -(load(v.diag + j) * load(x + j)));
    s.value = -static_cast<double>(dot(v.r, x, k));
    if (p.prior != nullptr) {
        for (std::int64_t j = 0; j < k; j += W<T>)
            store<T>(v.r + j, load(v.r + j) + splat(p.ridge) * load(p.prior + j));
        s.value -= 2 * static_cast<double>(p.ridge * dot(p.prior, x, k));
    }
    s.bias = p.bias ? *s.answer.bias : T(0);
    s.taken = 0;
    for (int i = 0; i < kMostGroup; ++i) s.total[i] = s.squares[i] = T(0);
}

// Entries begin..begin + n of the pass under way, `rows` their rows: the first pass forms the residual
// at the warm start and the value there, the others q = (sum_j c_j [y_j; 1] [y_j; 1]' + diag) [d; d_bias].
template <class T, int NV, class Rows>
MF_INLINE void cg_entries(CgRow<T>& s, const Rows& rows, std::int64_t begin, std::int64_t n) {
    const RowProblem<T>& p = s.problem;
    const std::int64_t k = p.table.stride;
    const CgVectors<T> v(s.work, k);
    const T *c = p.c + begin, *g = p.g + begin;
    Group<T> total = load_group(s.total);
    if (s.taken == 0) {
        Group<T> squares = load_group(s.squares);
        const T bias = s.bias;
        pass<T, NV>(rows, n, k, s.answer.x, v.r, [&](std::int64_t j, Group<T> scores) MF_LAMBDA {
            scores += bias;
            const Group<T> gj = load_group(g + j), cs = load_group(c + j) * scores;
            squares += (cs - 2 * gj) * scores;
            total += gj - cs;
            return gj - cs;
        });
        store_group<T>(s.squares, squares);
    } else {
        const T d_bias = s.d_bias;
        Group<T> squares = load_group(s.squares);
        pass<T, NV>(rows, n, k, v.d, v.q, [&](std::int64_t j, Group<T> scores) MF_LAMBDA {
            scores += d_bias;
            const Group<T> a = load_group(c + j) * scores;
            squares += a * scores;
            total += a;
            return a;
        });
        store_group<T>(s.squares, squares);
    }
    store_group<T>(s.total, total);
}

// What follows a pass over all entries: a step along the direction, and the next one. False: the
// answer is final.
template <class T>
MF_INLINE bool cg_turn(CgRow<T>& s, int steps, T tolerance, T relaxation) {
    const RowProblem<T>& p = s.problem;
    const std::int64_t k = p.table.stride;
    const CgVectors<T> v(s.work, k);
    T* x = s.answer.x;
    const T inverse_b = p.bias && p.bias_curvature > 0 ? 1 / p.bias_curvature : T(0);
    const T total = p.bias ? sum_group<T>(load_group(s.total)) : T(0);
    if (s.taken == 0) {
        const double first = s.value + static_cast<double>(sum_group<T>(load_group(s.squares))) +
                             static_cast<double>(p.bias_ridge * s.bias * (s.bias - 2 * p.prior_bias));
        s.value = first;
        s.r_bias = p.bias ? total + p.bias_ridge * (p.prior_bias - s.bias) : T(0);
        V<T> rz_v{};
        for (std::int64_t j = 0; j < k; j += W<T>) {
            const V<T> rj = load(v.r + j), z = load(v.inverse + j) * rj;
            rz_v += rj * z;
            store<T>(v.d + j, z);
        }
        s.d_bias = inverse_b * s.r_bias;
        s.metric = s.rz = sum<T>(rz_v) + s.r_bias * s.d_bias;
        // At the minimum the value is minus b' A^-1 b, all that a start from zero gains.
        const T gain_from_zero = static_cast<T>(-first);
        // What rounding leaves of a residual of so many terms; without a ridge no step takes it away.
        const T rounding = kEpsilon<T> * kEpsilon<T> * static_cast<T>(p.n + k);
        const T least = tolerance > rounding ? tolerance : rounding;
        s.enough = least * (gain_from_zero > s.rz ? gain_from_zero : s.rz);
    } else {
        const T q_bias = p.bias ? total + p.bias_ridge * s.d_bias : T(0);
        const T curvature = s.flat + sum_group<T>(load_group(s.squares));
        // Below, the direction is one of rounding alone, and a step along it leads anywhere.
        if (!(curvature > kEpsilon<T> * s.metric)) {
            steps = 0;
        } else {
            // The directions are conjugate: going past the minimum along one changes nothing for the others.
            const double gain = static_cast<double>(relaxation) * (2 - static_cast<double>(relaxation));
            const T alpha = s.rz / curvature;
            const V<T> va = splat(alpha), go = splat(relaxation * alpha);
            V<T> next_v{};
            for (std::int64_t j = 0; j < k; j += W<T>) {
                store<T>(x + j, load(x + j) + go * load(v.d + j));
                const V<T> rj = load(v.r + j) - va * load(v.q + j);
                next_v += rj * (load(v.inverse + j) * rj);
                store<T>(v.r + j, rj);
            }
            s.bias += relaxation * alpha * s.d_bias;
            s.r_bias -= alpha * q_bias;
            s.value -= gain * static_cast<double>(alpha) * static_cast<double>(s.rz);
            const T next = sum<T>(next_v) + s.r_bias * s.r_bias * inverse_b;
            const T beta = next / s.rz;
            const V<T> vb = splat(beta);
            for (std::int64_t j = 0; j < k; j += W<T>)
                store<T>(v.d + j, load(v.inverse + j) * load(v.r + j) + vb * load(v.d + j));
            s.d_bias = inverse_b * s.r_bias + beta * s.d_bias;
            s.metric = next + beta * beta * s.metric;
            s.rz = next;
        }
    }
    if (s.taken < steps && s.rz > s.enough) {
        ++s.taken;
        V<T> flat_v{};
        for (std::int64_t j = 0; j < k; j += W<T>) {
            const V<T> dj = load(v.d + j), qj = load(v.diag + j) * dj;
            flat_v += dj * qj;
            store<T>(v.q + j, qj);
        }
        s.flat = sum<T>(flat_v) + p.bias_ridge * s.d_bias * s.d_bias;
        for (int i = 0; i < kMostGroup; ++i) s.total[i] = s.squares[i] = T(0);
        return true;
    }
    if (p.bias) *s.answer.bias = s.bias;
    s.answer.value = s.value;
    s.answer.square = dot(x, x, k);
    return false;
}

template <class T, int NV>
void row_cg_of(CgRow<T>& s, int steps, T tolerance, T relaxation) {
    const RowProblem<T>& p = s.problem;
    const std::int64_t k = p.table.stride;
    const bool held = p.n * k <= kHeld;
    T* tile = !held && p.n <= kCgTile(k) ? s.work + kCgVectors * k : nullptr;
    const Gathered<T> rows{p.table, p.index, p.n};
    Coming<T> coming(p, p.n, steps * ((p.n + kGroup<T> - 1) / kGroup<T>));
    const Tiled<T> tiled{tile, k, coming};
    cg_begin(s);
    if (tile != nullptr)
        cg_entries<T, NV>(s, Gathered<T, true>{p.table, p.index, p.n, tile}, 0, p.n);
    else
        cg_entries<T, NV>(s, rows, 0, p.n);
    while (cg_turn(s, steps, tolerance, relaxation)) {
        if (held)
            cg_entries<T, NV>(s, Held<T>{p.table, p.index, coming}, 0, p.n);
        else if (tile != nullptr)
            cg_entries<T, NV>(s, tiled, 0, p.n);
        else
            cg_entries<T, NV>(s, rows, 0, p.n);
    }
}

template <class T>
void row_cg(CgRow<T>& row, int steps, T tolerance, T relaxation) {
    by_width<T>(row.problem.table.stride, [&](auto width) MF_LAMBDA {
        row_cg_of<T, width.value>(row, steps, tolerance, relaxation);
    });
}

template <class T>
void row_cg_entries(CgRow<T>& row, std::int64_t begin, std::int64_t end) {
    const RowProblem<T>& p = row.problem;
    const Gathered<T> rows{p.table, p.index + begin, end - begin};
    by_width<T>(p.table.stride, [&](auto width) MF_LAMBDA {
        cg_entries<T, width.value>(row, rows, begin, end - begin);
    });
}
