// The state of one deployment, from the first request to the last, and the steps that several operations share.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "engine.hpp"
#include "frame.hpp"
#include "ring.hpp"
#include "timing.hpp"

namespace hilgate {

struct Session {
    // The paths of an engine's library, and of the runtime's library that it needs.
    Session(std::string engine_library, std::string runtime_library)
        : engine_path(std::move(engine_library)), runtime(std::move(runtime_library)) {}

    // Throws std::runtime_error before an artifact is loaded.
    [[nodiscard]] Engine& loaded() const;
    void check_sets(const std::vector<Tensor>& tensors) const;
    void check_fills(const Json& fills) const;
    [[nodiscard]] std::vector<Tensor> expanded(const Json& fills) const;
    [[nodiscard]] std::vector<std::vector<Tensor>> sets_of(const std::vector<Tensor>& tensors) const;
    // Runs one set, which is copied first; returns how long the inference took.
    Nanoseconds run_once(Engine& target, const std::vector<Tensor>& inputs);
    // The inputs of a loop: fills, kept sets, or sets that are taken in turn.
    [[nodiscard]] Ring::Source source(const Frame& request, std::shared_ptr<Spread>& spread) const;
    void note(const std::set<std::string>& inputs);

    std::string engine_path;
    std::string runtime;
    std::unique_ptr<Engine> engine;
    std::vector<std::string> input_names;
    Columns kept;
    std::set<std::string> written;  // inputs that the model was seen to write into
    Nanoseconds waited = 0;         // for the host; subtracted from the load time
};

}  // namespace hilgate
