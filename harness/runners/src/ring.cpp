#include "ring.hpp"

#include <algorithm>
#include <cstring>

#include "expand.hpp"
#include "wanted.hpp"

namespace hilgate {
namespace {

// Making inputs leaves the caches cold, so each block begins with an inference that is not timed; unless that takes so
// long that it would double the time, while what the caches lack (some milliseconds) is nothing beside it.
// As SHORT_NS of harness/agent/ring.py.
constexpr Nanoseconds short_ns = 250'000'000;

// One array of the shape [count, ...], cut into that many.
std::vector<Tensor> rows(const Tensor& whole, std::size_t count) {
    Tensor row = whole;
    row.shape.erase(row.shape.begin());
    const auto bytes = row.bytes();
    std::vector<Tensor> made(count, row);
    for (std::size_t index = 0; index < count; ++index) made[index].data += index * bytes;
    return made;
}

}  // namespace

Columns Spread::columns(std::size_t count) {
    static const std::vector<Tensor> none;
    const auto block = number_++;
    Columns columns;
    try {
        for (std::size_t index = 0; index < fills_.size(); ++index) {
            Json fill = fills_[index];
            auto shape = list(member(fill, "shape"), "a fill's 'shape', a list of sizes");
            shape.insert(shape.begin(), count);
            fill["shape"] = shape;
            fill["key"] = member(fill, "key").get<std::uint64_t>() + block;
            columns.push_back(rows(expand(fill, kept_.empty() ? none : kept_[index]), count));
        }
    } catch (const std::exception& error) {
        throw InputError(error.what());
    }
    return columns;
}

InTurn::InTurn(Columns there, std::vector<std::size_t> order) : there_(std::move(there)), order_(std::move(order)) {
    const auto count = there_.empty() ? 0 : there_[0].size();
    const auto is_there = [count](std::size_t index) { return index < count; };
    if (order_.empty() || !std::all_of(order_.begin(), order_.end(), is_there)) {
        throw std::invalid_argument("wanted the numbers of " + std::to_string(count) +
                                    " sets that were kept; found others, or none");
    }
}

Columns InTurn::columns(std::size_t count) {
    Columns columns(there_.size());
    for (std::size_t taken = 0; taken < count; ++taken) {
        for (std::size_t input = 0; input < there_.size(); ++input) {
            columns[input].push_back(there_[input][order_[next_]]);
        }
        next_ = next_ + 1 == order_.size() ? 0 : next_ + 1;
    }
    return columns;
}

Ring::Ring(Engine& engine, std::vector<std::string> names, Source source, std::size_t size, bool untimed)
    : engine_(engine), names_(std::move(names)), source_(std::move(source)), size_(size), warms_(untimed) {
    if (size_ < 1) throw std::invalid_argument("wanted a ring of at least one set; found none");
}

const Sets& Ring::renew(std::size_t wanted) {
    const auto start = now_ns();
    if (began_ == 0) began_ = start;
    compare();
    slots_.clear();  // let go of them first: there may be no room for both
    made_.clear();
    const auto count = std::min(wanted, size_);
    const auto columns = source_(count);
    for (std::size_t index = 0; index < count; ++index) {
        Made made;
        for (const auto& column : columns) made.asked.push_back(column[index]);
        slots_.push_back(prepared(made));
        made_.push_back(std::move(made));
    }
    making_ += now_ns() - start;
    if (warms_) warm();
    return slots_;
}

std::size_t Ring::held_bytes(bool with_originals) const {
    std::size_t copies = 0;
    for (const auto& made : made_) {
        for (const auto& copy : made.copies) copies += copy.bytes();
    }
    return with_originals ? 2 * copies : copies;
}

std::set<std::string> Ring::close() {
    compare();
    slots_.clear();
    made_.clear();
    return written_;
}

std::unique_ptr<Prepared> Ring::prepared(Made& made) {
    made.copies.clear();
    std::vector<NamedTensor> inputs;
    for (std::size_t index = 0; index < made.asked.size(); ++index) {
        made.copies.push_back(copied(made.asked[index]));
        inputs.push_back({names_[index], made.copies.back()});
    }
    return engine_.prepare(inputs);
}

void Ring::warm() {
    const auto start = now_ns();
    engine_.run(*slots_.back());
    const auto stop = now_ns();
    ++untimed_;
    untimed_ns_ += stop - start;
    warms_ = stop - start < short_ns;
    auto& made = made_.back();
    note_written(names_, made.asked, made.copies, written_);
    slots_.back() = prepared(made);
    making_ += now_ns() - stop;
}

void Ring::compare() {
    for (const auto& made : made_) note_written(names_, made.asked, made.copies, written_);
}

Tensor copied(const Tensor& tensor) {
    const auto size = tensor.bytes();
    const auto buffer = aligned_buffer(size);
    if (size > 0) std::memcpy(buffer.get(), tensor.data, size);
    return {tensor.dtype, tensor.shape, buffer.get(), buffer};
}

void note_written(const std::vector<std::string>& names, const std::vector<Tensor>& asked,
                  const std::vector<Tensor>& copies, std::set<std::string>& written) {
    for (std::size_t index = 0; index < asked.size(); ++index) {
        const auto size = asked[index].bytes();
        if (size > 0 && std::memcmp(asked[index].data, copies[index].data, size) != 0) written.insert(names[index]);
    }
}

}  // namespace hilgate
