// One pass of SGD over a block of positives and the negatives drawn for them.

template <class T>
struct BitsOf;
template <>
struct BitsOf<float> {
    typedef std::int32_t type __attribute__((vector_size(kBytes), aligned(4), may_alias));
    static constexpr int kMantissa = 23, kBias = 127;
    static constexpr float kRound = 0x1.8p23f, kLow = -87.0f;
    static constexpr float kLn2High = 0x1.62e4p-1f, kLn2Low = 0x1.7f7d1cp-20f;
};
template <>
struct BitsOf<double> {
    typedef std::int64_t type __attribute__((vector_size(kBytes), aligned(8), may_alias));
    static constexpr int kMantissa = 52, kBias = 1023;
    static constexpr double kRound = 0x1.8p52, kLow = -700.0;
    static constexpr double kLn2High = 0x1.62e42fefa3800p-1, kLn2Low = 0x1.ef35793c76730p-45;
};

template <class T>
MF_INLINE V<T> cubic(V<T> r, V<T> r2, T a, T b, T c, T d) {
    return (a + b * r) + r2 * (c + d * r);
}

// exp(x) for x <= 0, to the last places; below kLow that of kLow. NaN stays NaN.
// x = n ln 2 + r; exp(r) by Taylor's series, which |r| <= ln(2) / 2 makes short.
template <class T>
MF_INLINE V<T> exp_nonpositive(V<T> x) {
    using B = BitsOf<T>;
    using Bits = typename B::type;
    const Bits below = (Bits)(x < splat(B::kLow));
    x = (V<T>)(((Bits)x & ~below) | ((Bits)splat(B::kLow) & below));
    // Adding 1.5 * 2^mantissa leaves n in the low bits of the sum.
    const V<T> shifted = x * T(1.4426950408889634) + B::kRound;
    const V<T> n = shifted - B::kRound;
    const V<T> r = (x - n * B::kLn2High) - n * B::kLn2Low;
    const V<T> r2 = r * r, r4 = r2 * r2;
    V<T> p = cubic<T>(r, r2, T(1) / 24, T(1) / 120, T(1) / 720, T(1) / 5040);
    if constexpr (sizeof(T) == 8) {
        const V<T> tail = cubic<T>(r, r2, T(1) / 40320, T(1) / 362880, T(1) / 3628800,
                                   T(1) / 39916800) +
                          r4 * (T(1) / 479001600 + r * (T(1) / 6227020800));
        p += r4 * tail;
    }
    p = cubic<T>(r, r2, T(1), T(1), T(1) / 2, T(1) / 6) + r4 * p;
    const V<T> power = (V<T>)(((Bits)shifted + B::kBias) << B::kMantissa);  // 2^n
    return p * power;
}

// Adds up log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|)), many logarithms as one of a product.
struct Softplus {
    double linear = 0, product = 1, total = 0;
    int factors = 0;

    MF_INLINE void add(double positive_part, double factor) {
        linear += positive_part;
        product *= factor;  // each at most 2
        if (++factors == 512) flush();
    }
    MF_INLINE void flush() {
        total += __builtin_log(product);
        product = 1;
        factors = 0;
    }
    MF_INLINE double value() {
        flush();
        return linear + total;
    }
};

// 1 / (1 + exp(-z)), and its integral's value at z into `loss`.
template <class T>
MF_INLINE T sigmoid(T z, Softplus& loss) {
    const T e = exp_nonpositive<T>(splat(z < 0 ? z : -z))[0];
    loss.add(static_cast<double>(positive(z)), 1.0 + static_cast<double>(e));
    return (z < 0 ? e : T(1)) / (1 + e);
}

// A user's row while its positives pass: in registers (NV vectors), or for NV = 0 in memory.
template <class T, int NV>
struct HeldRow {
    T* p = nullptr;
    std::int64_t vectors = 0;
    V<T> held[NV > 0 ? NV : 1];

    MF_INLINE std::int64_t count() const { return NV > 0 ? NV : vectors; }
    MF_INLINE void take(T* row, std::int64_t stride) {
        p = row;
        vectors = stride / W<T>;
#pragma GCC unroll 8
        for (int c = 0; c < NV; ++c) held[c] = load(p + c * W<T>);
    }
    MF_INLINE V<T> get(std::int64_t c) const {
        return NV > 0 ? held[NV > 0 ? c : 0] : load(p + c * W<T>);
    }
    MF_INLINE void set(std::int64_t c, V<T> v) {
        if constexpr (NV > 0)
            held[c] = v;
        else
            store<T>(p + c * W<T>, v);
    }
    MF_INLINE void save() const {
#pragma GCC unroll 8
        for (int c = 0; c < NV; ++c) store<T>(p + c * W<T>, held[c]);
    }
};

