#include "illegal.hpp"

#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <climits>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace hilgate {
namespace {

// No instruction is longer than x86's.
constexpr std::size_t code_bytes = 16;
// No page is smaller.
constexpr std::size_t page_bytes = 4096;

// What is loaded at an address. Nothing here allocates: the interrupted code may hold the allocator's lock.
struct Place {
    std::uintptr_t address = 0;
    std::array<char, PATH_MAX> path{};
    std::uintptr_t offset = 0;  // the address as the file's own program headers count
    std::size_t left = 0;       // bytes to the segment's end
};

int look(dl_phdr_info* library, std::size_t /*size*/, void* given) {
    auto& place = *static_cast<Place*>(given);
    for (int index = 0; index < library->dlpi_phnum; ++index) {
        const auto& segment = library->dlpi_phdr[index];
        const auto offset = place.address - library->dlpi_addr;
        if (segment.p_type == PT_LOAD && offset >= segment.p_vaddr && offset < segment.p_vaddr + segment.p_memsz) {
            place.offset = offset;
            place.left = segment.p_vaddr + segment.p_memsz - offset;
            const char* name = *library->dlpi_name != '\0' ? library->dlpi_name : "/proc/self/exe";
            if (realpath(name, place.path.data()) == nullptr) place.path.front() = '\0';
            return 1;
        }
    }
    return 0;
}

void say_and_die(int /*number*/, siginfo_t* info, void* /*context*/) {
    if (info->si_code <= 0) {  // another process sent it: no instruction will be met again
        std::signal(SIGILL, SIG_DFL);
        raise(SIGILL);
        return;
    }
    static Place place;  // too large for the stack of a thread
    place.address = reinterpret_cast<std::uintptr_t>(info->si_addr);  // NOLINT(*-reinterpret-cast)
    std::array<char, 2 * code_bytes + 1> code{};
    static std::array<char, PATH_MAX + 200> line;
    place.left = page_bytes - place.address % page_bytes;  // for code that was generated in memory
    const bool in_library = dl_iterate_phdr(look, &place) != 0;
    const auto* bytes = static_cast<const unsigned char*>(info->si_addr);
    for (std::size_t index = 0; index < std::min(code_bytes, place.left); ++index) {
        std::snprintf(&code[2 * index], 3, "%02x", bytes[index]);
    }
    if (in_library) {
        // Paths are not escaped: ours contain no quotation mark and no backslash.
        std::snprintf(line.data(), line.size(),
                      "\nhilgate-illegal-instruction {\"path\": \"%s\", \"offset\": %zu, \"code\": \"%s\"}\n",
                      place.path.data(), static_cast<std::size_t>(place.offset), code.data());
    } else {
        std::snprintf(line.data(), line.size(),
                      "\nhilgate-illegal-instruction {\"path\": \"\", \"offset\": null, \"code\": \"%s\"}\n",
                      code.data());
    }
    if (write(STDERR_FILENO, line.data(), std::strlen(line.data())) < 0) _exit(1);
    std::signal(SIGILL, SIG_DFL);  // on return the instruction is met again, and ends the process
}

}  // namespace

void say_where_illegal() {
    struct sigaction action {};
    action.sa_sigaction = say_and_die;
    action.sa_flags = SA_SIGINFO;
    sigaction(SIGILL, &action, nullptr);
}

}  // namespace hilgate
