// What the runner asks of a runtime. An engine is a shared library of its own, opened when a model is to be loaded: so
// what the runtime takes is seen apart from what the runner takes, and a library that does not start is an answer.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "frame.hpp"
#include "tensor.hpp"

namespace hilgate {

// What the device file says, alike for every backend.
struct Settings {
    int threads = 1;
    int interop_threads = 1;
    bool flush_denormals = false;
    Json options;  // the backend's own
};

// One set of inputs as the runtime takes them.
class Prepared {
public:
    Prepared() = default;
    Prepared(const Prepared&) = delete;
    Prepared& operator=(const Prepared&) = delete;
    virtual ~Prepared() = default;
};

// What an operator took: each of its calls, in nanoseconds.
struct Operator {
    std::string kind;
    std::string name;  // "" where the runtime knows the kind only
    std::vector<double> calls_ns;
};

class Engine {
public:
    Engine() = default;
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;
    virtual ~Engine() = default;

    virtual void load(const std::string& artifact) = 0;
    // Inputs in the order of the model file, in the tensors' own memory: by that the runner sees whether the model
    // writes into them. Not timed.
    virtual std::unique_ptr<Prepared> prepare(const std::vector<NamedTensor>& inputs) = 0;
    // One inference: what is timed. The outputs of the one before are let go.
    virtual void run(Prepared& prepared) = 0;
    // Of the inference before; they may be overwritten by the next.
    virtual std::vector<NamedTensor> outputs() = 0;
    // What is run is taken anew each time.
    virtual std::vector<Operator> profile(const std::function<Prepared&()>& take, int count) = 0;
    // NAME: VERSION of what ran.
    virtual Json versions() = 0;
    // What was really set.
    virtual Json settings() = 0;
};

// The one symbol of an engine's library.
inline constexpr const char* make_engine_symbol = "hilgate_make_engine";
using MakeEngine = Engine* (*)(const Settings&);

}  // namespace hilgate
