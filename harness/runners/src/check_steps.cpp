#include "check_steps.hpp"

#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include "operations.hpp"
#include "record.hpp"

namespace hilgate {
namespace {

// As in harness/agent/check_steps.py.
constexpr double memory_tolerance = 0.02;
constexpr double warm_up_share = 0.2;
constexpr std::size_t ring_bytes = std::size_t{16} << 20;
constexpr double second_ns = 1e9;
constexpr double ms_ns = 1e6;

// As in harness/agent/facts.py.
constexpr std::array<std::pair<unsigned, const char*>, 6> arm_parts{{
    {0xD03, "cortex-a53"},
    {0xD05, "cortex-a55"},
    {0xD07, "cortex-a57"},
    {0xD08, "cortex-a72"},
    {0xD0B, "cortex-a76"},
    {0xD42, "cortex-a78ae"},
}};

std::string with_digits(double value, int digits) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%.*g", digits, value);
    return text.data();
}

std::string joined_by(const std::vector<std::string>& texts, const char* between) {
    std::string all;
    for (const auto& one : texts) all += (all.empty() ? "" : between) + one;
    return all;
}

std::string trimmed(const std::string& text) {
    constexpr std::string_view around(" \t\r\n\0", 5);
    const auto start = text.find_first_not_of(around);
    if (start == std::string::npos) return "";
    return text.substr(start, text.find_last_not_of(around) + 1 - start);
}

// What stands behind "NAME\t*:" in the first line that begins so, from a place on; `end` receives where the line ends.
std::string value_behind(const std::string& text, const std::string& name, std::size_t from, std::size_t& end) {
    for (auto line = from; line < text.size(); line = text.find('\n', line) + 1) {
        end = std::min(text.find('\n', line), text.size());
        const auto colon = text.find(':', line);
        if (colon < end && trimmed(text.substr(line, colon - line)) == name) {
            return trimmed(text.substr(colon + 1, end - colon - 1));
        }
        if (end == text.size()) break;
    }
    end = text.size();
    return "";
}

std::string cpu_here() {
    const auto text = read_text("/proc/cpuinfo");
    std::size_t end = 0;
    if (value_behind(text, "CPU implementer", 0, end) == "0x41") {
        const auto part = value_behind(text, "CPU part", end, end);
        unsigned number = 0;
        const auto* end_of_part = part.data() + part.size();
        if (part.rfind("0x", 0) == 0 && std::from_chars(&part[2], end_of_part, number, 16).ec == std::errc{}) {
            for (const auto& [known, name] : arm_parts) {
                if (known == number) return name;
            }
            return "arm-part-" + part;
        }
    }
    const auto name = value_behind(text, "model name", 0, end);
    return name.empty() ? "unknown" : name;
}

std::int64_t memory_here_mib() {
    std::size_t end = 0;
    const auto text = value_behind(read_text("/proc/meminfo"), "MemTotal", 0, end);
    std::int64_t kib = 0;
    std::from_chars(text.data(), text.data() + text.size(), kib);
    return kib / 1024;
}

std::string libc_here() {
#ifdef _CS_GNU_LIBC_VERSION
    std::array<char, 64> text{};
    if (confstr(_CS_GNU_LIBC_VERSION, text.data(), text.size()) > 0) {
        std::string name = text.data();
        std::replace(name.begin(), name.end(), ' ', '-');
        return name;
    }
#endif
    return "";
}

// The facts of this board that a program in C++ knows.
Json board_here() {
    utsname kernel{};
    uname(&kernel);
    auto serial = trimmed(read_text("/proc/device-tree/serial-number"));
    if (serial.empty()) serial = trimmed(read_text("/sys/firmware/devicetree/base/serial-number"));
    return {{"board", trimmed(read_text("/proc/device-tree/model"))},
            {"arch", std::string(&kernel.machine[0])},
            {"cpu", cpu_here()},
            {"memory_mib", memory_here_mib()},
            {"libc", libc_here()},
            {"serial", serial},
            {"kernel", std::string(&kernel.release[0])}};
}

std::string plain_text(const Json& value, const char* otherwise = "none") {
    if (!value.is_string()) return value.dump();
    return value.get_ref<const std::string&>().empty() ? otherwise : value.get<std::string>();
}

// How a fact of this board differs from the tested board's; "" where it does not.
std::string fact_difference(const std::string& key, const Json& tested, const Json& here) {
    if (key == "serial" && plain_text(tested) == "none") {
        return "the tested board told no serial number, so that none is the same";
    }
    bool is_same = tested == here;
    if (key == "memory_mib") {
        const auto wanted = static_cast<double>(tested.get<std::int64_t>());
        const auto found = static_cast<double>(here.get<std::int64_t>());
        is_same = std::abs(found - wanted) <= memory_tolerance * wanted;
    }
    return is_same ? "" : key + " " + plain_text(here) + ", tested with " + plain_text(tested);
}

// A value of IEEE 754's binary16.
double half_value(std::uint16_t bits) {
    const int exponent = bits >> 10 & 0x1F;
    const int mantissa = bits & 0x3FF;
    constexpr int special = 0x1F;
    double value = 0;
    if (exponent == special) {
        value = mantissa == 0 ? HUGE_VAL : std::nan("");
    } else if (exponent == 0) {
        value = std::ldexp(mantissa, -24);
    } else {
        value = std::ldexp(mantissa + 1024, exponent - 25);
    }
    return (bits & 0x8000U) != 0 ? -value : value;
}

template <typename Number>
Number element_at(const Tensor& tensor, std::size_t index) {
    Number value{};
    std::memcpy(&value, tensor.data + index * sizeof value, sizeof value);
    return value;
}

double float_at(const Tensor& tensor, std::size_t index) {
    if (tensor.dtype == DType::float64) return element_at<double>(tensor, index);
    if (tensor.dtype == DType::float32) return static_cast<double>(element_at<float>(tensor, index));
    return half_value(element_at<std::uint16_t>(tensor, index));
}

std::string whole_at(const Tensor& tensor, std::size_t index) {
    switch (tensor.dtype) {
        case DType::int8: return std::to_string(element_at<std::int8_t>(tensor, index));
        case DType::int16: return std::to_string(element_at<std::int16_t>(tensor, index));
        case DType::int32: return std::to_string(element_at<std::int32_t>(tensor, index));
        case DType::int64: return std::to_string(element_at<std::int64_t>(tensor, index));
        default: return std::to_string(element_at<std::uint8_t>(tensor, index));
    }
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
    std::vector<std::string> lengths;
    lengths.reserve(shape.size());
    for (const auto length : shape) lengths.push_back(std::to_string(length));
    return "[" + joined_by(lengths, ", ") + "]";
}

// Compares an answer with the reference's; returns the largest share of the allowed difference that a value uses.
// Throws CheckFailed: a value is further off, or one of the two is a NaN or infinite.
double used_share(const Tensor& found, const Tensor& reference, const Expected& expected, const std::string& where) {
    const auto count = expected.stored.count();
    double worst = 0;
    for (std::size_t index = 0; index < count; ++index) {
        const auto value = where + ": value " + std::to_string(index) + " is ";
        if (!is_float(expected.output)) {
            const auto size = info(found.dtype).bytes;
            if (std::memcmp(found.data + index * size, reference.data + index * size, size) != 0) {
                throw CheckFailed(value + whole_at(found, index) + "; wanted " + whole_at(reference, index));
            }
            continue;
        }
        const auto exact = float_at(reference, index);
        if (!std::isfinite(exact)) {
            throw CheckFailed(where +
                              ": the reference's answer has a NaN or an infinity, to which nothing compares");
        }
        const auto said = float_at(found, index);
        const auto off = std::abs(said - exact);
        const auto allowed = expected.atol + expected.rtol * std::abs(exact);
        if (!std::isfinite(off) || !(off <= allowed)) {  // a NaN is in no relation to anything
            throw CheckFailed(value + with_digits(said, 9) + "; wanted " + with_digits(exact, 9) +
                              ", off by at most " + with_digits(allowed, 3));
        }
        if (allowed > 0) worst = std::max(worst, off / allowed);
    }
    return worst;
}

double middle_of(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    const auto half = values.size() / 2;
    return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

// "2.9.1" of "2.9.1+cpu".
std::string public_version(const std::string& version) { return version.substr(0, version.find('+')); }

// The steps, and what they share.
class Steps {
public:
    Steps(const CheckArguments& arguments, const CheckPlan& plan, const SayLine& say)
        : release_(arguments.release), plan_(plan), say_(say), session_(arguments.engine, arguments.runtime) {}

    void compare_board() const {
        const auto here = board_here();
        say_("board: " + plain_text(here["board"], "no name") + ", " + plain_text(here["arch"]) + ", " +
             plain_text(here["cpu"]) + ", " + here["memory_mib"].dump() + " MiB, Linux " + plain_text(here["kernel"]) +
             ", " + plain_text(here["libc"], "no glibc") + ", no Python");
        std::vector<std::string> problems;
        std::vector<std::string> compared;
        for (const auto& [key, tested] : plan_.same.items()) {
            if (key == "python") {
                say_("python: not compared: a C++ runner knows of none");
                continue;
            }
            compared.push_back(key);
            if (auto text = fact_difference(key, tested, here[key]); !text.empty()) problems.push_back(std::move(text));
        }
        if (!problems.empty()) throw CheckFailed("another board than was tested: " + joined_by(problems, "; "));
        say_("same as tested: " + (compared.empty() ? "nothing is asked for" : joined_by(compared, ", ")));
    }

    void load() {
        auto header = plan_.load;
        header["op"] = "load";
        header["artifact"] = path_in(release_, plan_.load["artifact"]);
        const auto start = now_ns();
        const auto [reply, outputs] = carry_out(session_, {header, inputs_of(0)});
        const auto took_s = static_cast<double>(now_ns() - start) / second_ns;
        check_settings(reply["settings"]);
        if (reply["outputs"].get<std::vector<std::string>>() != plan_.outputs) {
            throw CheckFailed("the model's outputs are " +
                              joined_by(reply["outputs"].get<std::vector<std::string>>(), ", ") +
                              "; tested: " + joined_by(plan_.outputs, ", "));
        }
        std::vector<std::string> versions;
        for (const auto& [name, version] : reply["runtime"].items()) {
            versions.push_back(name + " " + plain_text(version));
            const auto tested = plan_.packages.find(name);
            if (tested != plan_.packages.end() &&
                public_version(tested->second) != public_version(plain_text(version))) {
                throw CheckFailed("another runtime than was tested: " + versions.back() + ", tested with " +
                                  tested->second);
            }
        }
        std::array<char, 64> seconds{};
        std::snprintf(seconds.data(), seconds.size(), " in %.2f s, ", took_s);
        say_("loaded: " + plan_.load["artifact"].get<std::string>() + seconds.data() + joined_by(versions, ", "));
        compare(0, outputs);
    }

    // Infers each case twice, all of them before any comes again, so that what a model remembers shows.
    void compare_answers() {
        for (int round = 0; round < 2; ++round) {
            for (std::size_t number = 0; number < plan_.cases.size(); ++number) {
                compare(number, carry_out(session_, {Json{{"op", "infer"}}, inputs_of(number)}).second);
            }
        }
        if (compared_ == 0) throw CheckFailed("no value was compared with an answer");
        const auto count = plan_.cases.size();
        say_("answers: " + std::to_string(count) + " case" + (count == 1 ? "" : "s") + ", each twice; " +
             std::to_string(compared_) + " values; of what they may be off, at most " +
             with_digits(100 * worst_, 3) + " % was used");
    }

    void judge_time() {
        std::vector<Tensor> tensors;
        std::size_t largest = 1;
        for (std::size_t number = 0; number < plan_.cases.size(); ++number) {
            std::size_t bytes = 0;
            for (auto& one : inputs_of(number)) {
                bytes += one.bytes();
                tensors.push_back(std::move(one));
            }
            largest = std::max(largest, bytes);
        }
        const auto inferences = static_cast<std::size_t>(plan_.inferences);
        const auto ring = std::max<std::size_t>(1, std::min(inferences, ring_bytes / largest));
        const auto budget = static_cast<Nanoseconds>(plan_.most_s * second_ns);
        const auto start = now_ns();
        const auto warming = static_cast<Nanoseconds>(static_cast<double>(budget) * warm_up_share);
        carry_out(session_, {Json{{"op", "warm_up"}, {"budget_ns", warming}, {"ring", ring}}, tensors});
        const auto left = std::max<Nanoseconds>(1, budget - (now_ns() - start));
        const Json measure{{"op", "measure"}, {"samples", plan_.inferences}, {"budget_ns", left}, {"ring", ring}};
        const auto durations = carry_out(session_, {measure, tensors}).second.at(0);
        std::vector<double> each_ms;
        for (std::size_t index = 0; index < static_cast<std::size_t>(durations.shape.at(0)); ++index) {
            each_ms.push_back(static_cast<double>(element_at<std::int64_t>(durations, index)) / ms_ns);
        }
        judge(middle_of(each_ms), *std::max_element(each_ms.begin(), each_ms.end()), each_ms.size());
    }

private:
    void judge(double p50_ms, double max_ms, std::size_t count) const {
        const auto text = "time: p50 " + with_digits(p50_ms, 4) + " ms, max " + with_digits(max_ms, 4) + " ms, of " +
                          std::to_string(count) + " inferences; ";
        if (!plan_.p50_ms) {
            say_(text + "there is no p50 to judge it by");
            return;
        }
        if (!plan_.p50_ratio_max) {
            say_(text + "tested: " + with_digits(*plan_.p50_ms, 4) + " ms, not judged");
            return;
        }
        const auto limit_ms = *plan_.p50_ms * *plan_.p50_ratio_max;
        say_(text + "at most " + with_digits(limit_ms, 4) + " ms (" + with_digits(*plan_.p50_ratio_max, 6) + " × " +
             with_digits(*plan_.p50_ms, 4) + " ms)");
        if (!(p50_ms <= limit_ms)) {
            throw CheckFailed("too slow: p50 " + with_digits(p50_ms, 4) + " ms; at most " + with_digits(limit_ms, 4) +
                              " ms");
        }
    }

    [[nodiscard]] std::vector<Tensor> inputs_of(std::size_t number) const {
        std::vector<Tensor> inputs;
        for (const auto& stored : plan_.cases.at(number).inputs) inputs.push_back(read_stored(release_, stored));
        return inputs;
    }

    void check_settings(const Json& found) const {
        std::vector<std::string> differing;
        for (const auto* key : {"threads", "interop_threads", "flush_denormals"}) {
            const auto there = found.find(key);
            const auto text = there == found.end() ? std::string("not said") : there->dump();
            if (text != plan_.load[key].dump()) {
                differing.push_back(std::string(key) + " " + text + " instead of " + plan_.load[key].dump());
            }
        }
        if (!differing.empty()) {
            throw CheckFailed("the runtime is not set as it was when it was tested: " + joined_by(differing, "; "));
        }
    }

    void compare(std::size_t number, const std::vector<Tensor>& outputs) {
        const auto& answers = plan_.cases.at(number).answers;
        if (outputs.size() != answers.size()) {
            throw CheckFailed("case " + std::to_string(number) + ": " + std::to_string(outputs.size()) +
                              " answers; wanted " + std::to_string(answers.size()));
        }
        for (std::size_t index = 0; index < answers.size(); ++index) {
            const auto& expected = answers[index];
            const auto& found = outputs[index];
            const auto where = "case " + std::to_string(number) + ", answer " + plan_.outputs[index];
            if (found.dtype != expected.output) {
                throw CheckFailed(where + ": of type " + std::string(info(found.dtype).name) + "; wanted " +
                                  std::string(info(expected.output).name));
            }
            if (found.shape != expected.stored.shape) {
                throw CheckFailed(where + ": of shape " + shape_text(found.shape) + "; wanted " +
                                  shape_text(expected.stored.shape));
            }
            worst_ = std::max(worst_, used_share(found, read_stored(release_, expected.stored), expected, where));
            compared_ += expected.stored.count();
        }
    }

    std::string release_;
    const CheckPlan& plan_;
    const SayLine& say_;
    Session session_;
    double worst_ = 0;  // the largest share of what an answer may be off that any value took
    std::size_t compared_ = 0;
};

}  // namespace

void run_check(const CheckArguments& arguments, const CheckPlan& plan, const SayLine& say) {
    Steps steps(arguments, plan, say);
    steps.compare_board();
    steps.load();
    steps.compare_answers();
    steps.judge_time();
}

}  // namespace hilgate
