#include "matfac/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace matfac {

namespace {

constexpr std::int64_t kListRows = 256;  // per hand-out
constexpr std::size_t kFew = 64;         // scores that are sooner compared than searched
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// sums[n] = DCG of n hits in the first n places; the discount of place n is sums[n] - sums[n - 1].
std::vector<double> ideal_gains(std::int64_t places) {
    std::vector<double> sums(static_cast<std::size_t>(places) + 1, 0.0);
    for (std::int64_t j = 0; j < places; ++j)
        sums[j + 1] = sums[j] + 1 / std::log2(static_cast<double>(j + 2));
    return sums;
}

// One user's list: a walk down its first k places.
void list_row(const std::int32_t* items, std::int64_t width, const std::int32_t* relevant,
              std::int64_t n_relevant, std::int64_t k, const std::vector<double>& ideal,
              std::vector<char>& found, double* out) {
    if (n_relevant == 0) {
        std::fill(out, out + n_list_metrics, kNan);
        return;
    }
    found.assign(static_cast<std::size_t>(n_relevant), 0);
    std::int64_t hits = 0;
    double gain = 0, precisions = 0, first = 0;
    for (std::int64_t j = 0; j < std::min(width, k); ++j) {
        const auto* at = std::lower_bound(relevant, relevant + n_relevant, items[j]);
        if (at == relevant + n_relevant || *at != items[j] || found[at - relevant] != 0) continue;
        found[at - relevant] = 1;
        const auto place = static_cast<double>(j + 1);
        if (hits++ == 0) first = 1 / place;
        precisions += static_cast<double>(hits) / place;
        gain += 1 / std::log2(place + 1);
    }
    const auto found_items = static_cast<double>(hits);
    const std::int64_t reachable = std::min(k, n_relevant);
    out[hit_rate] = hits > 0 ? 1 : 0;
    out[precision] = found_items / static_cast<double>(k);
    out[recall] = found_items / static_cast<double>(n_relevant);
    out[recall_capped] = found_items / static_cast<double>(reachable);
    out[ndcg] = gain / ideal[reachable];
    out[average_precision] = precisions / static_cast<double>(reachable);
    out[reciprocal_rank] = first;
}

// Scores of given items for one query row, by the kernel that scores the panels: the same bits, so
// that ties are seen.
template <class T>
class GatheredScores {
public:
    const T* operator()(const Scoring<T>& q, std::int64_t row, const std::int32_t* items,
                        std::int64_t n) {
        const auto& kernel = kernels<T>();
        const std::int64_t stride = q.items.stride;
        bias_.resize(static_cast<std::size_t>(n));
        scores_.resize(static_cast<std::size_t>(padded(n)));
        if (panel_.size() < static_cast<std::size_t>(padded(n) * stride))
            panel_ = Buffer<T>(static_cast<std::size_t>(padded(n) * stride));
        for (std::int64_t j = 0; j < n && q.item_bias != nullptr; ++j)
            bias_[j] = q.item_bias[items[j]];
        kernel.pack(q.items, items, 0, n, panel_.data());
        kernel.score(q.queries, row, 1, panel_.data(), padded(n),
                     q.item_bias != nullptr ? bias_.data() : nullptr, n, scores_.data());
        return scores_.data();
    }

private:
    std::vector<T> bias_, scores_;
    Buffer<T> panel_;
};

// Twice the number of `sorted` scores above s, a tie counting one.
template <class T>
std::int64_t twice_won(const std::vector<T>& sorted, T s) {
    const auto n = static_cast<std::int64_t>(sorted.size());
    if (s < sorted.front()) return 2 * n;
    const auto [equal, above] = std::equal_range(sorted.begin(), sorted.end(), s);
    return 2 * (sorted.end() - above) + (above - equal);
}

// One user's relevant items that can be ranked, and the pairs seen so far.
template <class T>
struct Pairs {
    std::vector<T> sorted;  // scores of the relevant items
    std::int64_t others = 0;
    std::int64_t twice = 0;

