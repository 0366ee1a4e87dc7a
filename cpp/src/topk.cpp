#include "matfac/topk.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "matfac/kernels.hpp"
#include "matfac/memory.hpp"

namespace matfac {

namespace {

constexpr std::int64_t kQueries = 64;  // per hand-out
// Per panel: panel and scores stay in the L2 cache, and rows of 14 (or 28) cache lines do not fall
// on the same few sets of the L1 cache, as rows of a power of two would.
constexpr std::int64_t kItems = 224;
constexpr std::int64_t kScan = 16;     // scores looked at together

template <class T>
struct Candidate {
    T score;
    std::int32_t id;
    bool better(const Candidate& other) const {
        return score > other.score || (score == other.score && id < other.id);
    }
};

// The best k seen so far; the root of the heap is the worst of them.
template <class T>
class Best {
public:
    explicit Best(std::int64_t k) : k_(static_cast<std::size_t>(k)) { heap_.reserve(k_); }
    void clear() {
        heap_.clear();
        threshold = -std::numeric_limits<T>::infinity();
    }
    // Items come in rising order, so an equal score never displaces.
    void offer(T score, std::int32_t id) {
        if (!(score > threshold)) return;
        if (heap_.size() == k_) {
            std::pop_heap(heap_.begin(), heap_.end(), worst_first);
            heap_.back() = {score, id};
        } else {
            heap_.push_back({score, id});
        }
        std::push_heap(heap_.begin(), heap_.end(), worst_first);
        if (heap_.size() == k_) threshold = heap_.front().score;
    }
    void write(std::int32_t* ids, T* scores) {
        std::sort_heap(heap_.begin(), heap_.end(), worst_first);
        for (std::size_t i = 0; i < k_; ++i) {
            ids[i] = i < heap_.size() ? heap_[i].id : -1;
            scores[i] = i < heap_.size() ? heap_[i].score : -std::numeric_limits<T>::infinity();
        }
    }
    T threshold = -std::numeric_limits<T>::infinity();

private:
    static bool worst_first(const Candidate<T>& a, const Candidate<T>& b) { return a.better(b); }
    std::size_t k_;
    std::vector<Candidate<T>> heap_;
};

template <class T>
void scan(const T* scores, std::int64_t begin, std::int64_t end, Best<T>& best) {
    for (std::int64_t j = begin; j < end; j += kScan) {
        const std::int64_t n = std::min(kScan, end - j);
        const T* s = scores + (j - begin);
        int any = 0;
        for (std::int64_t i = 0; i < n; ++i) any |= s[i] > best.threshold;
        if (any == 0) continue;
        for (std::int64_t i = 0; i < n; ++i) best.offer(s[i], static_cast<std::int32_t>(j + i));
    }
}

}  // namespace

template <class T>
void run_top_k(const TopK<T>& q, std::int32_t* ids, T* scores, Control& control) {
    const auto& kernel = kernels<T>();
    const std::int64_t stride = q.items.stride, n_items = q.items.n_rows;
    const std::int64_t panels = (n_items + kItems - 1) / kItems, panel_size = stride * kItems;
    Buffer<T> packed(static_cast<std::size_t>(panels * panel_size));
    for_chunks(q.n_threads, panels, control, [&](std::int64_t p, int) {
        kernel.pack(q.items, p * kItems, std::min(n_items, (p + 1) * kItems),
                    packed.data() + p * panel_size);
    });

    const std::int64_t chunks = (q.queries.n_rows + kQueries - 1) / kQueries;
    for_chunks(q.n_threads, chunks, control, [&](std::int64_t chunk, int) {
        const std::int64_t first = chunk * kQueries;
        const std::int64_t n = std::min(kQueries, q.queries.n_rows - first);
        thread_local std::vector<T> tile;
        tile.resize(static_cast<std::size_t>(kQueries * kItems));
        std::vector<Best<T>> best(static_cast<std::size_t>(n), Best<T>(q.k));
        std::vector<std::int64_t> next(static_cast<std::size_t>(n), 0);
        for (std::int64_t i = 0; i < n && q.exclude_indptr != nullptr; ++i)
            next[i] = q.exclude_indptr[first + i];
        for (std::int64_t p = 0; p < panels; ++p) {
            const std::int64_t begin = p * kItems, end = std::min(n_items, begin + kItems);
            const std::int64_t width = padded(end - begin);
            kernel.score(q.queries, first, n, packed.data() + p * panel_size, width,
                         q.item_bias != nullptr ? q.item_bias + begin : nullptr, end - begin,
                         tile.data());
            for (std::int64_t i = 0; i < n; ++i) {
                T* row = tile.data() + i * width;
                for (; q.exclude_indptr != nullptr && next[i] < q.exclude_indptr[first + i + 1] &&
                       q.exclude_indices[next[i]] < end;
                     ++next[i])
                    row[q.exclude_indices[next[i]] - begin] = -std::numeric_limits<T>::infinity();
                scan(row, begin, end, best[i]);
            }
        }
        for (std::int64_t i = 0; i < n; ++i)
            best[i].write(ids + (first + i) * q.k, scores + (first + i) * q.k);
    });
}

template void run_top_k<float>(const TopK<float>&, std::int32_t*, float*, Control&);
template void run_top_k<double>(const TopK<double>&, std::int32_t*, double*, Control&);

}  // namespace matfac
