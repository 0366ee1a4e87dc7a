// Threads: the only file that knows OpenMP.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>

#ifdef _OPENMP
#include <omp.h>
#endif

namespace matfac {

// Shared by the caller and the threads of one native call.
struct Control {
    std::function<bool()> interrupted;  // asked by the calling thread only, between chunks
    std::atomic<bool> stop{false};      // once set, no further chunk starts
};

inline int max_threads() {
#ifdef _OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}

inline const char* openmp_version() {
#ifdef _OPENMP
#define MATFAC_TEXT_(x) #x
#define MATFAC_TEXT(x) MATFAC_TEXT_(x)
    return MATFAC_TEXT(_OPENMP);
#else
    return "";
#endif
}

// libgomp's pool does not survive fork(): a child that meets it waits for ever.
// Called before a fork, this frees the forking thread's pool; the next region makes a new one.
inline void release_thread_pool() {
#if defined(_OPENMP) && (_OPENMP >= 201811 || (defined(__GNUC__) && __GNUC__ >= 9))
    omp_pause_resource_all(omp_pause_hard);
#endif
}

// The caller's own poll rate: rare enough to cost nothing, often enough for a prompt Ctrl-C.
class Poll {
public:
    explicit Poll(Control& control) : control_(control), last_(Clock::now()) {}
    void operator()() {
        if (!control_.interrupted) return;
        const auto now = Clock::now();
        if (now - last_ < std::chrono::milliseconds(30)) return;
        last_ = now;
        if (control_.interrupted()) control_.stop = true;
    }

private:
    using Clock = std::chrono::steady_clock;
    Control& control_;
    Clock::time_point last_;
};

// Runs body(thread) once in each of n_threads threads. No exception leaves a region:
// the first is kept, the rest of the work is stopped, and it is thrown again here.
template <class Body>
void in_parallel(int n_threads, Control& control, Body&& body) {
    std::exception_ptr error;
    std::atomic<bool> taken{false};
    const auto guarded = [&](int thread) {
        try {
            body(thread);
        } catch (...) {
            if (!taken.exchange(true)) error = std::current_exception();
            control.stop = true;
        }
    };
#ifdef _OPENMP
    if (n_threads > 1) {
#pragma omp parallel num_threads(n_threads)
        guarded(omp_get_thread_num());
    } else {
        guarded(0);
    }
#else
    (void)n_threads;
    guarded(0);
#endif
    if (error) std::rethrow_exception(error);
}

// body(chunk, thread) for chunks 0..n_chunks, handed out in order to whoever is free.
template <class Body>
void for_chunks(int n_threads, std::int64_t n_chunks, Control& control, Body&& body) {
    if (n_threads > n_chunks) n_threads = n_chunks > 1 ? static_cast<int>(n_chunks) : 1;
    std::atomic<std::int64_t> next{0};
    in_parallel(n_threads, control, [&](int thread) {
        Poll poll(control);
        for (;;) {
            if (thread == 0) poll();
            if (control.stop.load(std::memory_order_relaxed)) return;
            const std::int64_t chunk = next.fetch_add(1, std::memory_order_relaxed);
            if (chunk >= n_chunks) return;
            body(chunk, thread);
        }
    });
}

}  // namespace matfac
