#include "operations.hpp"

#include <dlfcn.h>

#include <stdexcept>

#include "expand.hpp"
#include "telemetry.hpp"

namespace hilgate {
namespace {

// Libraries stay open until the process ends: what they have started runs on.
void* opened(const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw std::runtime_error(dlerror());
    return library;
}

std::unique_ptr<Engine> make_engine(const std::string& runtime, const std::string& path, const Settings& settings) {
    opened(runtime);  // by its own path: the engine, which needs it by name, then finds it there
    void* symbol = dlsym(opened(path), make_engine_symbol);
    if (symbol == nullptr) throw std::runtime_error(dlerror());
    // What dlsym returns is a function's address (POSIX).
    return std::unique_ptr<Engine>(reinterpret_cast<MakeEngine>(symbol)(settings));  // NOLINT(*-reinterpret-cast)
}

template <typename Values>
Tensor int64_tensor(Values values) {
    const auto kept = std::make_shared<Values>(std::move(values));
    const auto size = static_cast<std::int64_t>(kept->size());
    // Any object may be looked at as bytes.
    const auto* bytes = reinterpret_cast<const std::byte*>(kept->data());  // NOLINT(*-reinterpret-cast)
    return {DType::int64, {size}, bytes, kept};
}

std::vector<Tensor> without_names(std::vector<NamedTensor> named) {
    std::vector<Tensor> tensors;
    tensors.reserve(named.size());
    for (auto& one : named) tensors.push_back(std::move(one.tensor));
    return tensors;
}

}  // namespace

Reply Operations::operator()(const Frame& request) {
    const auto operation = request.header.value("op", "");
    const auto start = now_ns();
    Reply reply;
    if (operation == "load") {
        reply = load(request);
    } else if (operation == "infer") {
        reply = infer(request);
    } else if (operation == "keep") {
        reply = keep(request);
    } else if (operation == "warm_up") {
        reply = warm_up(request);
    } else if (operation == "measure") {
        reply = measure(request);
    } else if (operation == "profile") {
        reply = profile(request);
    } else if (operation == "memory") {
        reply = {{{"memory_kib", memory_kib()}}, {}};
    } else if (operation == "echo") {
        reply = {Json::object(), request.tensors};
    } else {
        throw std::invalid_argument("unknown operation '" + operation + "'");
    }
    reply.first["elapsed_ns"] = now_ns() - start;
    return reply;
}

Reply Operations::load(const Frame& request) {
    const auto& header = request.header;
    const auto before = memory_kib();
    const Settings settings{header.at("threads"), header.at("interop_threads"), header.at("flush_denormals"),
                            header.at("options")};
    auto engine = make_engine(runtime_, engine_path_, settings);
    const auto runtime = memory_kib();
    engine->load(header.at("artifact"));
    const auto model = memory_kib();
    input_names_ = header.at("inputs").get<std::vector<std::string>>();
    kept_.clear();  // they were those of other inputs
    auto sets = prepared(*engine, request.tensors);
    const auto start = now_ns();
    engine->run(*sets.at(0));
    const auto first_ns = now_ns() - start;
    auto outputs = engine->outputs(*sets[0]);
    const auto load_ns = since_process_start() - waited;
    auto names = Json::array();
    for (const auto& one : outputs) names.push_back(one.name);
    Json set = engine->settings();
    set["flush_denormals"] = flushes_denormals();
    Json reply{
        {"load_ns", load_ns},
        {"first_ns", first_ns},
        {"memory_kib",
         {{"before_runtime", before["peak"]},
          {"runtime", runtime["peak"]},
          {"model", model["peak"]},
          {"first", memory_kib()["peak"]}}},
        {"outputs", names},
        {"runtime", engine->versions()},
        {"settings", set},
    };
    engine_ = std::move(engine);
    return {std::move(reply), without_names(std::move(outputs))};
}

Reply Operations::infer(const Frame& request) {
    auto& engine = loaded();
    std::vector<Tensor> tensors;
    Nanoseconds spent = 0;
    const auto run = [&](Prepared& set) {
        const auto start = now_ns();
        engine.run(set);
        spent += now_ns() - start;
        for (auto& tensor : without_names(engine.outputs(set))) tensors.push_back(std::move(tensor));
    };
    if (const auto fills = request.header.find("fills"); fills != request.header.end()) {
        if (!fills->is_array()) throw std::invalid_argument("wanted fills, set after set, in a list; found none");
        // One at a time: a small board has no room for all.
        for (const auto& set : *fills) run(*expanded(engine, set));
    } else {
        for (const auto& set : prepared(engine, request.tensors)) run(*set);
    }
    return {Json::object({{"inference_ns", spent}}), std::move(tensors)};
}

Reply Operations::keep(const Frame& request) {
    check_sets(request.tensors);
    kept_.assign(input_names_.size(), {});
    for (std::size_t index = 0; index < request.tensors.size(); ++index) {
        kept_[index % kept_.size()].push_back(request.tensors[index]);
    }
    return {Json::object(), {}};
}

Reply Operations::warm_up(const Frame& request) {
    auto& engine = loaded();
    const auto sets = prepared(engine, request.tensors);
    const auto run = [&](std::size_t index) { engine.run(*sets[index]); };
    const auto result = hilgate::warm_up(run, sets.size(), request.header.at("budget_ns"));
    return {{{"iterations", result.iterations},
             {"elapsed_ns", result.elapsed},
             {"settled", result.settled},
             {"median_ns", result.median}},
            {}};
}

Reply Operations::measure(const Frame& request) {
    auto& engine = loaded();
    const auto sets = prepared(engine, request.tensors);
    const auto run = [&](std::size_t index) { engine.run(*sets[index]); };
    engine.run(*sets.back());  // between two blocks the caches have gone cold, in a closed loop they never do
    auto before = device_state();
    auto durations = timed_loop(run, sets.size(), request.header.at("samples"), request.header.at("budget_ns"));
    return {{{"before", std::move(before)}, {"after", device_state()}}, {int64_tensor(std::move(durations))}};
}

Reply Operations::profile(const Frame& request) {
    auto& engine = loaded();
    const auto sets = prepared(engine, request.tensors);
    const int count = request.header.at("count");
    if (count < 1) throw std::invalid_argument("wanted a count of at least 1; found " + std::to_string(count));
    auto operators = Json::array();
    for (const auto& one : engine.profile(sets, count)) {
        operators.push_back({{"operator", one.kind},
                             {"name", one.name},
                             {"calls", static_cast<double>(one.calls_ns.size()) / count},
                             {"ns", of_one(one.calls_ns, count)}});
    }
    return {{{"operators", std::move(operators)}}, {}};
}

Engine& Operations::loaded() {
    if (!engine_) throw std::runtime_error("no artifact is loaded: the operation load comes first");
    return *engine_;
}

void Operations::check_sets(const std::vector<Tensor>& tensors) const {
    const auto width = input_names_.size();
    if (tensors.empty() || width == 0 || tensors.size() % width != 0) {
        throw std::invalid_argument("wanted sets of " + std::to_string(width) + " inputs; found " +
                                    std::to_string(tensors.size()) + " tensors");
    }
}

std::unique_ptr<Prepared> Operations::expanded(Engine& engine, const Json& fills) const {
    if (!fills.is_array() || fills.size() != input_names_.size()) {
        throw std::invalid_argument("wanted a list of " + std::to_string(input_names_.size()) +
                                    " fills, one an input; found " + std::to_string(fills.size()));
    }
    static const std::vector<Tensor> none;
    std::vector<NamedTensor> inputs;
    for (std::size_t index = 0; index < fills.size(); ++index) {
        try {
            inputs.push_back({input_names_[index], expand(fills[index], kept_.empty() ? none : kept_[index])});
        } catch (const std::exception& error) {
            throw InputError(error.what());
        }
    }
    return engine.prepare(inputs);
}

Operations::Sets Operations::prepared(Engine& engine, const std::vector<Tensor>& tensors) const {
    check_sets(tensors);
    const auto width = input_names_.size();
    Sets sets;
    for (std::size_t start = 0; start < tensors.size(); start += width) {
        std::vector<NamedTensor> inputs;
        for (std::size_t index = 0; index < width; ++index) {
            inputs.push_back({input_names_[index], tensors[start + index]});
        }
        sets.push_back(engine.prepare(inputs));
    }
    return sets;
}

}  // namespace hilgate
