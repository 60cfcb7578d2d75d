// The interface between the runner and a runtime. An engine is a separate shared library, opened when a model is to be
// loaded: so the runtime's memory is measured apart from the runner's, and a library that cannot be opened is reported
// as an answer.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "frame.hpp"
#include "tensor.hpp"

namespace hilgate {

// The device file's settings, the same for every backend.
struct Settings {
    int threads = 1;
    int interop_threads = 1;
    bool flush_denormals = false;
    Json options;  // the backend's own
};

// One set of inputs in the runtime's own form.
class Prepared {
public:
    Prepared() = default;
    Prepared(const Prepared&) = delete;
    Prepared& operator=(const Prepared&) = delete;
    virtual ~Prepared() = default;
};

// The durations of an operator's calls, in nanoseconds.
struct Operator {
    std::string kind;
    std::string name;  // "" where the runtime knows only the kind
    std::vector<double> calls_ns;
};

class Engine {
public:
    Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    virtual ~Engine() = default;

    virtual void load(const std::string& artifact) = 0;
    // Prepares inputs, which are in the order of the model file, in the tensors' own memory: so the runner can tell
    // whether the model writes into them. Not timed.
    virtual std::unique_ptr<Prepared> prepare(const std::vector<NamedTensor>& inputs) = 0;
    // Runs one inference, which is timed. The outputs of the one before are freed.
    virtual void run(Prepared& prepared) = 0;
    // The outputs of the last inference; the next may overwrite them.
    virtual std::vector<NamedTensor> outputs() = 0;
    // Profiles `count` inferences; each runs the inputs that `take` returns.
    virtual std::vector<Operator> profile(const std::function<Prepared&()>& take, int count) = 0;
    // NAME: VERSION of the libraries that ran.
    virtual Json versions() = 0;
    // The settings in effect.
    virtual Json settings() = 0;
};

// The only symbol that an engine's library exports.
inline constexpr const char* make_engine_symbol = "hilgate_make_engine";
using MakeEngine = Engine* (*)(const Settings&);

}  // namespace hilgate