    void start(const Scoring<T>& q, const Relevant& relevant, std::int64_t row,
               GatheredScores<T>& scores) {
        std::vector<std::int32_t> items;
        Cursor excluded[] = {{q.exclude[0], row}, {q.exclude[1], row}};
        for (std::int64_t e = relevant.indptr[row]; e < relevant.indptr[row + 1]; ++e)
            if (!excluded[0].holds(relevant.indices[e]) && !excluded[1].holds(relevant.indices[e]))
                items.push_back(relevant.indices[e]);
        const auto n = static_cast<std::int64_t>(items.size());
        if (n == 0) return;
        const T* found = scores(q, row, items.data(), n);
        for (std::int64_t j = 0; j < n; ++j) {
            if (std::isnan(found[j]))
                sorted.push_back(-std::numeric_limits<T>::infinity());  // the worst there can be
            else
                sorted.push_back(found[j]);
        }
        std::sort(sorted.begin(), sorted.end());
        // The walk over all items will meet these too: they are not pairs.
        for (std::int64_t j = 0; j < n; ++j)
            if (!std::isnan(found[j])) {
                --others;
                twice -= twice_won(sorted, found[j]);
            }
    }

    void meet(const T* row, std::int64_t n) {
        if (sorted.empty()) return;
        for (std::int64_t j = 0; j < n; ++j) others += row[j] == row[j];
        if (sorted.size() <= kFew) {
            for (const T score : sorted) {
                std::int32_t below = 0, equal = 0;
                for (std::int64_t j = 0; j < n; ++j) {
                    below += row[j] < score;
                    equal += row[j] == score;
                }
                twice += 2 * below + equal;
            }
            return;
        }
        for (std::int64_t j = 0; j < n; ++j)
            if (!std::isnan(row[j])) twice += twice_won(sorted, row[j]);
    }

    double share() const {
        if (sorted.empty() || others == 0) return kNan;
        return static_cast<double>(twice) /
               (2.0 * static_cast<double>(others) * static_cast<double>(sorted.size()));
    }
};

}  // namespace

void list_metrics(const Lists& lists, const Relevant& relevant, std::int64_t k, double* out,
                  int n_threads, Control& control) {
    std::int64_t longest = 0;
    for (std::int64_t row = 0; row < lists.n_rows; ++row)
        longest = std::max(longest, relevant.length(row));
    const std::vector<double> ideal = ideal_gains(std::min(k, longest));
    for_chunks(n_threads, (lists.n_rows + kListRows - 1) / kListRows, control,
               [&](std::int64_t chunk, int) {
                   std::vector<char> found;
                   const std::int64_t end = std::min(lists.n_rows, (chunk + 1) * kListRows);
                   for (std::int64_t row = chunk * kListRows; row < end; ++row)
                       list_row(lists.items + row * lists.width, lists.width,
                                relevant.indices + relevant.indptr[row], relevant.length(row), k,
                                ideal, found, out + row * n_list_metrics);
               });
}

template <class T>
void run_auc(const Scoring<T>& query, const Relevant& relevant, double* out, Control& control) {
    for_scored_chunks(query, positions_of(query), control, [&](std::int64_t first, std::int64_t n, auto&& score_all) {
        GatheredScores<T> scores;
        std::vector<Pairs<T>> pairs(static_cast<std::size_t>(n));
        for (std::int64_t i = 0; i < n; ++i) pairs[i].start(query, relevant, first + i, scores);
        score_all([&](std::int64_t i, std::int64_t begin, std::int64_t end, const T* row) {
            pairs[i].meet(row, end - begin);
        });
        for (std::int64_t i = 0; i < n; ++i) out[first + i] = pairs[i].share();
    });
}

template void run_auc<float>(const Scoring<float>&, const Relevant&, double*, Control&);
template void run_auc<double>(const Scoring<double>&, const Relevant&, double*, Control&);

}  // namespace matfac
