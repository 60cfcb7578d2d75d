#include "operations.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <numeric>
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
    if (!written_.empty()) {
        auto names = Json::array();
        for (const auto& name : input_names_) {
            if (written_.count(name) != 0) names.push_back(name);
        }
        reply.first["written"] = names;
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
    // What registers operators when it is opened; the runtime is there by now, and is found by name.
    for (const auto& path : header.value("operators", std::vector<std::string>{})) opened(path);
    engine->load(header.at("artifact"));
    const auto model = memory_kib();
    input_names_ = header.at("inputs").get<std::vector<std::string>>();
    kept_.clear();  // they were those of other inputs
    written_.clear();
    const auto first_ns = run_once(*engine, sets_of(request.tensors).at(0));
    auto outputs = engine->outputs();  // sent before there is another inference: no copy is needed
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
    const auto run = [&](const std::vector<Tensor>& inputs) {
        spent += run_once(engine, inputs);
        // Copied at once: an output may be the module's own buffer, or a view of it (issue 15, case 65), which the next
        // inference overwrites.
        for (const auto& one : engine.outputs()) tensors.push_back(copied(one.tensor));
    };
    if (const auto fills = request.header.find("fills"); fills != request.header.end()) {
        if (!fills->is_array()) throw std::invalid_argument("wanted fills, set after set, in a list; found none");
        // One at a time: a small board has no room for all.
        for (const auto& set : *fills) run(expanded(set));
    } else {
        for (const auto& set : sets_of(request.tensors)) run(set);
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
    const auto& header = request.header;
    const auto size = header.value("ring", std::size_t{1});
    std::shared_ptr<Spread> spread;
    auto sets = source(request, spread);
    Nanoseconds made = 0;
    if (spread) {  // made once, and taken in turn
        const auto start = now_ns();
        std::vector<std::size_t> order(std::max<std::size_t>(size, 1));
        std::iota(order.begin(), order.end(), 0);
        const auto turn = std::make_shared<InTurn>(spread->columns(order.size()), order);
        made = (now_ns() - start) / static_cast<Nanoseconds>(order.size());
        sets = [turn](std::size_t count) { return turn->columns(count); };
    }
    Ring ring(engine, input_names_, std::move(sets), size, false);
    const auto result = hilgate::warm_up([&](Prepared& set) { engine.run(set); },
                                         [&](std::size_t wanted) -> const Sets& { return ring.renew(wanted); },
                                         header.at("budget_ns"));
    note(ring.close());
    return {{{"iterations", result.iterations},
             {"elapsed_ns", result.elapsed},
             {"settled", result.settled},
             {"median_ns", result.median},
             {"making_ns", made + ring.making() / std::max<std::int64_t>(result.iterations, 1)}},
            {}};
}

Reply Operations::measure(const Frame& request) {
    auto& engine = loaded();
    const auto& header = request.header;
    std::shared_ptr<Spread> spread;
    Ring ring(engine, input_names_, source(request, spread), header.value("ring", std::size_t{1}), true);
    auto before = device_state();
    auto durations = timed_loop([&](Prepared& set) { engine.run(set); },
                                [&](std::size_t wanted) -> const Sets& { return ring.renew(wanted); },
                                header.at("samples"), header.at("budget_ns"));
    const auto loop_ns = now_ns() - ring.began();
    auto after = device_state();
    note(ring.close());
    return {{{"before", std::move(before)},
             {"after", std::move(after)},
             {"loop_ns", loop_ns},
             {"making_ns", ring.making()},
             {"untimed_ns", ring.untimed_ns()},
             {"untimed", ring.untimed()}},
            {int64_tensor(std::move(durations))}};
}

Reply Operations::profile(const Frame& request) {
    auto& engine = loaded();
    const int count = request.header.at("count");
    if (count < 1) throw std::invalid_argument("wanted a count of at least 1; found " + std::to_string(count));
    std::shared_ptr<Spread> spread;
    Ring ring(engine, input_names_, source(request, spread), 1, false);
    auto operators = Json::array();
    for (const auto& one : engine.profile([&]() -> Prepared& { return *ring.renew(1).front(); }, count)) {
        operators.push_back({{"operator", one.kind},
                             {"name", one.name},
                             {"calls", static_cast<double>(one.calls_ns.size()) / count},
                             {"ns", of_one(one.calls_ns, count)}});
    }
    note(ring.close());
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

void Operations::check_fills(const Json& fills) const {
    if (!fills.is_array() || fills.size() != input_names_.size()) {
        throw std::invalid_argument("wanted a list of " + std::to_string(input_names_.size()) +
                                    " fills, one an input; found " + std::to_string(fills.size()));
    }
}

std::vector<Tensor> Operations::expanded(const Json& fills) const {
    check_fills(fills);
    static const std::vector<Tensor> none;
    std::vector<Tensor> inputs;
    for (std::size_t index = 0; index < fills.size(); ++index) {
        try {
            inputs.push_back(expand(fills[index], kept_.empty() ? none : kept_[index]));
        } catch (const std::exception& error) {
            throw InputError(error.what());
        }
    }
    return inputs;
}

std::vector<std::vector<Tensor>> Operations::sets_of(const std::vector<Tensor>& tensors) const {
    check_sets(tensors);
    const auto width = static_cast<std::ptrdiff_t>(input_names_.size());
    std::vector<std::vector<Tensor>> sets;
    for (auto start = tensors.begin(); start != tensors.end(); start += width) sets.emplace_back(start, start + width);
    return sets;
}

Nanoseconds Operations::run_once(Engine& engine, const std::vector<Tensor>& inputs) {
    std::vector<Tensor> copies;
    std::vector<NamedTensor> named;
    for (std::size_t index = 0; index < inputs.size(); ++index) {
        copies.push_back(copied(inputs[index]));
        named.push_back({input_names_[index], copies.back()});
    }
    const auto prepared = engine.prepare(named);
    const auto start = now_ns();
    engine.run(*prepared);
    const auto spent = now_ns() - start;
    note_written(input_names_, inputs, copies, written_);
    return spent;
}

Ring::Source Operations::source(const Frame& request, std::shared_ptr<Spread>& spread) const {
    const auto& header = request.header;
    if (header.contains("fills")) {
        check_fills(header["fills"]);
        spread = std::make_shared<Spread>(header["fills"], header.value("first", std::uint64_t{0}), kept_);
        return [spread](std::size_t count) { return spread->columns(count); };
    }
    Columns there = kept_;
    std::vector<std::size_t> order;
    if (header.contains("kept")) {
        order = header["kept"].get<std::vector<std::size_t>>();
    } else {
        check_sets(request.tensors);
        there.assign(input_names_.size(), {});
        for (std::size_t index = 0; index < request.tensors.size(); ++index) {
            there[index % there.size()].push_back(request.tensors[index]);
        }
        order.resize(there[0].size());
        std::iota(order.begin(), order.end(), 0);
    }
    const auto turn = std::make_shared<InTurn>(std::move(there), std::move(order));
    return [turn](std::size_t count) { return turn->columns(count); };
}

void Operations::note(const std::set<std::string>& written) { written_.insert(written.begin(), written.end()); }

}  // namespace hilgate
