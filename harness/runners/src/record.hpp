// The files that a runner keeps on the device while it runs: a record of itself, by which the next run finds and ends
// a runner that outlived its own (harness/agent/orphans.py); and a reply that may be lost on its way.
#pragma once

#include <cstdint>
#include <string>

#include "frame.hpp"

namespace hilgate {

// A file's text, without NULs, spaces and newlines at its end; "" where it does not exist or cannot be read.
std::string read_text(const std::string& path);

// When this process was started, in clock ticks since boot: field 22 of /proc/self/stat (proc(5)).
std::int64_t start_ticks();

// The kernel's name for this boot, a UUID.
std::string boot_id();

// The path of the program that this process runs; "" where it is unknown, or not UTF-8.
std::string executable();

// Creates a file that only we can read, in place of whatever has its name, and never through a link. Returns its
// descriptor, or -1 with errno.
int open_new(const std::string& path);

// The record of this process; it is removed with this object.
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

// A reply that may be lost: kept in a file until the next request shows that it has arrived. A write to a connection
// that broke silently succeeds; so the reply is kept before it is sent.
class Kept {
public:
    explicit Kept(std::string folder) : folder_(std::move(folder)) {}

    // Writes a frame to a file, completely or not at all; on a full disk not at all.
    void keep(const std::string& name, const Json& header, const std::vector<Tensor>& tensors) noexcept;
    // Removes the reply, which has arrived.
    void drop() noexcept;

private:
    std::string folder_;
    std::string path_;
};

}  // namespace hilgate
