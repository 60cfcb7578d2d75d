// Drives the paced loop by a clock that only a recorded list of durations moves, so that it can be compared with the
// agent's: the same releases run, the same dropped.
//
//   replay_pace < WORDS
//
// WORDS: the period, drop or queue, by how much the model is behind, how many releases, the budget, the ring's size, how
// long making inputs takes, how late each wait ends, and then the durations, which start over at their end. All times in
// nanoseconds. A line for each release: when it was due, started and ended.
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "../src/engine.hpp"
#include "../src/pacing.hpp"

using namespace hilgate;

namespace {

void replay() {
    Nanoseconds period = 0;
    Nanoseconds behind = 0;
    Nanoseconds budget = 0;
    Nanoseconds making = 0;
    Nanoseconds lateness = 0;
    std::int64_t releases = 0;
    std::size_t ring = 0;
    std::string late;
    std::cin >> period >> late >> behind >> releases >> budget >> ring >> making >> lateness;
    std::vector<Nanoseconds> durations;
    for (Nanoseconds duration = 0; std::cin >> duration;) durations.push_back(duration);

    Nanoseconds now = 1'000'000'007;  // a clock's zero means nothing
    std::size_t runs = 0;
    Sets sets;
    const PaceClock clock([&] { return now; },
                          [&](Nanoseconds due) { now = due > now ? due + lateness : now; });
    const auto renew = [&](std::size_t wanted) -> const Sets& {
        sets.clear();
        for (std::size_t count = std::min(wanted, ring); count > 0; --count) sets.push_back(std::make_unique<Prepared>());
        now += making;
        return sets;
    };
    const auto run = [&](Prepared& /*set*/) { now += durations.at(runs++ % durations.size()); };
    for (const auto& release : paced_loop(run, renew, Pace(period, late, behind), releases, budget, clock)) {
        std::cout << release[0] << ' ' << release[1] << ' ' << release[2] << '\n';
    }
}

}  // namespace

int main() {
    try {
        replay();
    } catch (const std::exception& error) {
        std::cerr << "replay_pace: " << error.what() << '\n';
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}
