// What a runner leaves on the device while it runs: a record of itself, by which the next run finds and ends one that
// outlived its own (harness/agent/orphans.py); and the reply that may be lost on its way.
#pragma once

#include <cstdint>
#include <string>

#include "frame.hpp"

namespace hilgate {

// A file's text without the NULs and blanks at its end; "" where there is no such file or it cannot be read.
std::string read_text(const std::string& path);

// When this process was started, in clock ticks since boot: field 22 of /proc/self/stat (proc(5)).
std::int64_t start_ticks();

// Names this boot of this kernel.
std::string boot_id();

// The program that this process runs, by its path; "" where that is not known, or no UTF-8.
std::string executable();

// A new file for our eyes only, in place of whatever has its name and never through a link; its descriptor, or -1 with
// errno.
int open_new(const std::string& path);

// The record of this process, as long as this lives.
class Record {
public:
    // Throws std::filesystem::filesystem_error or std::system_error: the folder cannot be written.
    Record(const std::string& folder, const std::string& run);
    Record(const Record&) = delete;
    Record& operator=(const Record&) = delete;
    ~Record();

private:
    std::string path_;
};

// The reply that may be lost: in a file until the next request shows that it has arrived. A write to a connection that
// is gone without a word succeeds; so it is kept before it is sent.
class Kept {
public:
    explicit Kept(std::string folder) : folder_(std::move(folder)) {}

    // Writes a frame to a file, whole or not at all; on a full disk not at all.
    void keep(const std::string& name, const Json& header, const std::vector<Tensor>& tensors) noexcept;
    // It has arrived.
    void drop() noexcept;

private:
    std::string folder_;
    std::string path_;
};

}  // namespace hilgate
