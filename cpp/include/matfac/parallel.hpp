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
class Control {
public:
    std::function<bool()> interrupted;  // asked by the calling thread only, in `stopped`
    std::atomic<bool> stop{false};      // once set, no further work starts

    // Whether to stop. Thread 0 is the caller and asks now and then: rarely enough to cost nothing,
    // often enough for a prompt Ctrl-C. To be called at least every few tens of milliseconds.
    bool stopped(int thread) {
        if (thread == 0 && interrupted && !stop) {  // once: a handler may not follow an exception
            const auto now = Clock::now();
            if (now - asked_ >= std::chrono::milliseconds(30)) {
                asked_ = now;
                if (interrupted()) stop = true;
            }
        }
        return stop.load(std::memory_order_relaxed);
    }

private:
    using Clock = std::chrono::steady_clock;
    Clock::time_point asked_ = Clock::now();
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

// As many threads as so many multiplications are worth: to wake others takes microseconds where their
// cores are free, and a tick of the scheduler, some milliseconds, where they are not.
inline int worth_threads(int n_threads, std::int64_t multiplications) {
    return multiplications < std::int64_t{1} << 20 ? 1 : n_threads;
}

// body(chunk, thread) for chunks 0..n_chunks, handed out in order to whoever is free. A body that
// may take more than some tens of milliseconds asks control.stopped(thread) itself.
template <class Body>
void for_chunks(int n_threads, std::int64_t n_chunks, Control& control, Body&& body) {
    if (n_threads > n_chunks) n_threads = n_chunks > 1 ? static_cast<int>(n_chunks) : 1;
    std::atomic<std::int64_t> next{0};
    in_parallel(n_threads, control, [&](int thread) {
        while (!control.stopped(thread)) {
            const std::int64_t chunk = next.fetch_add(1, std::memory_order_relaxed);
            if (chunk >= n_chunks) return;
            body(chunk, thread);
        }
    });
}

// Has the system give a large array, all of it still to be written, its pages. First writes here and
// there would wait for hundreds of huge pages between two looks at `control`.
template <class T>
void touch_pages(T* array, std::int64_t n, int n_threads, Control& control) {
    constexpr std::int64_t page = 4096 / sizeof(T), piece = 512 * page;
    if (n < 2 * piece) return;
    for_chunks(n_threads, (n + piece - 1) / piece, control, [&](std::int64_t chunk, int) {
        const std::int64_t end = chunk * piece + piece;
        for (std::int64_t i = chunk * piece; i < end && i < n; i += page) array[i] = T(0);
    });
}

}  // namespace matfac
