// What the runner can do: the same operations as harness/agent/operations.py, which says what each takes and answers.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine.hpp"
#include "frame.hpp"
#include "timing.hpp"

namespace hilgate {

using Reply = std::pair<Json, std::vector<Tensor>>;

// An input that was asked for could not be made here: nobody has asked the model yet.
class InputError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

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
    using Sets = std::vector<std::unique_ptr<Prepared>>;

    Reply load(const Frame& request);
    Reply infer(const Frame& request);
    Reply keep(const Frame& request);
    Reply warm_up(const Frame& request);
    Reply measure(const Frame& request);
    Reply profile(const Frame& request);

    Engine& loaded();
    void check_sets(const std::vector<Tensor>& tensors) const;
    std::unique_ptr<Prepared> expanded(Engine& engine, const Json& fills) const;
    Sets prepared(Engine& engine, const std::vector<Tensor>& tensors) const;

    std::string engine_path_;
    std::string runtime_;
    std::unique_ptr<Engine> engine_;
    std::vector<std::string> input_names_;
    std::vector<std::vector<Tensor>> kept_;  // of each input
};

}  // namespace hilgate
