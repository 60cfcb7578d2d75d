#include "record.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

#include "descriptor.hpp"

namespace hilgate {

namespace fs = std::filesystem;

std::string read_text(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::string text{std::istreambuf_iterator<char>(file), {}};
    text.erase(text.find_last_not_of(std::string("\0 \n", 3)) + 1);
    return text;
}

std::int64_t start_ticks() {
    // The command's name may contain spaces and parentheses: fields are counted from its end, where the third begins.
    const auto text = read_text("/proc/self/stat");
    auto place = text.rfind(')') + 2;
    for (int field = 3; field < 22; ++field) place = text.find(' ', place) + 1;
    return std::stoll(text.substr(place));
}

std::string boot_id() { return read_text("/proc/sys/kernel/random/boot_id"); }

std::string executable() {
    std::error_code ignored;
    auto path = fs::read_symlink("/proc/self/exe", ignored).string();
    try {
        (void)Json(path).dump();
        return path;
    } catch (const Json::exception&) {
        return "";  // not UTF-8: the rest of the record identifies the process
    }
}

int open_new(const std::string& path) {
    constexpr int tries = 8;
    for (int left = tries; left > 0; --left) {
        unlink(path.c_str());
        const auto number = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
        if (number >= 0 || errno != EEXIST) return number;
    }
    return -1;
}

Record::Record(const std::string& folder, const std::string& run)
    : path_(folder + "/" + std::to_string(getpid()) + ".json") {
    fs::create_directories(folder);
    const Json record{
        {"boot", boot_id()}, {"pid", getpid()}, {"start", start_ticks()}, {"exe", executable()}, {"run", run}};
    const auto fresh = path_ + ".new";
    try {
        const Descriptor file(open_new(fresh));
        if (file.number() < 0) {
            throw fs::filesystem_error("no record can be left", fresh, std::error_code(errno, std::generic_category()));
        }
        const auto text = record.dump();
        // Any object may be accessed as bytes.
        const auto* bytes = reinterpret_cast<const std::byte*>(text.data());  // NOLINT(*-reinterpret-cast)
        write_all(file.number(), bytes, text.size());
        fs::rename(fresh, path_);
    } catch (...) {
        std::error_code ignored;
        fs::remove(fresh, ignored);
        throw;
    }
}

Record::~Record() {
    std::error_code ignored;
    fs::remove(path_, ignored);
}

void Kept::keep(const std::string& name, const Json& header, const std::vector<Tensor>& tensors) noexcept {
    try {
        const auto path = (fs::path(folder_) / fs::path(name).filename()).string();
        const auto fresh = path + ".new";
        fs::create_directories(folder_);
        const Descriptor file(open_new(fresh));
        if (file.number() < 0) return;
        write_frame([&](const std::byte* data, std::size_t size) { write_all(file.number(), data, size); }, header,
                    tensors);
        // A board whose power is cut leaves an empty file else.
        if (fsync(file.number()) != 0) return;
        fs::rename(fresh, path);
        path_ = path;
    } catch (const std::exception&) {
        return;  // it is sent all the same
    }
}

void Kept::drop() noexcept {
    if (path_.empty()) return;
    std::error_code ignored;
    fs::remove(path_, ignored);
    path_.clear();
}

}  // namespace hilgate
