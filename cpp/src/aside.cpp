#include "matfac/aside.hpp"

#include <chrono>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace matfac {

namespace {

std::mutex mutex;  // of all below and of each call's state
std::condition_variable ended;
int running = 0;

struct Call {
    std::function<void()> work;
    std::exception_ptr error;
    bool done = false;

    void run() {
        try {
            work();
        } catch (...) {
            error = std::current_exception();
        }
        const std::lock_guard lock(mutex);
        done = true;
        --running;
        ended.notify_all();
    }
};

}  // namespace

bool run_aside(Control& control, std::function<void()> work) {
    const auto call = std::make_shared<Call>();
    call->work = std::move(work);
    std::unique_lock lock(mutex);
    std::thread([call] { call->run(); }).detach();
    ++running;
    while (!ended.wait_for(lock, std::chrono::milliseconds(20), [&] { return call->done; })) {
        lock.unlock();  // a signal handler may run here
        if (control.stopped(0)) return false;
        lock.lock();
    }
    if (call->error) std::rethrow_exception(call->error);
    return true;
}

void wait_for_calls_aside() {
    std::unique_lock lock(mutex);
    ended.wait(lock, [] { return running == 0; });
}

}  // namespace matfac
