// The closed loop: one caller, one inference after the other, each timed with the monotonic clock; the same protocol as
// that of harness/agent/timing.py.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

namespace hilgate {

using Clock = std::chrono::steady_clock;
using Nanoseconds = std::int64_t;

inline Nanoseconds now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

class Prepared;
using Sets = std::vector<std::unique_ptr<Prepared>>;

// Runs a prepared set of inputs once.
using RunSet = std::function<void(Prepared&)>;
// Returns prepared sets for the next inferences, at most so many (see ring.hpp); its own duration is not timed.
using Renew = std::function<const Sets&(std::size_t)>;

// Times at most `samples` inferences, fewer when the budget is used up, but at least one. Each set is run once.
std::vector<Nanoseconds> timed_loop(const RunSet& run, const Renew& renew, std::int64_t samples, Nanoseconds budget);

struct WarmUp {
    std::int64_t iterations = 0;
    Nanoseconds elapsed = 0;
    bool settled = false;  // whether it stopped getting faster
    Nanoseconds median = 0;
};

// Runs until blocks stop getting faster, or the budget is used up.
WarmUp warm_up(const RunSet& run, const Renew& renew, Nanoseconds budget);

// Estimates what an operator takes in one of `count` inferences: the medians of its first calls, its second calls, ...,
// added up.
double of_one(const std::vector<double>& durations, int count);

// The time since the kernel started this process (resolution: a clock tick, mostly 10 ms).
Nanoseconds since_process_start();

}  // namespace hilgate
