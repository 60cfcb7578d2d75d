#include "check.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <exception>
#include <filesystem>
#include <string>
#include <string_view>
#include <system_error>

#include "check_file.hpp"
#include "check_steps.hpp"
#include "descriptor.hpp"
#include "illegal.hpp"
#include "timing.hpp"

namespace hilgate {
namespace {

constexpr std::string_view passed = "PASS";
// As in harness/agent/check.py.
constexpr double grace_s = 60;
constexpr std::size_t longest_reason = 1000;
constexpr int poll_ms = 200;

volatile std::sig_atomic_t ended_by = 0;

void note_signal(int number) { ended_by = number; }

void on_signals(void (*handler)(int)) {
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) {
        struct sigaction action {};
        action.sa_handler = handler;
        sigaction(number, &action, nullptr);
    }
}

std::string signal_name(int number) {
    const char* text = strsignal(number);
    return "signal " + std::to_string(number) + (text == nullptr ? "" : " (" + std::string(text) + ")");
}

// Whatever a board or a library says of itself stays in its line, and is UTF-8.
std::string one_line(const std::string& said) {
    auto text = Json::parse(Json(said).dump(-1, ' ', false, Json::error_handler_t::replace)).get<std::string>();
    for (std::size_t index = 0; index < text.size(); ++index) {
        const auto byte = [&](std::size_t ahead) {
            return index + ahead < text.size() ? static_cast<unsigned char>(text[index + ahead]) : 0U;
        };
        std::size_t width = byte(0) < 0x20 || byte(0) == 0x7F ? 1 : 0;
        if (byte(0) == 0xC2 && byte(1) < 0xA0) width = 2;  // control characters, too
        // Ends of lines, and what turns the direction of writing round: U+2028 to 202E, U+2066 to 2069.
        const bool turns = (byte(1) == 0x80 && byte(2) >= 0xA8 && byte(2) <= 0xAE) ||
                           (byte(1) == 0x81 && byte(2) >= 0xA6 && byte(2) <= 0xA9);
        if (byte(0) == 0xE2 && turns) width = 3;
        if (width > 0) text.replace(index, width, " ");
    }
    return text;
}

std::string failed_for(const std::string& reason) { return one_line("FAIL: " + reason.substr(0, longest_reason)); }

// Throws std::system_error: nobody takes it.
void print_line(int sink, const std::string& text) {
    const auto line = "check: " + one_line(text) + "\n";
    // Any object may be accessed as bytes.
    write_all(sink, reinterpret_cast<const std::byte*>(line.data()), line.size());  // NOLINT(*-reinterpret-cast)
}

std::string verdict_of(const CheckArguments& arguments, const CheckPlan& plan, int sink) {
    try {
        run_check(arguments, plan, [sink](const std::string& text) { print_line(sink, text); });
        return std::string(passed);
    } catch (const std::exception& error) {
        const std::string said = error.what();
        return failed_for(said.substr(0, said.find("\nException raised from ")));  // LibTorch appends the C++ stack
    } catch (...) {
        return failed_for("the runtime threw something that is no std::exception");
    }
}

// Checks, in the child; hands the verdict over, and ends without the libraries' own clean-up.
[[noreturn]] void check_and_exit(const CheckArguments& arguments, const CheckPlan& plan, int sink, int verdict) {
    on_signals(SIG_DFL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    say_where_illegal();
    const auto text = verdict_of(arguments, plan, sink) + "\n";
    const auto written = write(verdict, text.data(), text.size());  // fits into the pipe at once
    _exit(written < 0 ? 1 : 0);
}

std::string end_in_words(int status) {
    if (WIFSIGNALED(status)) return "was killed by " + signal_name(WTERMSIG(status));
    return "ended by itself, with status " + std::to_string(WEXITSTATUS(status)) + ", before it was done";
}

// Waits for the child's verdict, or its end. `is_over` receives whether the child has been waited for.
std::string watch(pid_t child, int reading, double limit_s, bool& is_over) {
    const auto deadline = now_ns() + static_cast<Nanoseconds>(limit_s * 1e9);
    bool is_open = true;
    while (now_ns() < deadline) {
        if (ended_by != 0) return failed_for("ended by " + signal_name(ended_by));
        pollfd wanted{is_open ? reading : -1, POLLIN, 0};
        if (poll(&wanted, 1, poll_ms) > 0) {
            std::array<char, 4 * longest_reason> said{};
            const auto count = read(reading, said.data(), said.size());
            if (count > 0) {
                std::string text(said.data(), static_cast<std::size_t>(count));
                return text.substr(0, text.find('\n'));
            }
            is_open = false;  // it is about to end
        }
        int status = 0;
        if (waitpid(child, &status, WNOHANG) == child) {
            is_over = true;
            return failed_for("the process that ran the model " + end_in_words(status));
        }
    }
    return failed_for("it did not end within " + std::to_string(static_cast<int>(limit_s)) + " s");
}

std::string verdict_on(CheckArguments arguments, int sink) {
    try {
        arguments.release = std::filesystem::absolute(arguments.release).string();
        const auto plan = read_check_plan(arguments.release);
        if (arguments.engine.empty()) arguments.engine = path_in(arguments.release, "runtime/hilgate/engine.so");
        if (arguments.runtime.empty()) {
            if (plan.library.empty()) throw CheckFailed("check/check.json names no library of the runtime");
            arguments.runtime = path_in(arguments.release, plan.library);
        }
        std::array<int, 2> ends{};
        if (pipe2(ends.data(), O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
        const auto child = fork();
        if (child < 0) throw std::system_error(errno, std::generic_category(), "fork");
        if (child == 0) check_and_exit(arguments, plan, sink, ends[1]);
        close(ends[1]);
        bool is_over = false;
        auto verdict = watch(child, ends[0], grace_s + plan.most_s, is_over);
        if (!is_over) {
            kill(child, SIGKILL);
            waitpid(child, nullptr, 0);
        }
        return verdict;
    } catch (const std::exception& error) {
        return failed_for(error.what());
    }
}

}  // namespace

int check_release(CheckArguments arguments) {
    on_signals(note_signal);
    std::signal(SIGPIPE, SIG_IGN);  // write() reports it
    // Not in the place of one that is closed.
    const Descriptor sink(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    if (sink.number() < 0) return 1;  // a verdict that nobody reads is none
    const int nothing = open("/dev/null", O_RDWR);  // it may take the place of a closed stdin
    dup2(nothing, STDIN_FILENO);
    if (fcntl(STDERR_FILENO, F_GETFD) < 0) dup2(nothing, STDERR_FILENO);
    dup2(STDERR_FILENO, STDOUT_FILENO);  // what libraries print
    const auto verdict = verdict_on(std::move(arguments), sink.number());
    try {
        print_line(sink.number(), verdict);
    } catch (const std::system_error&) {
        return 1;
    }
    return verdict == passed ? 0 : 1;
}

}  // namespace hilgate
