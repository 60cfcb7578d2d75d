#include "timing.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <limits>
#include <numeric>

#include "engine.hpp"
#include "record.hpp"

namespace hilgate {
namespace {

// A warm-up block lasts about this long, so that its median means something for fast models too ...
constexpr Nanoseconds block_ns = 20'000'000;
// ... within these counts.
constexpr std::int64_t fewest = 3;
constexpr std::int64_t most = 1000;
// Warm-up is over when this many blocks in a row were no more than 3 % faster than the fastest before them.
constexpr int still_blocks = 2;
constexpr double improvement = 0.97;

// Like Python's statistics.median: for an even count the mean of the middle two.
template <typename Number>
double median_of(std::vector<Number> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    const auto upper = static_cast<double>(*middle);
    if (values.size() % 2 != 0) return upper;
    return (upper + static_cast<double>(*std::max_element(values.begin(), middle))) / 2;
}

}  // namespace

std::vector<Nanoseconds> timed_loop(const RunSet& run, const Renew& renew, std::int64_t samples, Nanoseconds budget) {
    const auto wanted = static_cast<std::size_t>(samples);
    std::vector<Nanoseconds> durations(wanted);  // written to, so that its pages do not come with the inferences
    durations.clear();
    const auto end = now_ns() + budget;
    while (durations.size() < wanted) {
        for (const auto& set : renew(wanted - durations.size())) {
            const auto start = now_ns();
            run(*set);
            const auto stop = now_ns();
            durations.push_back(stop - start);
            if (stop > end) return durations;
        }
    }
    return durations;
}

WarmUp warm_up(const RunSet& run, const Renew& renew, Nanoseconds budget) {
    const auto start = now_ns();
    auto median = static_cast<double>(timed_loop(run, renew, 1, 0).front());
    auto best = std::numeric_limits<double>::infinity();
    WarmUp result;
    result.iterations = 1;
    int still = 0;
    Nanoseconds left = 0;
    while (still < still_blocks && (left = start + budget - now_ns()) > 0) {
        const auto fitting = static_cast<std::int64_t>(static_cast<double>(block_ns) / std::max(median, 1.0));
        const auto block = timed_loop(run, renew, std::clamp(fitting, fewest, most), left);
        result.iterations += static_cast<std::int64_t>(block.size());
        median = median_of(block);
        still = median < best * improvement ? 0 : still + 1;
        best = std::min(best, median);
    }
    result.elapsed = now_ns() - start;
    result.settled = still >= still_blocks;
    result.median = static_cast<Nanoseconds>(median);
    return result;
}

double of_one(const std::vector<double>& durations, int count) {
    const auto runs = static_cast<std::size_t>(count);
    if (durations.size() % runs != 0) {  // runs differ in how often they call: the mean is all there is
        return std::accumulate(durations.begin(), durations.end(), 0.0) / count;
    }
    const auto calls = durations.size() / runs;
    double total = 0;
    for (std::size_t call = 0; call < calls; ++call) {
        std::vector<double> same;
        for (std::size_t index = call; index < durations.size(); index += calls) same.push_back(durations[index]);
        total += median_of(same);
    }
    return total;
}

Nanoseconds since_process_start() {
    // Both count from the same instant: the start in ticks since boot, CLOCK_BOOTTIME in nanoseconds.
    timespec now{};
    clock_gettime(CLOCK_BOOTTIME, &now);
    const Nanoseconds second = 1'000'000'000;
    return now.tv_sec * second + now.tv_nsec - start_ticks() * (second / sysconf(_SC_CLK_TCK));
}

}  // namespace hilgate