template <class T, int NV>
struct Walker {
    const PairwiseModel<T>& model;
    HeldRow<T, NV> x;
    SgdRow<T> u;
    Softplus softplus;
    double hinge = 0;
    std::int64_t n_samples = 0;

    MF_INLINE T* row(std::int32_t item) const { return model.sgd.items.row(item); }

    MF_INLINE T score(std::int32_t item) const {
        const T* y = row(item);
        V<T> a{}, b{};
#pragma GCC unroll 8
        for (std::int64_t c = 0, n_c = x.count(); c < n_c; ++c) {
            if (c % 2 == 0)
                a += x.get(c) * load(y + c * W<T>);
            else
                b += x.get(c) * load(y + c * W<T>);
        }
        return sum<T>(a + b) + model.sgd.item_rows[item].bias;
    }

    // The difference of two items' scores.
    MF_INLINE T margin(std::int32_t i, std::int32_t j) const {
        const T *yi = row(i), *yj = row(j);
        V<T> a{}, b{};
#pragma GCC unroll 8
        for (std::int64_t c = 0, n_c = x.count(); c < n_c; ++c) {
            const V<T> d = load(yi + c * W<T>) - load(yj + c * W<T>);
            if (c % 2 == 0)
                a += x.get(c) * d;
            else
                b += x.get(c) * d;
        }
        return sum<T>(a + b) + model.sgd.item_rows[i].bias - model.sgd.item_rows[j].bias;
    }

    // A step of the item's bias and adaptive state along gradient g; returns what its row keeps and
    // its rate, both from before.
    MF_INLINE T advance(SgdRow<T>& state, T g, T& keep) const {
        const T rate = model.sgd.rate / root(state.gradient_sum);
        keep = positive(1 - rate * state.decay);
        if (model.sgd.bias) state.bias += rate * (g - state.decay * state.bias);
        state.gradient_sum += g * g;
        return rate;
    }

    // One step for the pair, with g the loss's slope: x along yi - yj, yi along x, yj against it.
    MF_INLINE void step(std::int32_t i, std::int32_t j, T g) {
        T *yi = row(i), *yj = row(j);
        T keep_x, keep_i = 1, keep_j = 1, step_i = 0, step_j = 0;
        const T step_x = g * model.sgd.rate / root(u.gradient_sum);
        keep_x = positive(1 - model.sgd.rate / root(u.gradient_sum) * u.decay);
        u.gradient_sum += g * g;
        if (!model.items_fixed) {
            step_i = g * advance(model.sgd.item_rows[i], g, keep_i);
            step_j = g * advance(model.sgd.item_rows[j], -g, keep_j);
        }
#pragma GCC unroll 8
        for (std::int64_t c = 0, n_c = x.count(); c < n_c; ++c) {
            const V<T> xc = x.get(c), a = load(yi + c * W<T>), b = load(yj + c * W<T>);
            x.set(c, splat(keep_x) * xc + splat(step_x) * (a - b));
            if (!model.items_fixed) {
                store<T>(yi + c * W<T>, splat(keep_i) * a + splat(step_i) * xc);
                store<T>(yj + c * W<T>, splat(keep_j) * b - splat(step_j) * xc);
            }
        }
    }

    MF_INLINE void bpr(std::int32_t i, const std::int32_t* negatives, int n) {
        for (int j = 0; j < n; ++j)
            step(i, negatives[j], sigmoid<T>(-margin(i, negatives[j]), softplus));
    }

    MF_INLINE void warp(Sample& sample, const PairwiseBlock& block) {
        const T own = score(sample.item);
        for (int t = 1; t <= model.negatives; ++t) {
            const std::int32_t j = sample.negative(block);
            if (j < 0) {
                n_samples += t > 1;
                return;
            }
            const T violation = 1 - own + score(j);
            if (violation <= 0) continue;  // not so for NaN
            const T w = model.trial_weight[t];
            hinge += static_cast<double>(w) * static_cast<double>(violation);
            step(sample.item, j, w);
            break;
        }
        ++n_samples;
    }

