// Long calls into libraries that cannot be stopped: the caller can leave, they end in their own time.
#pragma once
#include <functional>

#include "matfac/parallel.hpp"

namespace matfac {

// Runs work() in a thread of its own until it ends, true, or until control says stop, false: then it
// goes on alone, so it has to own what it uses. What it throws is thrown here.
bool run_aside(Control& control, std::function<void()> work);

// Waits for the calls that were left. To be called before a fork and at exit, which would take
// from under them what they use: OpenBLAS hangs then.
void wait_for_calls_aside();

}  // namespace matfac
