// One pass of SGD over a block of ratings, user by user.

template <class T>
MF_INLINE T positive(T x) {
    return x > 0 ? x : T(0);
}

constexpr int kRegisters = 8;  // a user's row stays in registers up to this many vectors

// NV: vectors per row, or 0: any number, the user's row then lives in memory.
template <class T, int NV, bool CLIP>
struct UserRow {
    static_assert(!CLIP, "clipped steps take rows of any length");
    V<T> v[NV];
    MF_INLINE explicit UserRow(T* p, std::int64_t) : p_(p) {
#pragma GCC unroll 8
        for (int c = 0; c < NV; ++c) v[c] = load(p + c * W<T>);
    }
    MF_INLINE T dot_with(const T* y) const {
        V<T> a = v[0] * load(y), b{};
#pragma GCC unroll 8
        for (int c = 1; c < NV; ++c) {
            if (c % 2 == 0)
                a += v[c] * load(y + c * W<T>);
            else
                b += v[c] * load(y + c * W<T>);
        }
        return sum<T>(a + b);
    }
    // x <- keep_x x + step_x y and y <- keep_y y + step_y x, each from the old values
    MF_INLINE void step(T* y, T keep_x, T step_x, T keep_y, T step_y) {
#pragma GCC unroll 8
        for (int c = 0; c < NV; ++c) {
            const V<T> yc = load(y + c * W<T>), xc = v[c];
            v[c] = splat(keep_x) * xc + splat(step_x) * yc;
            store<T>(y + c * W<T>, splat(keep_y) * yc + splat(step_y) * xc);
        }
    }
    MF_INLINE void save() const {
#pragma GCC unroll 8
        for (int c = 0; c < NV; ++c) store<T>(p_ + c * W<T>, v[c]);
    }

private:
    T* p_;
};

// CLIP: every entry of a step below 0 becomes 0. NaN stays NaN, for the epoch's objective to show.
template <class T, bool CLIP>
MF_INLINE V<T> clipped(V<T> v) {
    if constexpr (CLIP) return v < V<T>{} ? V<T>{} : v;
    return v;
}

template <class T, bool CLIP>
struct UserRow<T, 0, CLIP> {
    MF_INLINE explicit UserRow(T* p, std::int64_t k) : p_(p), k_(k) {}
    MF_INLINE T dot_with(const T* y) const { return dot(p_, y, k_); }
    MF_INLINE void step(T* y, T keep_x, T step_x, T keep_y, T step_y) {
        for (std::int64_t c = 0; c < k_; c += W<T>) {
            const V<T> yc = load(y + c), xc = load(p_ + c);
            store<T>(p_ + c, clipped<T, CLIP>(splat(keep_x) * xc + splat(step_x) * yc));
            store<T>(y + c, clipped<T, CLIP>(splat(keep_y) * yc + splat(step_y) * xc));
        }
    }
    MF_INLINE void save() const {}

private:
    T* p_;
    std::int64_t k_;
};

constexpr std::int64_t kUsersAhead = 8;  // runs between a prefetch and its use

// Where this epoch's walk over a run starts.
template <class T>
MF_INLINE std::int64_t first_entry(const SgdBlock<T>& block, std::int64_t run) {
    const std::int64_t begin = block.start[run], n = block.start[run + 1] - begin;
    return begin + static_cast<std::int64_t>((static_cast<std::uint64_t>(n) * block.entry_shift) >> 32);
}

// HOGWILD. Other threads may be at the same rows: their plain loads and stores race with these by
// design (Niu et al. 2011). Nothing here is read for control flow.
template <class T, int NV, bool CLIP = false>
double hogwild_block(const SgdBlock<T>& block, const SgdModel<T>& model) {
    const std::int64_t k = model.users.stride;
    double loss = 0;
    std::int64_t next = (block.first_run + kUsersAhead) % block.n_runs;
    for (std::int64_t visited = 0, run = block.first_run; visited < block.n_runs; ++visited) {
        const std::int64_t begin = block.start[run], n = block.start[run + 1] - begin;
        SgdRow<T>* user = model.user_rows + block.user[run];
        SgdRow<T> u = *user;
        UserRow<T, NV, CLIP> x(model.users.row(block.user[run]), k);
        std::int64_t e = first_entry(block, run);
        prefetch_row<T>(model.users.row(block.user[next]), k);
        __builtin_prefetch(model.user_rows + block.user[next]);
        prefetch_row<T>(model.items.row(block.item[first_entry(block, next)]), k);
        for (std::int64_t j = 0; j < n; ++j) {
            const std::int32_t item = block.item[e];
            const T value = block.value[e] - model.mean;
            const T w = block.weight != nullptr ? block.weight[e] : T(1);
            if (++e == begin + n) e = begin;
            if (j + 1 < n) prefetch_row<T>(model.items.row(block.item[e]), k);
            T* y = model.items.row(item);
            SgdRow<T> i = model.item_rows[item];
            // Rates from the sums before this rating, so that they are ready before its error is.
            const T rate_u = model.rate / root(u.gradient_sum);
            const T rate_i = model.rate / root(i.gradient_sum);
            // A ridge too strong for the step takes a row to zero, never past it.
            const T keep_x = positive(1 - rate_u * w * u.decay);
            const T keep_y = positive(1 - rate_i * w * i.decay);
            const T error = value - u.bias - i.bias - x.dot_with(y);
            const T g = w * error;
            x.step(y, keep_x, rate_u * g, keep_y, rate_i * g);
            if (model.bias) {
                u.bias += model.bias_rate * rate_u * (g - w * u.decay * u.bias);
                i.bias += model.bias_rate * rate_i * (g - w * i.decay * i.bias);
            }
            u.gradient_sum += g * g;
            i.gradient_sum += g * g;
            model.item_rows[item] = i;
            loss += static_cast<double>(g) * static_cast<double>(error);
        }
        x.save();
        *user = u;
        if (++run == block.n_runs) run = 0;
        if (++next == block.n_runs) next = 0;
    }
    return loss;
}

template <class T>
double sgd_block(const SgdBlock<T>& block, const SgdModel<T>& model) {
    if (model.nonnegative) return hogwild_block<T, 0, true>(block, model);
    switch (model.users.stride / W<T>) {
        case 1: return hogwild_block<T, 1>(block, model);
        case 2: return hogwild_block<T, 2>(block, model);
        case 3: return hogwild_block<T, 3>(block, model);
        case 4: return hogwild_block<T, 4>(block, model);
        case 5: return hogwild_block<T, 5>(block, model);
        case 6: return hogwild_block<T, 6>(block, model);
        case 7: return hogwild_block<T, 7>(block, model);
        case kRegisters: return hogwild_block<T, kRegisters>(block, model);
        default: return hogwild_block<T, 0>(block, model);
    }
}
