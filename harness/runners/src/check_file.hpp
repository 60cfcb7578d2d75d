// What a release says of its own check: check/check.json and the arrays beside it. The format is documented by
// harness/agent/check_file.py; it is read as if anybody had written it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "frame.hpp"
#include "tensor.hpp"

namespace hilgate {

// The release did not pass; the message is the reason.
class CheckFailed : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

// An array in a file of the release.
struct Stored {
    std::string file;
    DType dtype = DType::float32;
    std::vector<std::int64_t> shape;
    std::size_t bytes = 0;

    [[nodiscard]] std::size_t count() const { return bytes / info(dtype).bytes; }
};

// The reference's answer, which an output of the type `output` may be off by atol + rtol * |answer|.
struct Expected {
    Stored stored;
    DType output = DType::float32;
    double atol = 0;
    double rtol = 0;
};

struct CheckCase {
    std::vector<Stored> inputs;
    std::vector<Expected> answers;
};

struct CheckPlan {
    Json load;  // the header of the operation "load", without "op"
    std::vector<std::string> outputs;
    std::string library;  // the runtime's; "" where load names none
    std::map<std::string, std::string> packages;
    Json same;
    std::optional<double> p50_ms;
    std::optional<double> p50_ratio_max;
    std::int64_t inferences = 0;
    double most_s = 0;
    std::vector<CheckCase> cases;
};

// Whether an element type is one of floating point.
bool is_float(DType dtype);

// Returns a path of the release: one that is absolute as it is.
std::string path_in(const std::string& release, const std::string& path);

// Reads check.json. Throws CheckFailed: it is none, or says what cannot be, with the place in it.
CheckPlan read_check_plan(const std::string& release);

// Reads an array. Throws CheckFailed: there is no such file, or it is no regular one, or of another size.
Tensor read_stored(const std::string& release, const Stored& stored);

}  // namespace hilgate
