#include "matfac/topk.hpp"

#include <algorithm>
#include <limits>
#include <vector>

namespace matfac {

namespace {

constexpr std::int64_t kScan = 16;  // scores looked at together

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
void run_top_k(const Scoring<T>& query, std::int64_t k, std::int32_t* ids, T* scores,
               Control& control) {
    for_scored_chunks(query, control, [&](std::int64_t first, std::int64_t n, auto&& score_all) {
        std::vector<Best<T>> best(static_cast<std::size_t>(n), Best<T>(k));
        score_all([&](std::int64_t i, std::int64_t begin, std::int64_t end, const T* row) {
            scan(row, begin, end, best[i]);
        });
        for (std::int64_t i = 0; i < n; ++i)
            best[i].write(ids + (first + i) * k, scores + (first + i) * k);
    });
}

template void run_top_k<float>(const Scoring<float>&, std::int64_t, std::int32_t*, float*,
                               Control&);
template void run_top_k<double>(const Scoring<double>&, std::int64_t, std::int32_t*, double*,
                                Control&);

}  // namespace matfac
