// The runner's process: frames in on stdin, frames out on the original stdout, everything else on stderr.
//
// It ends when its stdin ends, when nothing was asked of it for a while, and when one operation takes longer than the
// host allowed. Started by hilgate, not by hand; with --check by a release's own script.

#include <cxxabi.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <typeinfo>

#include "check.hpp"
#include "illegal.hpp"
#include "operations.hpp"
#include "pipe.hpp"
#include "record.hpp"

namespace {

using hilgate::Json;

constexpr double default_idle_seconds = 1800;

// "--name value" pairs; throws std::invalid_argument.
class Arguments {
public:
    Arguments(int count, char** words) {
        for (int index = 1; index < count; index += 2) {
            const std::string name = words[index];
            if (name.rfind("--", 0) != 0 || index + 1 == count) {
                throw std::invalid_argument(
                    "wanted --engine FILE --runtime FILE --records DIR --results DIR [--run ID] [--idle SECONDS], or "
                    "--check RELEASE [--engine FILE] [--runtime FILE]; found " +
                    name);
            }
            values_[name.substr(2)] = words[index + 1];
        }
    }

    [[nodiscard]] std::string at(const std::string& name) const {
        const auto found = values_.find(name);
        if (found == values_.end()) throw std::invalid_argument("wanted --" + name + "; found nothing of that name");
        return found->second;
    }

    [[nodiscard]] std::string value(const std::string& name, const std::string& otherwise) const {
        return values_.count(name) != 0 ? at(name) : otherwise;
    }

private:
    std::map<std::string, std::string> values_;
};

// The demangled name of an exception's type, such as "torch::jit::ErrorReport".
std::string type_of(const std::exception& error) {
    int status = 0;
    // The result is allocated with malloc (Itanium C++ ABI, 3.4).
    const std::unique_ptr<char, decltype(&std::free)> name(
        abi::__cxa_demangle(typeid(error).name(), nullptr, nullptr, &status), &std::free);
    return name ? name.get() : typeid(error).name();
}

// Carries a request out. Whatever a runtime throws becomes an answer, for the host to judge.
hilgate::Reply answered(hilgate::Session& session, const hilgate::Frame& request) {
    try {
        return carry_out(session, request);
    } catch (const hilgate::InputError& error) {
        return {{{"error", error.what()}, {"traceback", type_of(error)}, {"input", true}}, {}};
    } catch (const std::exception& error) {
        // LibTorch appends the C++ stack to its message.
        const std::string said = error.what();
        const auto end = std::min(said.find("\nException raised from "), said.size());
        return {{{"error", said.substr(0, end)}, {"traceback", type_of(error) + said.substr(end)}}, {}};
    } catch (...) {
        return {{{"error", "the runtime threw something that is no std::exception"}}, {}};
    }
}

// Answers requests until the host goes. A request's "keep" names the reply that must not be lost.
void serve(hilgate::Pipe& pipe, hilgate::Kept kept, hilgate::Session session) {
    for (;;) {
        const auto start = hilgate::now_ns();
        const auto request = pipe.receive();
        session.waited += hilgate::now_ns() - start;
        kept.drop();
        const auto name = request.header.value("keep", "");
        pipe.keeping = !name.empty();
        // The default action of SIGALRM ends the process even when the runtime hangs.
        alarm(request.header.value("limit_s", 0U));
        const auto [header, tensors] = answered(session, request);
        alarm(0);
        if (!name.empty()) kept.keep(name, header, tensors);
        pipe.keeping = false;
        pipe.send(header, tensors);
    }
}

void run(const Arguments& arguments) {
    const auto run = arguments.value("run", "");
    const auto idle = arguments.value("idle", "");
    umask(S_IRWXG | S_IRWXO);
    hilgate::Pipe pipe(idle.empty() ? default_idle_seconds : std::stod(idle));
    std::signal(SIGALRM, SIG_DFL);
    std::signal(SIGPIPE, SIG_IGN);  // write() reports it
    hilgate::say_where_illegal();
    setpgid(0, 0);  // whoever ends it also ends what it has started; fails where it leads a group already
    const hilgate::Record record(arguments.at("records"), run);
    pipe.end_when_host_goes();
    try {
        pipe.send({{"hello", "hilgate"}, {"pid", getpid()}}, {});
        serve(pipe, hilgate::Kept(arguments.at("results")), {arguments.at("engine"), arguments.at("runtime")});
    } catch (const hilgate::HostGone& gone) {
        if (gone.inside_frame) throw std::runtime_error("the frame was cut short: the host has gone");
    } catch (const hilgate::Idle& idle_for) {
        std::cerr << "runner: " << idle_for.what() << ": ending\n";
    }
}

}  // namespace

int main(int count, char** words) {
    const bool checks = count > 1 && std::string_view(words[1]) == "--check";
    int status = 0;
    try {
        const Arguments arguments(count, words);
        if (checks) {
            status = hilgate::check_release(
                {arguments.at("check"), arguments.value("engine", ""), arguments.value("runtime", "")});
        } else {
            run(arguments);
        }
    } catch (const std::exception& error) {
        std::cerr << "runner: " << error.what() << '\n';
        status = checks ? 2 : 1;  // the check itself throws nothing
    }
    // Without the libraries' own clean-up, in which some of them crash.
    std::cerr.flush();
    _exit(status);
}
