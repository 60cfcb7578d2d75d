#include "check_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <limits>
#include <set>
#include <string_view>
#include <utility>

#include "descriptor.hpp"

namespace hilgate {
namespace {

constexpr auto check_json = "check/check.json";
// As in harness/agent/check_json.py and check_file.py.
constexpr std::size_t most_json_bytes = std::size_t{1} << 20;
// Copying a value is recursive. What is read has a depth of six, and a backend's options.
constexpr int deepest = 32;
constexpr std::int64_t most_inferences = 100'000;
constexpr double longest_s = 600;
constexpr double largest_p50 = 1e9;  // of the milliseconds, and of the ratio
constexpr std::size_t most_dimensions = 64;
constexpr std::int64_t most_length = std::int64_t{1} << 40;
constexpr std::int64_t most_threads = 4096;
constexpr std::size_t longest_path = 1024;

constexpr std::array<std::string_view, 8> facts_known{"board", "arch",   "cpu",    "memory_mib",
                                                      "libc",  "python", "serial", "kernel"};

// numpy's short spellings of the element types.
constexpr std::array<std::pair<std::string_view, DType>, 9> short_names{{
    {"|b1", DType::boolean},
    {"|u1", DType::uint8},
    {"|i1", DType::int8},
    {"<i2", DType::int16},
    {"<i4", DType::int32},
    {"<i8", DType::int64},
    {"<f2", DType::float16},
    {"<f4", DType::float32},
    {"<f8", DType::float64},
}};

std::string as_shown(const Json& found) {
    if (found.is_structured()) return found.is_array() ? "a list" : "an object";
    const auto text = found.dump(-1, ' ', true, Json::error_handler_t::replace);
    constexpr std::size_t longest = 80;
    return text.size() <= longest ? text : text.substr(0, longest - 3) + "...";
}

[[noreturn]] void fail_at(const std::string& where, const std::string& wanted, const Json& found) {
    throw CheckFailed(std::string(check_json) + ": wanted " + where + " to be " + wanted + "; found " +
                      as_shown(found));
}

// A value of the file, and its place for messages.
struct Value {
    Json found;
    std::string where;

    [[nodiscard]] const Json& object() const {
        if (!found.is_object()) fail_at(where, "an object", found);
        return found;
    }
    [[nodiscard]] std::vector<Value> items() const {
        if (!found.is_array()) fail_at(where, "a list", found);
        std::vector<Value> values;
        for (const auto& one : found) values.push_back({one, where + "[" + std::to_string(values.size()) + "]"});
        return values;
    }
    [[nodiscard]] std::string text(bool may_be_empty = true) const {
        if (!found.is_string()) fail_at(where, "a text", found);
        auto said = found.get<std::string>();
        if (said.find('\0') != std::string::npos || (said.empty() && !may_be_empty)) fail_at(where, "a text", found);
        return said;
    }
    [[nodiscard]] std::vector<std::string> words() const {
        std::vector<std::string> said;
        for (const auto& one : items()) said.push_back(one.text());
        return said;
    }
    [[nodiscard]] std::int64_t integer(std::int64_t low, std::int64_t high) const {
        const bool is_huge = found.is_number_unsigned() &&
                             found.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<std::int64_t>::max()};
        if (!found.is_number_integer() || is_huge || found.get<std::int64_t>() < low ||
            found.get<std::int64_t>() > high) {
            fail_at(where, "a whole number " + std::to_string(low) + " ... " + std::to_string(high), found);
        }
        return found.get<std::int64_t>();
    }
    [[nodiscard]] double number(bool may_be_zero, double most = std::numeric_limits<double>::max()) const {
        const auto value = found.is_number() ? found.get<double>() : -1.0;
        if (!std::isfinite(value) || value < 0 || value > most || (value == 0 && !may_be_zero)) {
            fail_at(where, may_be_zero ? "a number, 0 or more" : "a number, more than 0, and not too large", found);
        }
        return value;
    }
    [[nodiscard]] DType element_type() const {
        const auto said = found.is_string() ? found.get<std::string>() : "";
        for (const auto& [spelt, dtype] : short_names) {
            if (spelt == said || info(dtype).name == said) return dtype;
        }
        fail_at(where, "the type of an array's elements, such as <f4", found);
    }
    // A path in the release, which it must not leave.
    [[nodiscard]] std::string inside() const {
        auto path = text();
        const auto padded = "/" + path + "/";
        const bool leaves = padded.find("//") != std::string::npos || padded.find("/./") != std::string::npos ||
                            padded.find("/../") != std::string::npos;
        if (leaves || path.size() > longest_path) fail_at(where, "a path in the release", found);
        return path;
    }
    // One that may be absolute: of what is installed.
    [[nodiscard]] std::string anywhere() const {
        return found.is_string() && found.get_ref<const std::string&>().rfind('/', 0) == 0 ? text() : inside();
    }
};

// An object of the file, whose keys are taken one by one; any that is left over is refused.
class Members {
public:
    explicit Members(const Value& value) : left_(value.object()), where_(value.where) {}

