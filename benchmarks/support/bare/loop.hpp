// What a user would write to time a model in C++: a loop around the runtime, with nothing of hilgate in it.
//
//     bare ARTIFACT INPUTS SIZE,SIZE,... [restore]
//
// INPUTS holds float32 sets of one input of that shape, taken in turn; with `restore` each is written anew before it is
// run, outside of what is timed, for a model that writes into its input. For each line with a number on stdin it infers
// as often and writes the durations in nanoseconds, a JSON list, on a line of stdout.
#pragma once

#include <chrono>
#include <cstdint>
#include <fstream>
#include <functional>
#include <iostream>
#include <iterator>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

struct Sets {
    std::vector<std::int64_t> shape;
    std::vector<std::vector<float>> values;
};

inline Sets read_sets(const char* path, const std::string& shape) {
    Sets sets;
    std::istringstream sizes(shape);
    for (std::string size; std::getline(sizes, size, ',');) sets.shape.push_back(std::stoll(size));
    const auto count = std::accumulate(sets.shape.begin(), sets.shape.end(), std::int64_t{1}, std::multiplies<>());
    std::vector<float> set(static_cast<std::size_t>(count));
    std::ifstream file(path, std::ios::binary);
    // The elements are bytes in the file.
    while (file.read(reinterpret_cast<char*>(set.data()), static_cast<std::streamsize>(set.size() * sizeof(float)))) {
        sets.values.push_back(set);
    }
    return sets;
}

// `run` infers once with the set of that number; `before` comes first, and is not timed.
template <typename Run, typename Before>
void serve(std::size_t sets, Run run, Before before) {
    for (std::string line; std::getline(std::cin, line);) {
        std::vector<std::int64_t> durations(std::stoull(line));
        for (std::size_t index = 0; index < durations.size(); ++index) {
            before(index % sets);
            const auto start = std::chrono::steady_clock::now();
            run(index % sets);
            const auto stop = std::chrono::steady_clock::now();
            durations[index] = std::chrono::duration_cast<std::chrono::nanoseconds>(stop - start).count();
        }
        std::cout << '[';
        for (std::size_t index = 0; index < durations.size(); ++index) {
            std::cout << (index == 0 ? "" : ",") << durations[index];
        }
        std::cout << ']' << std::endl;
    }
}
