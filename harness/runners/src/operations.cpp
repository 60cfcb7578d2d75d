#include "operations.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>

#include "growth.hpp"
#include "pacing.hpp"
#include "telemetry.hpp"

namespace hilgate {
namespace {

using Operation = Reply (*)(Session&, const Frame&);

// The operations by their names. Each is entered directly after its definition; there is no list of them elsewhere.
std::map<std::string, Operation>& table() {
    static std::map<std::string, Operation> operations;
    return operations;
}

bool define(const std::string& name, Operation operation) { return table().emplace(name, operation).second; }

// Opens a library, which stays open until the process ends: threads that it has started go on.
void* opened(const std::string& path) {
    void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) throw std::runtime_error(dlerror());
    return library;
}

std::unique_ptr<Engine> make_engine(const std::string& runtime, const std::string& path, const Settings& settings) {
    opened(runtime);  // by its path: the engine, which needs it by name, then finds it loaded
    void* symbol = dlsym(opened(path), make_engine_symbol);
    if (symbol == nullptr) throw std::runtime_error(dlerror());
    // POSIX guarantees that dlsym's result can be converted to a function pointer.
    return std::unique_ptr<Engine>(reinterpret_cast<MakeEngine>(symbol)(settings));  // NOLINT(*-reinterpret-cast)
}

// Of int64, or of arrays of them; `row`: how many such an array has.
template <typename Values>
Tensor int64_tensor(Values values, const std::vector<std::int64_t>& row = {}) {
    const auto kept = std::make_shared<Values>(std::move(values));
    std::vector<std::int64_t> shape{static_cast<std::int64_t>(kept->size())};
    shape.insert(shape.end(), row.begin(), row.end());
    // Any object may be accessed as bytes.
    const auto* bytes = reinterpret_cast<const std::byte*>(kept->data());  // NOLINT(*-reinterpret-cast)
    return {DType::int64, shape, bytes, kept};
}

std::vector<Tensor> without_names(std::vector<NamedTensor> named) {
    std::vector<Tensor> tensors;
    tensors.reserve(named.size());
    for (auto& one : named) tensors.push_back(std::move(one.tensor));
    return tensors;
}

Reply load(Session& session, const Frame& request) {
    const auto& header = request.header;
    const auto before = memory_kib();
    const Settings settings{header.at("threads"), header.at("interop_threads"), header.at("flush_denormals"),
                            header.at("options")};
    auto engine = make_engine(session.runtime, session.engine_path, settings);
    const auto runtime = memory_kib();
    // Libraries that register operators when they are opened; they find the runtime, which is loaded by now, by name.
    for (const auto& path : header.value("operators", std::vector<std::string>{})) opened(path);
    engine->load(header.at("artifact"));
    const auto model = memory_kib();
    session.input_names = header.at("inputs").get<std::vector<std::string>>();
    session.kept.clear();  // they belonged to other inputs
    session.written.clear();
    const auto first_ns = session.run_once(*engine, session.sets_of(request.tensors).at(0));
    auto outputs = engine->outputs();  // sent before there is another inference: no copy is needed
    const auto load_ns = since_process_start() - session.waited;
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
    session.engine = std::move(engine);
    return {std::move(reply), without_names(std::move(outputs))};
}
const bool has_load = define("load", load);

Reply infer(Session& session, const Frame& request) {
    auto& engine = session.loaded();
    std::vector<Tensor> tensors;
    Nanoseconds spent = 0;
    const auto run = [&](const std::vector<Tensor>& inputs) {
        spent += session.run_once(engine, inputs);
        // Copied at once: an output may be the module's own buffer, or a view of it (issue 15, case 65), which the next
        // inference overwrites.
        for (const auto& one : engine.outputs()) tensors.push_back(copied(one.tensor));
    };
    if (const auto fills = request.header.find("fills"); fills != request.header.end()) {
        if (!fills->is_array()) throw std::invalid_argument("wanted fills, set after set, in a list; found none");
        // One at a time: a small board has no room for all.
        for (const auto& set : *fills) run(session.expanded(set));
    } else {
        for (const auto& set : session.sets_of(request.tensors)) run(set);
    }
    return {Json::object({{"inference_ns", spent}}), std::move(tensors)};
}
const bool has_infer = define("infer", infer);

Reply keep(Session& session, const Frame& request) {
    session.check_sets(request.tensors);
    session.kept.assign(session.input_names.size(), {});
    for (std::size_t index = 0; index < request.tensors.size(); ++index) {
        session.kept[index % session.kept.size()].push_back(request.tensors[index]);
    }
    return {Json::object(), {}};
}
const bool has_keep = define("keep", keep);

Reply warm_up(Session& session, const Frame& request) {
    auto& engine = session.loaded();
    const auto& header = request.header;
    const auto size = header.value("ring", std::size_t{1});
    std::shared_ptr<Spread> spread;
    auto sets = session.source(request, spread);
    Nanoseconds made = 0;
    if (spread) {  // made once, and taken in turn
        const auto start = now_ns();
        std::vector<std::size_t> order(std::max<std::size_t>(size, 1));
        std::iota(order.begin(), order.end(), 0);
        const auto turn = std::make_shared<InTurn>(spread->columns(order.size()), order);
        made = (now_ns() - start) / static_cast<Nanoseconds>(order.size());
        sets = [turn](std::size_t count) { return turn->columns(count); };
    }
    Ring ring(engine, session.input_names, std::move(sets), size, false);
    const auto result = hilgate::warm_up([&](Prepared& set) { engine.run(set); },
                                         [&](std::size_t wanted) -> const Sets& { return ring.renew(wanted); },
                                         header.at("budget_ns"));
    session.note(ring.close());
    give_back();
    return {{{"iterations", result.iterations},
             {"elapsed_ns", result.elapsed},
             {"settled", result.settled},
             {"median_ns", result.median},
             {"making_ns", made + ring.making() / std::max<std::int64_t>(result.iterations, 1)}},
            {}};
}
const bool has_warm_up = define("warm_up", warm_up);

Reply measure(Session& session, const Frame& request) {
    auto& engine = session.loaded();
    const auto& header = request.header;
    std::shared_ptr<Spread> spread;
    Ring ring(engine, session.input_names, session.source(request, spread), header.value("ring", std::size_t{1}), true);
    const std::int64_t samples = header.at("samples");
    const Nanoseconds budget = header.at("budget_ns");
    Growth growth(ring, samples, spread != nullptr);
    const auto run = [&](Prepared& set) { engine.run(set); };
    const auto renew = [&](std::size_t wanted) -> const Sets& { return growth.renew(wanted); };
    auto before = device_state();
    Tensor measured;
    std::size_t timed = 0;
    if (header.contains("period_ns")) {
        const Pace pace(header.at("period_ns"), header.at("late"), header.at("behind_ns"));
        auto rows = paced_loop(run, renew, pace, samples, budget);
        timed = inferences_in(rows);
        measured = int64_tensor(std::move(rows), {3});
    } else {
        auto durations = timed_loop(run, renew, samples, budget);
        timed = durations.size();
        measured = int64_tensor(std::move(durations));
    }
    const auto loop_ns = now_ns() - ring.began();
    const auto making_ns = ring.making();
    growth.end(timed);
    auto after = device_state();
    session.note(ring.close());
    return {{{"before", std::move(before)},
             {"after", std::move(after)},
             {"loop_ns", loop_ns},
             {"making_ns", making_ns},
             {"untimed_ns", ring.untimed_ns()},
             {"untimed", ring.untimed()},
             {"inferences", growth.inferences()},
             {"anonymous_kib", growth.anonymous_kib()}},
            {std::move(measured)}};
}
const bool has_measure = define("measure", measure);

Reply profile(Session& session, const Frame& request) {
    auto& engine = session.loaded();
    const int count = request.header.at("count");
    if (count < 1) throw std::invalid_argument("wanted a count of at least 1; found " + std::to_string(count));
    std::shared_ptr<Spread> spread;
    Ring ring(engine, session.input_names, session.source(request, spread), 1, false);
    auto operators = Json::array();
    for (const auto& one : engine.profile([&]() -> Prepared& { return *ring.renew(1).front(); }, count)) {
        operators.push_back({{"operator", one.kind},
                             {"name", one.name},
                             {"calls", static_cast<double>(one.calls_ns.size()) / count},
                             {"ns", of_one(one.calls_ns, count)}});
    }
    session.note(ring.close());
    return {{{"operators", std::move(operators)}}, {}};
}
const bool has_profile = define("profile", profile);

Reply memory(Session& /*session*/, const Frame& /*request*/) { return {{{"memory_kib", memory_kib()}}, {}}; }
const bool has_memory = define("memory", memory);

Reply echo(Session& /*session*/, const Frame& request) { return {Json::object(), request.tensors}; }
const bool has_echo = define("echo", echo);

}  // namespace

Reply carry_out(Session& session, const Frame& request) {
    const auto name = request.header.value("op", "");
    const auto start = now_ns();
    const auto operation = table().find(name);
    if (operation == table().end()) throw std::invalid_argument("unknown operation '" + name + "'");
    auto reply = operation->second(session, request);
    if (!session.written.empty()) {
        auto names = Json::array();
        for (const auto& input : session.input_names) {
            if (session.written.count(input) != 0) names.push_back(input);
        }
        reply.first["written"] = names;
    }
    reply.first["elapsed_ns"] = now_ns() - start;
    return reply;
}

}  // namespace hilgate
