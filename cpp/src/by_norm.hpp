// The items of a search from those that may score most to those that cannot: |x . y| <= |x| |y|, so that a
// search for the best can end where no item that is left reaches them.
#pragma once
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "matfac/kernels.hpp"
#include "matfac/memory.hpp"
#include "matfac/panels.hpp"
#include "matfac/parallel.hpp"

namespace matfac {

// Of a row, squares in double: those of small numbers in T are 0.
template <class T>
double length_of(TableView<const T> table, std::int64_t row) {
    double sums[kLanes] = {};
    for (std::int64_t j = 0; j < table.stride; ++j) {
        const auto x = static_cast<double>(table.row(row)[j]);
        sums[j % kLanes] += x * x;
    }
    double square = 0;
    for (const double sum : sums) square += sum;
    return std::sqrt(square);
}

// The lengths of all queries, and the ones at which a panel's most is known: zero, and a half more
// and more often of the longest.
class Lengths {
public:
    static constexpr int kKnown = 9;
    // A length between two known ones: the share of the longer.
    struct Between {
        int shorter = 0;
        double share = 0;
    };

    template <class T>
    Lengths(TableView<const T> queries, int n_threads, Control& control)
        : length_(static_cast<std::size_t>(queries.n_rows), 0.0) {
        constexpr std::int64_t some = 256;
        for_chunks(n_threads, (queries.n_rows + some - 1) / some, control, [&](std::int64_t c, int) {
            for (std::int64_t r = c * some; r < std::min(queries.n_rows, (c + 1) * some); ++r) {
                constexpr double infinity = std::numeric_limits<double>::infinity();
                const double length = length_of(queries, r);
                length_[r] = length < infinity ? length : infinity;
            }
        });
        std::vector<double> sorted(length_);
        const auto middle = sorted.begin() + static_cast<std::int64_t>(sorted.size() / 2);
        std::nth_element(sorted.begin(), middle, sorted.end());
        median = *middle;
        double longest = *std::max_element(middle, sorted.end());
        for (int i = kKnown - 1; i > 0; --i, longest /= 2) known[i] = longest;
    }

    Between of(std::int64_t query) const {
        const double length = length_[query];
        int i = 0;
        while (i + 2 < kKnown && length > known[i + 1]) ++i;
        const double step = known[i + 1] - known[i];
        return {i, step > 0 ? (length - known[i]) / step : 0.0};
    }

    double median = 0;
    std::array<double, kKnown> known{};

private:
    std::vector<double> length_;
};

// Fewer queries take no longer as items come: to order these would.
constexpr std::int64_t kWorthOrder = 512;

template <class T>
class ByNorm {
public:
    ByNorm(const Scoring<T>& q, const Positions& positions, const Lengths& lengths, Control& control)
        : size_(positions.size()), panel_size_(q.items.stride * kItems),
          items_(static_cast<std::size_t>(size_)), norms_(items_.size()) {
        for (std::int64_t i = 0; i < size_; ++i) items_[i] = positions.item(i);
        const bool ordered = q.queries.n_rows >= kWorthOrder;
        if (ordered) sort(q, lengths.median, control);
        packed_ = packed_panels(q, items_.data(), size_, control);
        if (q.item_bias != nullptr)
            for (const std::int32_t item : items_) bias_.push_back(q.item_bias[item]);
        most_.assign(static_cast<std::size_t>(n_panels()), Most{});
        if (ordered)
            set_most(q, lengths, control);
        else
            for (Most& most : most_) most.fill(kInfinity);
    }

    std::int64_t n_panels() const { return (size_ + kItems - 1) / kItems; }
    std::int64_t begin(std::int64_t panel) const { return panel * kItems; }
    std::int64_t end(std::int64_t panel) const { return std::min(size_, begin(panel) + kItems); }
    const T* panel(std::int64_t panel) const { return packed_.data() + panel * panel_size_; }
    const T* bias(std::int64_t panel) const {
        return bias_.empty() ? nullptr : bias_.data() + begin(panel);
    }
    std::int32_t item(std::int64_t place) const { return items_[place]; }