    // items[0] the positive, n rows in all: their scores.
    MF_INLINE void scores(const std::int32_t* items, int n, T* s) const {
        constexpr int G = kGroup<T>;
        for (int j = 0; j < n; j += G) {
            const T* y[G];
            V<T> acc[G] = {};
            for (int i = 0; i < G; ++i) y[i] = row(items[j + i < n ? j + i : j]);
#pragma GCC unroll 8
            for (std::int64_t c = 0, n_c = x.count(); c < n_c; ++c) {
                const V<T> xc = x.get(c);
#pragma GCC unroll 8
                for (int i = 0; i < G; ++i) acc[i] += xc * load(y[i] + c * W<T>);
            }
            *reinterpret_cast<Group<T>*>(s + j) = sum_lanes<T>(acc);
        }
        for (int j = 0; j < n; ++j) s[j] += model.sgd.item_rows[items[j]].bias;
    }

    // s -> the step's direction along each item's row.
    MF_INLINE void logistic_slopes(T* s, int n) {
        const T offset = model.sgd.mean + u.bias;
        for (int j = 0; j < n; ++j) s[j] += offset;
        s[0] = -s[0];
        for (int j = n; j < static_cast<int>(padded(n)); ++j) s[j] = 0;
        for (int j = 0; j < n; j += W<T>) {
            const V<T> z = load(s + j);
            using Bits = typename BitsOf<T>::type;
            const Bits negative = (Bits)(z < V<T>{});
            const V<T> e = exp_nonpositive<T>((V<T>)(((Bits)z & negative) | ((Bits)(-z) & ~negative)));
            const V<T> top = (V<T>)(((Bits)e & negative) | ((Bits)splat(T(1)) & ~negative));
            store<T>(s + j, top / (1 + e));
            for (int lane = 0; lane < W<T> && j + lane < n; ++lane)
                softplus.add(static_cast<double>(positive(z[lane])), 1.0 + static_cast<double>(e[lane]));
        }
        for (int j = 1; j < n; ++j) s[j] = -s[j];
    }

    MF_INLINE void softmax_slopes(T* s, int n) {
        T top = s[0];
        for (int j = 1; j < n; ++j) top = s[j] > top ? s[j] : top;
        const T own = s[0];
        for (int j = n; j < static_cast<int>(padded(n)); ++j) s[j] = top + 2 * BitsOf<T>::kLow;
        V<T> sums{};
        for (int j = 0; j < n; j += W<T>) {
            const V<T> e = exp_nonpositive<T>(load(s + j) - splat(top));
            store<T>(s + j, e);
            sums += e;
        }
        const T total = sum<T>(sums);
        hinge += static_cast<double>(top - own) + __builtin_log(static_cast<double>(total));
        for (int j = 0; j < n; ++j) s[j] = -s[j] / total;
        s[0] += 1;
    }

    // One step for the positive and all its negatives, the users' part from the rows as they are
    // when their turn comes. along: work, stride elements.
    MF_INLINE void step_all(const std::int32_t* items, const T* slopes, int n, T* along) {
        V<T> sums[NV > 0 ? NV : 1] = {};
        if constexpr (NV == 0)
            for (std::int64_t c = 0, n_c = x.count(); c < n_c; ++c) store<T>(along + c * W<T>, V<T>{});
        T total = 0, squares = 0;
        for (int j = 0; j < n; ++j) {
            const T g = slopes[j];
            T* y = row(items[j]);
            T keep = 1, step = 0;
            if (!model.items_fixed) step = g * advance(model.sgd.item_rows[items[j]], g, keep);
            total += g;
            squares += g * g;
#pragma GCC unroll 8
            for (std::int64_t c = 0, n_c = x.count(); c < n_c; ++c) {
                const V<T> yc = load(y + c * W<T>);
                if constexpr (NV > 0)
                    sums[c] += splat(g) * yc;
                else
                    store<T>(along + c * W<T>, load(along + c * W<T>) + splat(g) * yc);
                if (!model.items_fixed)
                    store<T>(y + c * W<T>, splat(keep) * yc + splat(step) * x.get(c));
            }
        }
        // The logistic loss is one of each item alone, and so is the decay.
        const T decay = u.decay * (model.loss == PairwiseLoss::logistic ? static_cast<T>(n) : T(1));
        const T rate = model.sgd.rate / root(u.gradient_sum);
        const T keep = positive(1 - rate * decay);
#pragma GCC unroll 8
        for (std::int64_t c = 0, n_c = x.count(); c < n_c; ++c) {
            const V<T> d = NV > 0 ? sums[NV > 0 ? c : 0] : load(along + c * W<T>);
            x.set(c, splat(keep) * x.get(c) + splat(rate) * d);
        }
        if (model.sgd.bias && model.loss == PairwiseLoss::logistic)
            u.bias += rate * (total - decay * u.bias);
        u.gradient_sum += squares;
    }
};

