// A short row by its entries' kernel matrix: n unknowns where the normal equations have k.
// With z_j = sqrt(c_j) D^-1/2 y_j, D the ridge and shared part, and w_j = g_j / sqrt(c_j), the answer is
//   x = D^-1/2 Z' u,  (I + Z Z' + s s' / bias_ridge) u = w,  b = s . u / bias_ridge,  s_j = sqrt(c_j).

// Above it, rounding in a pivot of the kernel matrix is no longer small beside the identity.
template <class T>
constexpr T kMostKernel = sizeof(T) == 4 ? T(1e4) : T(1e12);

// False, and nothing done, where the row is faint, has no ridge or too little for this form.
// scratch: dual_scratch elements.
template <class T>
bool row_dual(const RowProblem<T>& p, RowAnswer<T>& answer, T* scratch) {
    constexpr int G = kGroup<T>;
    const std::int64_t k = p.table.stride, size = padded(p.n), groups = (p.n + G - 1) / G * G;
    if (p.faint || !(p.ridge > 0) || (p.bias && !(p.bias_ridge > 0)) || least_diagonal(p, p.scale) > 0)
        return false;
    const T flat = p.bias ? 1 / p.bias_ridge : T(0);
    T *half = scratch, *s = half + k, *w = s + size, *u = w + size;
    T *kernel = u + size, *z = kernel + size * size;
    diagonals(p, half, static_cast<T*>(nullptr));
    for (std::int64_t i = 0; i < k; ++i) half[i] = 1 / root(half[i]);
    for (std::int64_t j = 0; j < size; ++j) s[j] = root(p.c[j]);
    for (std::int64_t j = 0; j < size; j += W<T>) {
        const V<T> sj = load(s + j), wj = sj > V<T>{} ? load(p.g + j) / sj : V<T>{};
        store<T>(w + j, wj);
        store<T>(u + j, wj);
    }
    for (std::int64_t j = 0; j < size * size; j += W<T>) store<T>(kernel + j, V<T>{});
    const Gathered<T> rows{p.table, p.index, p.n};
    Coming<T> coming(p, p.n, 1);
    rows.start(k);
    coming();
    for (std::int64_t j = 0; j < groups; ++j) {
        if (j % G == 0) rows.ahead(j, k);
        const T* y = j < p.n ? rows.row(j) : nullptr;
        const V<T> sj = splat(s[j]);
        for (std::int64_t i = 0; i < k; i += W<T>)
            store<T>(z + j * k + i, y != nullptr ? sj * (load(half + i) * load(y + i)) : V<T>{});
    }
    for (std::int64_t a = 0; a < p.n; ++a) {
        for (std::int64_t b = a / G * G; b < p.n; b += G) {
            V<T> acc[G] = {};
            for (std::int64_t i = 0; i < k; i += W<T>) {
                const V<T> za = load(z + a * k + i);
#pragma GCC unroll 8
                for (int g = 0; g < G; ++g) acc[g] += za * load(z + (b + g) * k + i);
            }
            const Group<T> sums = sum_lanes<T>(acc);
            store_group<T>(kernel + a * size + b, sums + (flat * s[a] - Group<T>{}) * load_group(s + b));
        }
    }
    for (std::int64_t a = 0; a < size; ++a) {
        kernel[a * size + a] += 1;
        if (!(kernel[a * size + a] < kMostKernel<T>)) return false;
    }
    cholesky(kernel, size);
    if (kept(kernel, size) < size) return false;
    T* const sides[] = {u};
    cholesky_solve<T, 1>(kernel, size, sides);

    V<T> square{};
    for (std::int64_t i = 0; i < k; i += W<T>) {
        V<T> x{};
        for (std::int64_t j = 0; j < p.n; ++j) x += splat(u[j]) * load(z + j * k + i);
        x *= load(half + i);
        store<T>(answer.x + i, x);
        square += x * x;
    }
    answer.square = sum<T>(square);
    if (p.bias) *answer.bias = flat * dot(s, u, size);
    // The predictions are (w - u) / s; at the minimum the quadratic part is minus half the linear one.
    for (std::int64_t j = 0; j < size; ++j) u[j] = w[j] - u[j];
    answer.value = -static_cast<double>(dot(w, u, size));
    return true;
}
