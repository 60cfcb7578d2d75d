// What the runner can do: the same operations as harness/agent/operations.py, which says what each takes and answers.
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

using Reply = std::pair<Json, std::vector<Tensor>>;

class Operations {
public:
    // The paths of an engine's library, and of the runtime's that it stands on.
    Operations(std::string engine, std::string runtime)
        : engine_path_(std::move(engine)), runtime_(std::move(runtime)) {}

    // Carries out request.header["op"]; throws whatever that raises.
    Reply operator()(const Frame& request);

    // For the host; taken off the load time.
    Nanoseconds waited = 0;

private:
    Reply load(const Frame& request);
    Reply infer(const Frame& request);
    Reply keep(const Frame& request);
    Reply warm_up(const Frame& request);
    Reply measure(const Frame& request);
    Reply profile(const Frame& request);

    Engine& loaded();
    void check_sets(const std::vector<Tensor>& tensors) const;
    void check_fills(const Json& fills) const;
    [[nodiscard]] std::vector<Tensor> expanded(const Json& fills) const;
    [[nodiscard]] std::vector<std::vector<Tensor>> sets_of(const std::vector<Tensor>& tensors) const;
    // Runs one set, which is copied first; returns what the inference took.
    Nanoseconds run_once(Engine& engine, const std::vector<Tensor>& inputs);
    // What a loop runs: fills, kept sets, or sets that are taken in turn.
    [[nodiscard]] Ring::Source source(const Frame& request, std::shared_ptr<Spread>& spread) const;
    void note(const std::set<std::string>& written);

    std::string engine_path_;
    std::string runtime_;
    std::unique_ptr<Engine> engine_;
    std::vector<std::string> input_names_;
    Columns kept_;
    std::set<std::string> written_;  // inputs that the model was seen to write into
};

}  // namespace hilgate
