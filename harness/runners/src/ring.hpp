// The ring: the inputs of a loop, a few at a time, made anew between blocks of inferences and never inside a timed one.
// harness/agent/ring.py documents how, and why no prepared input is run twice.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "engine.hpp"
#include "frame.hpp"
#include "timing.hpp"

namespace hilgate {

// For each input of the model, the tensor of each set.
using Columns = std::vector<std::vector<Tensor>>;

// An input that was asked for could not be made; the model has not run.
class InputError : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// Inputs made from fills, each block with a key of its own.
class Spread {
public:
    Spread(Json fills, std::uint64_t first, Columns kept)
        : fills_(std::move(fills)), kept_(std::move(kept)), number_(first) {}

    // Makes the next block. Throws InputError: an input cannot be made.
    Columns columns(std::size_t count);

private:
    Json fills_;
    Columns kept_;
    std::uint64_t number_;
};

// Sets that exist already, in an order that starts over at its end.
class InTurn {
public:
    // Throws std::invalid_argument: the order is empty, or names a set that does not exist.
    InTurn(Columns there, std::vector<std::size_t> order);
    Columns columns(std::size_t count);

private:
    Columns there_;
    std::vector<std::size_t> order_;
    std::size_t next_ = 0;
};

// The prepared inputs of a loop.
class Ring {
public:
    using Source = std::function<Columns(std::size_t)>;

    // `size` sets are prepared at a time; `untimed`: whether a block begins with an inference that is not timed.
    Ring(Engine& engine, std::vector<std::string> names, Source source, std::size_t size, bool untimed);

    // Returns prepared inputs for the next inferences, at most as many as wanted, each to be run once.
    const Sets& renew(std::size_t wanted);
    // How many bytes the inputs of this block take: the copies; and the originals, where they were made for it.
    [[nodiscard]] std::size_t held_bytes(bool with_originals) const;
    // Frees what is prepared. Returns the names of the inputs that the model wrote into, the last block included.
    std::set<std::string> close();

    [[nodiscard]] Nanoseconds making() const { return making_; }
    // Counts time beside the inferences as the making of inputs.
    void add_making(Nanoseconds time) { making_ += time; }
    // How many inferences were run to warm the caches, and how long they took.
    [[nodiscard]] std::int64_t untimed() const { return untimed_; }
    [[nodiscard]] Nanoseconds untimed_ns() const { return untimed_ns_; }
    // When the first inputs were asked for, by the clock.
    [[nodiscard]] Nanoseconds began() const { return began_; }

private:
    // The originals, and their copies.
    struct Made {
        std::vector<Tensor> asked;
        std::vector<Tensor> copies;
    };

    std::unique_ptr<Prepared> prepared(Made& made);
    void warm();
    void compare();

    Engine& engine_;
    std::vector<std::string> names_;
    Source source_;
    std::size_t size_;
    bool warms_;
    Nanoseconds making_ = 0;
    Nanoseconds began_ = 0;
    std::int64_t untimed_ = 0;
    Nanoseconds untimed_ns_ = 0;
    std::set<std::string> written_;
    Sets slots_;
    std::vector<Made> made_;
};

// A deep copy.
Tensor copied(const Tensor& tensor);

// Adds the names of the inputs whose copies no longer have the bytes of the originals.
void note_written(const std::vector<std::string>& names, const std::vector<Tensor>& asked,
                  const std::vector<Tensor>& copies, std::set<std::string>& written);

}  // namespace hilgate