    // Where each of n_items stands; -1: it is no candidate.
    std::vector<std::int32_t> places(std::int64_t n_items) const {
        std::vector<std::int32_t> place(static_cast<std::size_t>(n_items), -1);
        for (std::int64_t i = 0; i < size_; ++i) place[items_[i]] = static_cast<std::int32_t>(i);
        return place;
    }

    // No score of a query of this length is above it from a panel on. The most that items can score
    // is convex in the length: between two lengths it is below the chord.
    double most(std::int64_t panel, Lengths::Between at) const {
        const Most& known = most_[panel];
        return known[at.shorter] + at.share * (known[at.shorter + 1] - known[at.shorter]);
    }

private:
    using Most = std::array<double, Lengths::kKnown>;
    static constexpr double kInfinity = std::numeric_limits<double>::infinity();

    // No number where one of them is none: that ends no search.
    static double larger(double a, double b) { return a > b || a != a ? a : b; }

    // By counting: by what they score at most for a query of the length, in so many steps; items of a step
    // stay in their order. What is no number comes first.
    void sort(const Scoring<T>& q, double length, Control& control) {
        constexpr int kSteps = 1 << 12;
        const std::vector<std::int32_t> items = items_;
        std::vector<double> norm(items.size()), key(items.size());
        for_chunks(q.n_threads, n_panels(), control, [&](std::int64_t p, int) {
            for (std::int64_t i = begin(p); i < end(p); ++i) norm[i] = length_of(q.items, items[i]);
        });
        double least = kInfinity, most = -kInfinity;
        for (std::size_t i = 0; i < items.size(); ++i) {
            key[i] = length * norm[i];
            if (q.item_bias != nullptr) key[i] += static_cast<double>(q.item_bias[items[i]]);
            least = std::min(least, key[i]);
            most = std::max(most, key[i]);
        }
        const double scale = (kSteps - 1) / (most - least);
        const auto step = [&](std::size_t i) {
            const double s = (most - key[i]) * scale;
            return s > 0 && s < kSteps ? static_cast<int>(s) : 0;
        };
        std::vector<std::size_t> starts(kSteps + 1, 0);
        for (std::size_t i = 0; i < items.size(); ++i) ++starts[step(i) + 1];
        for (int s = 0; s < kSteps; ++s) starts[s + 1] += starts[s];
        for (std::size_t i = 0; i < items.size(); ++i) {
            const std::size_t to = starts[step(i)]++;
            items_[to] = items[i];
            norms_[to] = norm[i];
        }
    }

    void set_most(const Scoring<T>& q, const Lengths& lengths, Control& control) {
        // Twice the roundings of a sum of so many products, and of the squares.
        const double slack = 4 * static_cast<double>(q.items.k + 4) * std::numeric_limits<T>::epsilon();
        for_chunks(q.n_threads, n_panels(), control, [&](std::int64_t p, int) {
            Most most;
            most.fill(-kInfinity);
            for (std::int64_t i = begin(p); i < end(p); ++i) {
                const double bias = bias_.empty() ? 0.0 : static_cast<double>(bias_[i]);
                const double at_zero = bias + slack * std::abs(bias), norm = norms_[i] * (1 + slack);
                for (std::size_t n = 0; n < most.size(); ++n) {
                    const double score = at_zero + lengths.known[n] * norm;
                    most[n] = larger(score, most[n]);
                }
            }
            most_[p] = most;
        });
        for (std::int64_t p = n_panels() - 2; p >= 0; --p)
            for (std::size_t n = 0; n < most_[p].size(); ++n) {
                most_[p][n] = larger(most_[p + 1][n], most_[p][n]);
            }
    }

    std::int64_t size_, panel_size_;
    std::vector<std::int32_t> items_;
    std::vector<double> norms_;
    Buffer<T> packed_;
    std::vector<T> bias_;
    std::vector<Most> most_;  // of a panel and all after it
};

}  // namespace matfac
