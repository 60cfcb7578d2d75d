#include "session.hpp"

#include <numeric>
#include <stdexcept>

#include "expand.hpp"

namespace hilgate {

Engine& Session::loaded() const {
    if (!engine) throw std::runtime_error("no artifact is loaded: the operation load comes first");
    return *engine;
}

void Session::check_sets(const std::vector<Tensor>& tensors) const {
    const auto width = input_names.size();
    if (tensors.empty() || width == 0 || tensors.size() % width != 0) {
        throw std::invalid_argument("wanted sets of " + std::to_string(width) + " inputs; found " +
                                    std::to_string(tensors.size()) + " tensors");
    }
}

void Session::check_fills(const Json& fills) const {
    if (!fills.is_array() || fills.size() != input_names.size()) {
        throw std::invalid_argument("wanted a list of " + std::to_string(input_names.size()) +
                                    " fills, one an input; found " + std::to_string(fills.size()));
    }
}

std::vector<Tensor> Session::expanded(const Json& fills) const {
    check_fills(fills);
    static const std::vector<Tensor> none;
    std::vector<Tensor> inputs;
    for (std::size_t index = 0; index < fills.size(); ++index) {
        try {
            inputs.push_back(expand(fills[index], kept.empty() ? none : kept[index]));
        } catch (const std::exception& error) {
            throw InputError(error.what());
        }
    }
    return inputs;
}

std::vector<std::vector<Tensor>> Session::sets_of(const std::vector<Tensor>& tensors) const {
    check_sets(tensors);
    const auto width = static_cast<std::ptrdiff_t>(input_names.size());
    std::vector<std::vector<Tensor>> sets;
    for (auto start = tensors.begin(); start != tensors.end(); start += width) sets.emplace_back(start, start + width);
    return sets;
}

Nanoseconds Session::run_once(Engine& target, const std::vector<Tensor>& inputs) {
    std::vector<Tensor> copies;
    std::vector<NamedTensor> named;
    for (std::size_t index = 0; index < inputs.size(); ++index) {
        copies.push_back(copied(inputs[index]));
        named.push_back({input_names[index], copies.back()});
    }
    const auto prepared = target.prepare(named);
    const auto start = now_ns();
    target.run(*prepared);
    const auto spent = now_ns() - start;
    note_written(input_names, inputs, copies, written);
    return spent;
}

Ring::Source Session::source(const Frame& request, std::shared_ptr<Spread>& spread) const {
    const auto& header = request.header;
    if (header.contains("fills")) {
        check_fills(header["fills"]);
        spread = std::make_shared<Spread>(header["fills"], header.value("first", std::uint64_t{0}), kept);
        return [spread](std::size_t count) { return spread->columns(count); };
    }
    Columns there = kept;
    std::vector<std::size_t> order;
    if (header.contains("kept")) {
        order = header["kept"].get<std::vector<std::size_t>>();
    } else {
        check_sets(request.tensors);
        there.assign(input_names.size(), {});
        for (std::size_t index = 0; index < request.tensors.size(); ++index) {
            there[index % there.size()].push_back(request.tensors[index]);
        }
        order.resize(there[0].size());
        std::iota(order.begin(), order.end(), 0);
    }
    const auto turn = std::make_shared<InTurn>(std::move(there), std::move(order));
    return [turn](std::size_t count) { return turn->columns(count); };
}

void Session::note(const std::set<std::string>& inputs) { written.insert(inputs.begin(), inputs.end()); }

}  // namespace hilgate
