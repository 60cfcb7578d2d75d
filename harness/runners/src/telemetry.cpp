#include "telemetry.hpp"

#include <glob.h>
#include <malloc.h>

#include <charconv>
#include <cstdio>
#include <memory>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "record.hpp"

namespace hilgate {
namespace {

std::vector<std::string> texts(const char* pattern) {
    glob_t found{};
    std::vector<std::string> result;
    if (glob(pattern, 0, nullptr, &found) == 0) {
        for (std::size_t index = 0; index < found.gl_pathc; ++index) {
            result.push_back(read_text(found.gl_pathv[index]));
        }
    }
    globfree(&found);
    return result;
}

// Parses a text that is a number and nothing else. Not with std::regex: GCC 12 warns about its own header when
// sanitizers are on (GCC bug 105562).
std::optional<std::int64_t> whole_number(std::string_view text, int base) {
    std::int64_t value = 0;
    const auto* end = text.data() + text.size();
    const auto [stopped, error] = std::from_chars(text.data(), end, value, base);
    if (error != std::errc{} || stopped != end) return std::nullopt;
    return value;
}

Json numbers(const char* pattern) {
    auto result = Json::array();
    for (const auto& text : texts(pattern)) {
        if (const auto number = whole_number(text, 10)) result.push_back(*number);
    }
    return result;
}

std::string said(const char* command) {
    const std::unique_ptr<FILE, int (*)(FILE*)> output(popen(command, "re"), pclose);
    std::string text(256, '\0');
    text.resize(output ? fread(text.data(), 1, text.size(), output.get()) : 0);
    return text;
}

// get_throttled of the Raspberry Pi's firmware, null on other boards: bits 0-3 are set while a condition lasts, bits
// 16-19 once it has occurred since boot.
Json throttled_bits() {
    auto text = read_text("/sys/devices/platform/soc/soc:firmware/get_throttled");
    if (text.empty() && read_text("/proc/device-tree/model").rfind("Raspberry Pi", 0) == 0) {
        // The output of a failure is suppressed: it ends with "failed", whose last letters are hexadecimal digits.
        text = said("bits=$(timeout 5 vcgencmd get_throttled 2>/dev/null) && printf %s \"$bits\"");
    }
    // "50005", or "throttled=0x50005".
    const auto digits = text.find_last_not_of("0123456789abcdefABCDEF") + 1;
    const auto bits = whole_number(std::string_view(text).substr(digits), 16);
    return bits ? Json(*bits) : Json(nullptr);
}

std::int64_t sum(const Json& values) {
    std::int64_t total = 0;
    for (const auto& value : values) total += value.get<std::int64_t>();
    return total;
}

std::int64_t swapped_pages() {
    std::istringstream lines(read_text("/proc/vmstat"));
    std::string name;
    std::int64_t value = 0;
    std::int64_t total = 0;
    while (lines >> name >> value) {
        if (name == "pswpin" || name == "pswpout") total += value;
    }
    return total;
}

// A number of /proc/self/status, in KiB.
std::optional<std::int64_t> status_kib(const std::string& status, const std::string& key) {
    const auto place = status.find("\n" + key + ":");
    if (place == std::string::npos) return std::nullopt;
    return std::stoll(status.substr(place + key.size() + 2));
}

}  // namespace

Json memory_kib() {
    const auto status = read_text("/proc/self/status");
    const auto value = [&](const char* key) { return status_kib(status, key).value_or(0); };
    return {{"peak", value("VmHWM")}, {"resident", value("VmRSS")}, {"swapped", value("VmSwap")}};
}

std::optional<std::int64_t> anonymous_kib() {
    const auto status = read_text("/proc/self/status");
    auto anonymous = status_kib(status, "RssAnon");
    if (anonymous) *anonymous += status_kib(status, "VmSwap").value_or(0);
    return anonymous;
}

void give_back() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

Json device_state() {
    std::set<std::string> governors;
    for (auto& one : texts("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor")) governors.insert(one);
    return {
        {"boot", boot_id()},
        {"governor", governors},
        {"frequency_khz", numbers("/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")},
        {"temperature_mc", numbers("/sys/class/thermal/thermal_zone*/temp")},
        {"throttled_bits", throttled_bits()},
        {"throttle_events", sum(numbers("/sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/core_throttle_count"))},
        {"swapped_pages", swapped_pages()},
        {"swapped_kib", memory_kib()["swapped"]},
    };
}

bool flushes_denormals() {
    volatile float value = 2e-38F;  // a normal number; a tenth of it is denormal
    value = value * 0.1F;
    return value == 0.0F;
}

}  // namespace hilgate