    Value take(const std::string& key) {
        auto value = take(key, Json());
        if (!taken_) throw CheckFailed(std::string(check_json) + " has no " + value.where);
        return value;
    }
    Value take(const std::string& key, const Json& otherwise) {
        Value value{otherwise, where_.empty() ? key : where_ + "." + key};
        const auto place = left_.find(key);
        taken_ = place != left_.end();
        if (taken_) {
            value.found = *place;
            left_.erase(place);
        }
        return value;
    }
    // Whether the last one that was taken is there.
    [[nodiscard]] bool taken() const { return taken_; }
    void end() const {
        if (left_.empty()) return;
        throw CheckFailed(std::string(check_json) + " has a key that is not known: " + as_shown(left_.begin().key()) +
                          " in " + (where_.empty() ? "it" : where_));
    }

private:
    Json left_;
    std::string where_;
    bool taken_ = false;
};

bool is_array_file(const std::string& file) {
    constexpr std::string_view folder = "check/";
    constexpr std::size_t longest = 200;
    if (file.rfind(folder, 0) != 0 || file.size() > folder.size() + longest) return false;
    const auto name = std::string_view(file).substr(folder.size());
    const auto is_plain = [](char one) {
        return (one >= '0' && one <= '9') || (one >= 'A' && one <= 'Z') || (one >= 'a' && one <= 'z');
    };
    const auto is_allowed = [&](char one) { return is_plain(one) || one == '.' || one == '_' || one == '-'; };
    return !name.empty() && is_plain(name.front()) && std::all_of(name.begin(), name.end(), is_allowed);
}

// Takes what describes an array; `seen` are the files that were named before.
Stored stored_array(Members& item, std::set<std::string>& seen) {
    Stored stored;
    const auto file = item.take("file");
    stored.file = file.found.is_string() ? file.text() : "";
    if (!is_array_file(stored.file)) fail_at(file.where, "a file in check/", file.found);
    if (!seen.insert(stored.file).second) {
        throw CheckFailed(std::string(check_json) + " names a file twice: " + stored.file);
    }
    stored.dtype = item.take("dtype").element_type();
    const auto shape = item.take("shape");
    std::size_t size = info(stored.dtype).bytes;
    bool is_empty = false;
    for (const auto& one : shape.items()) {
        const auto length = one.integer(0, most_length);
        stored.shape.push_back(length);
        is_empty = is_empty || length == 0;
        if (length != 0 && __builtin_mul_overflow(size, static_cast<std::size_t>(length), &size)) {
            throw CheckFailed(std::string(check_json) + ": " + shape.where + " is that of no array");
        }
    }
    if (stored.shape.size() > most_dimensions) {
        throw CheckFailed(std::string(check_json) + ": " + shape.where + " has too many dimensions");
    }
    stored.bytes = is_empty ? 0 : size;
    return stored;
}

Expected expected_answer(const Value& value, std::set<std::string>& seen) {
    Members item(value);
    Expected answer;
    answer.stored = stored_array(item, seen);
    answer.output = item.take("output_dtype").element_type();
    answer.atol = item.take("atol").number(true);
    answer.rtol = item.take("rtol").number(true);
    item.end();
    const std::string said = std::string(check_json) + ": " + value.where;
    if (!is_float(answer.output) && (answer.atol != 0 || answer.rtol != 0)) {
        throw CheckFailed(said + " allows to be off by something, where a " + std::string(info(answer.output).name) +
                          " is right or wrong");
    }
    if (is_float(answer.output) ? !is_float(answer.stored.dtype) : answer.stored.dtype != answer.output) {
        throw CheckFailed(said + " is a " + std::string(info(answer.stored.dtype).name) + ", to which a " +
                          std::string(info(answer.output).name) + " cannot be compared");
    }
    return answer;
}

CheckCase one_case(const Value& value, std::set<std::string>& seen, std::size_t inputs, std::size_t outputs) {
    Members item(value);
    CheckCase result;
    for (const auto& one : item.take("inputs").items()) {
        Members array(one);
        result.inputs.push_back(stored_array(array, seen));
        array.end();
    }
    for (const auto& one : item.take("answers").items()) result.answers.push_back(expected_answer(one, seen));
    item.end();
    const auto check = [&](const char* what, std::size_t found, std::size_t named) {
        if (found == named) return;
        throw CheckFailed(std::string(check_json) + ": " + value.where + " has " + std::to_string(found) + " " + what +
                          ", and load names " + std::to_string(named));
    };
    check("inputs", result.inputs.size(), inputs);
    check("answers", result.answers.size(), outputs);
    return result;
}

std::vector<std::string> different_names(const Value& value) {
    auto names = value.words();
    if (names.empty() || std::set<std::string>(names.begin(), names.end()).size() != names.size()) {
        throw CheckFailed(std::string(check_json) + ": wanted names in " + value.where + " that differ; found " +
                          std::to_string(names.size()));
    }
    return names;
}

// Takes LoadEntry of harness.evidence.schema, whose defaults may be left out.
void take_load(const Value& value, const std::string& release, CheckPlan& plan) {
    Members item(value);
    const auto options = item.take("options", Json::object());
    const auto flush = item.take("flush_denormals", false);
    if (!flush.found.is_boolean()) fail_at(flush.where, "true or false", flush.found);
    const auto operators = item.take("operators", Json::array());
    std::vector<std::string> opened;
    for (const auto& one : operators.items()) opened.push_back(path_in(release, one.anywhere()));
    plan.load = Json{{"artifact", item.take("artifact").inside()},
                     {"inputs", different_names(item.take("inputs"))},
                     {"operators", opened},
                     {"options", options.object()},
                     {"threads", item.take("threads", 1).integer(1, most_threads)},
                     {"interop_threads", item.take("interop_threads", 1).integer(1, most_threads)},
                     {"flush_denormals", flush.found}};
    plan.outputs = different_names(item.take("outputs"));
    const auto library = item.take("library", Json());
    if (!library.found.is_null()) plan.library = library.anywhere();
    item.end();
}

void take_wanted(const Value& value, CheckPlan& plan) {
    Members item(value);
    const auto packages = item.take("packages");
    for (const auto& [name, version] : packages.object().items()) {
        plan.packages[name] = Value{version, packages.where}.text(false);
    }
    const auto python = item.take("python");  // of no concern to this program
    if (!python.found.is_null()) (void)python.text();
    item.end();
}

void take_same(const Value& value, CheckPlan& plan) {
    Members item(value);
    plan.same = Json::object();
    for (const auto key : facts_known) {
        const std::string name(key);
        const auto fact = item.take(name, Json());
        if (!item.taken()) continue;
        if (name == "memory_mib") {
            plan.same[name] = fact.integer(1, most_length);
        } else {
            plan.same[name] = fact.text();
        }
    }
    item.end();
}

// Refuses an object that has a key twice, and values that are nested too deep.
class Strict {
public:
    bool operator()(int depth, Json::parse_event_t event, const Json& parsed) {
        if (depth > deepest) {
            throw CheckFailed(std::string(check_json) + " is not the JSON that it must be: it is nested too deep");
        }
        if (event == Json::parse_event_t::object_start) keys_.emplace_back();
        if (event == Json::parse_event_t::object_end) keys_.pop_back();
        if (event == Json::parse_event_t::key && !keys_.back().insert(parsed.get<std::string>()).second) {
            throw CheckFailed(std::string(check_json) +
                              " is not the JSON that it must be: an object with a key that is there twice");
        }
        return true;
    }

private:
    std::vector<std::set<std::string>> keys_;
};

// Reads a regular file, and not one byte more than it has. `is_right` is asked whether it may have that size.
template <typename IsRight>
std::shared_ptr<std::byte> file_content(const std::string& release, const std::string& path, std::size_t& size,
                                        const IsRight& is_right) {
    // A FIFO's open would wait for its writer.
    const Descriptor file(open(path_in(release, path).c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    if (file.number() < 0) throw CheckFailed(path + " cannot be read: " + std::strerror(errno));
    struct stat status {};
    if (fstat(file.number(), &status) != 0 || !S_ISREG(status.st_mode)) throw CheckFailed(path + " is no regular file");
    size = static_cast<std::size_t>(status.st_size);
    if (!is_right(size)) {
        throw CheckFailed(path + " has " + std::to_string(size) + " bytes; that is not the size that it must have");
    }
    auto content = aligned_buffer(size);
    for (std::size_t done = 0; done < size;) {
        const auto count = read(file.number(), content.get() + done, size - done);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) throw CheckFailed(path + " was cut short while it was read");
        done += static_cast<std::size_t>(count);
    }
    return content;
}

Json parsed_check(const std::string& release) {
    std::size_t size = 0;
    const auto content =
        file_content(release, check_json, size, [](std::size_t found) { return found <= most_json_bytes; });
    // Any object may be accessed as bytes.
    const auto* text = reinterpret_cast<const char*>(content.get());  // NOLINT(*-reinterpret-cast)
    try {
        return Json::parse(text, text + size, Strict());
    } catch (const Json::exception& error) {
        throw CheckFailed(std::string(check_json) + " is not the JSON that it must be: " + error.what());
    }
}

}  // namespace

bool is_float(DType dtype) { return dtype == DType::float16 || dtype == DType::float32 || dtype == DType::float64; }

std::string path_in(const std::string& release, const std::string& path) {
    return path.rfind('/', 0) == 0 ? path : release + "/" + path;
}

CheckPlan read_check_plan(const std::string& release) {
    const Value whole_file{parsed_check(release), ""};
    if (!whole_file.found.is_object()) fail_at("it", "an object", whole_file.found);
    Members top(whole_file);
    CheckPlan plan;
    (void)top.take("schema").integer(1, 1);
    (void)top.take("backend").text(false);
    take_load(top.take("load"), release, plan);
    take_wanted(top.take("wanted"), plan);
    take_same(top.take("same"), plan);
    const auto p50 = top.take("p50_ms");
    if (!p50.found.is_null()) plan.p50_ms = p50.number(false, largest_p50);
    const auto ratio = top.take("p50_ratio_max");
    if (!ratio.found.is_null()) plan.p50_ratio_max = ratio.number(false, largest_p50);
    plan.inferences = top.take("inferences").integer(1, most_inferences);
    plan.most_s = top.take("most_s").number(false, longest_s);
    std::set<std::string> seen;
    for (const auto& one : top.take("cases").items()) {
        plan.cases.push_back(one_case(one, seen, plan.load["inputs"].size(), plan.outputs.size()));
    }
    top.end();
    std::size_t values = 0;
    for (const auto& one : plan.cases) {
        for (const auto& answer : one.answers) values += answer.stored.count();
    }
    if (values == 0) {
        throw CheckFailed(std::string(check_json) +
                          " has no value to compare an answer with: that would prove nothing");
    }
    return plan;
}

Tensor read_stored(const std::string& release, const Stored& stored) {
    std::size_t size = 0;
    const auto content = file_content(release, stored.file, size,
                                      [&](std::size_t found) { return found == stored.bytes; });
    return {stored.dtype, stored.shape, content.get(), content};
}

}  // namespace hilgate