constexpr int kEntriesAhead = 4, kRunsAhead = 4;

// HOGWILD, as in sgd.inl: plain loads and stores of rows that other threads may be at. Draws and
// the walk depend on nothing that races.
template <class T, int NV>
PairwiseResult hogwild_block(const PairwiseBlock& block, const PairwiseModel<T>& model,
                             T* reals, std::int32_t* indices) {
    const std::int64_t k = model.sgd.users.stride;
    const bool searching = model.loss == PairwiseLoss::warp;
    Walker<T, NV> walker{model, {}, {}, {}};
    Sampler sampler(block, model.negatives);
    Sample samples[2];
    std::int32_t* items[2] = {indices, indices + padded(model.negatives + 1)};
    int found[2] = {0, 0};  // negatives in items[1...]

    // Draws a sample ahead of its turn, so that its rows are on their way; those of users and
    // positives, which may come from far, are asked for earlier.
    std::int64_t last_user = -1;
    const auto draw = [&](int at) MF_LAMBDA {
        Sample& sample = samples[at];
        if (!sampler.next(sample)) return false;
        items[at][0] = sample.item;
        const std::int32_t item = sampler.item_ahead(kEntriesAhead);
        prefetch_row<T>(walker.row(item), k);
        __builtin_prefetch(model.sgd.item_rows + item);
        if (sample.user != last_user) {
            last_user = sample.user;
            const Positives& of = block.positives;
            const std::int64_t far = sampler.user_ahead(2 * kRunsAhead);
            const std::int64_t near = sampler.user_ahead(kRunsAhead);
            __builtin_prefetch(of.filter_start + far);
            __builtin_prefetch(of.indptr + far);
            __builtin_prefetch(of.filter + of.filter_start[near]);
            __builtin_prefetch(of.indices + of.indptr[near]);
            __builtin_prefetch(model.sgd.user_rows + near);
            prefetch_row<T>(model.sgd.users.row(near), k);
        }
        found[at] = 0;
        if (searching) return true;
        for (int n = 0; n < model.negatives; ++n) {
            const std::int32_t item = sample.negative(block);
            if (item < 0) break;
            items[at][++found[at]] = item;
            prefetch_row<T>(walker.row(item), k);
            __builtin_prefetch(model.sgd.item_rows + item);
        }
        return true;
    };

    int now = 0;
    bool more = draw(0);
    std::int64_t user = -1;
    while (more) {
        more = draw(1 - now);
        Sample& sample = samples[now];
        if (sample.user != user) {
            if (user >= 0) {
                walker.x.save();
                model.sgd.user_rows[user] = walker.u;
            }
            user = sample.user;
            walker.x.take(model.sgd.users.row(user), k);
            walker.u = model.sgd.user_rows[user];
        }
        if (searching) {
            walker.warp(sample, block);
        } else if (found[now] > 0) {
            ++walker.n_samples;
            if (model.loss == PairwiseLoss::bpr) {
                walker.bpr(sample.item, items[now] + 1, found[now]);
            } else {
                const int n = found[now] + 1;
                walker.scores(items[now], n, reals);
                if (model.loss == PairwiseLoss::logistic)
                    walker.logistic_slopes(reals, n);
                else
                    walker.softmax_slopes(reals, n);
                walker.step_all(items[now], reals, n, reals + 2 * padded(model.negatives + 1));
            }
        }
        now = 1 - now;
    }
    if (user >= 0) {
        walker.x.save();
        model.sgd.user_rows[user] = walker.u;
    }
    return {walker.softplus.value() + walker.hinge, walker.n_samples};
}

template <class T>
PairwiseResult pairwise_block(const PairwiseBlock& block, const PairwiseModel<T>& model, T* reals,
                              std::int32_t* indices) {
    switch (model.sgd.users.stride / W<T>) {
        case 1: return hogwild_block<T, 1>(block, model, reals, indices);
        case 2: return hogwild_block<T, 2>(block, model, reals, indices);
        case 3: return hogwild_block<T, 3>(block, model, reals, indices);
        case 4: return hogwild_block<T, 4>(block, model, reals, indices);
        case kRegisters: return hogwild_block<T, kRegisters>(block, model, reals, indices);
        default: return hogwild_block<T, 0>(block, model, reals, indices);
    }
}
