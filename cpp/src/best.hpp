// The best of the items offered to a query, whatever the order they come in.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace matfac {

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
    Best(std::int64_t k, std::int64_t at_most) : k_(static_cast<std::size_t>(k)) {
        heap_.reserve(static_cast<std::size_t>(std::min(k, at_most)));
    }
    void offer(T score, std::int32_t id) {
        if (!(score > threshold)) return;
        const Candidate<T> found{score, id};
        if (heap_.size() == k_) {
            if (!found.better(heap_.front())) return;
            std::pop_heap(heap_.begin(), heap_.end(), worst_first);
            heap_.back() = found;
        } else {
            heap_.push_back(found);
        }
        std::push_heap(heap_.begin(), heap_.end(), worst_first);
        if (heap_.size() == k_)
            threshold = std::nextafter(heap_.front().score, -std::numeric_limits<T>::infinity());
    }
    void write(std::int32_t* ids, T* scores) {
        std::sort_heap(heap_.begin(), heap_.end(), worst_first);
        for (std::size_t i = 0; i < k_; ++i) {
            ids[i] = i < heap_.size() ? heap_[i].id : -1;
            scores[i] = i < heap_.size() ? heap_[i].score : -std::numeric_limits<T>::infinity();
        }
    }
    // What is to be listed is above it; an equal score may be, with a lower number.
    T threshold = -std::numeric_limits<T>::infinity();

private:
    static bool worst_first(const Candidate<T>& a, const Candidate<T>& b) { return a.better(b); }
    std::size_t k_;
    std::vector<Candidate<T>> heap_;
};

}  // namespace matfac
