// LibTorch: a TorchScript module, run without gradients.

#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <c10/core/InferenceMode.h>
#include <malloc.h>
#include <torch/script.h>
#include <torch/version.h>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../src/engine.hpp"
#include "../src/timing.hpp"

namespace {

using hilgate::DType;
using hilgate::Json;
using hilgate::NamedTensor;

// The extra file in which the TorchScript exporter stores the names of flattened outputs.
constexpr auto names_file = "hilgate_output_names.json";

// The largest value that mallopt accepts (mallopt(3): DEFAULT_MMAP_THRESHOLD_MAX).
constexpr int largest_mmap_threshold = 4UL * 1024 * 1024 * sizeof(long);

constexpr std::array<std::pair<DType, c10::ScalarType>, 9> scalar_types{{
    {DType::boolean, c10::kBool},
    {DType::uint8, c10::kByte},
    {DType::int8, c10::kChar},
    {DType::int16, c10::kShort},
    {DType::int32, c10::kInt},
    {DType::int64, c10::kLong},
    {DType::float16, c10::kHalf},
    {DType::float32, c10::kFloat},
    {DType::float64, c10::kDouble},
}};

c10::ScalarType scalar_type(DType dtype) { return scalar_types.at(static_cast<std::size_t>(dtype)).second; }

DType dtype_of(const at::Tensor& tensor) {
    for (const auto& [dtype, type] : scalar_types) {
        if (type == tensor.scalar_type()) return dtype;
    }
    throw std::runtime_error(std::string("an output's dtype is not usable: ") + c10::toString(tensor.scalar_type()));
}

hilgate::Tensor received(const at::Tensor& output) {
    const auto kept = std::make_shared<at::Tensor>(output.resolve_neg().cpu().contiguous());
    return {dtype_of(*kept), kept->sizes().vec(), static_cast<const std::byte*>(kept->const_data_ptr()), kept};
}

// Appends every tensor with its name, depth first, named as in harness/agent/structure.py.
void flatten(const c10::IValue& value, const std::string& name, std::vector<NamedTensor>& into) {
    if (value.isTensor()) {
        into.push_back({name, received(value.toTensor())});
    } else if (value.isGenericDict()) {
        for (const auto& item : value.toGenericDict()) {
            const auto& key = item.key();
            flatten(item.value(), name + "_" + (key.isString() ? key.toStringRef() : c10::str(key)), into);
        }
    } else if (value.isTuple() || value.isList()) {
        std::size_t index = 0;
        const auto members = value.isTuple() ? value.toTupleRef().elements().vec() : value.toListRef().vec();
        for (const auto& member : members) flatten(member, name + "_" + std::to_string(index++), into);
    } else {
        throw std::runtime_error("an output is not a tensor: " + name + " is a " + value.tagKind());
    }
}

struct Inputs : hilgate::Prepared {
    std::vector<c10::IValue> inputs;
};

// How long each kind of operator takes by itself, without the operators that it calls.
class SelfTimes {
public:
    SelfTimes()
        : handle_(at::addThreadLocalCallback(
              at::RecordFunctionCallback(enter, leave).scopes({at::RecordScope::FUNCTION}))) {
        current = this;
    }
    SelfTimes(const SelfTimes&) = delete;
    SelfTimes& operator=(const SelfTimes&) = delete;
    ~SelfTimes() {
        at::removeCallback(handle_);
        current = nullptr;
    }

    [[nodiscard]] std::vector<hilgate::Operator> operators() const {
        std::vector<hilgate::Operator> result;
        result.reserve(calls_.size());
        for (const auto& [kind, calls] : calls_) result.push_back({kind, "", calls});
        return result;
    }

private:
    struct Level {
        hilgate::Nanoseconds start;
        hilgate::Nanoseconds inside;  // the time of operators called from here
    };

    static std::unique_ptr<at::ObserverContext> enter(const at::RecordFunction& /*function*/) {
        if (current != nullptr) current->levels_.push_back({hilgate::now_ns(), 0});
        return nullptr;
    }

    static void leave(const at::RecordFunction& function, at::ObserverContext* /*context*/) {
        if (current == nullptr || current->levels_.empty()) return;
        const auto level = current->levels_.back();
        current->levels_.pop_back();
        const auto taken = hilgate::now_ns() - level.start;
        if (!current->levels_.empty()) current->levels_.back().inside += taken;
        current->calls_[function.name()].push_back(static_cast<double>(taken - level.inside));
    }

    // A RecordFunction callback has no argument for an object of ours.
    static inline thread_local SelfTimes* current = nullptr;  // NOLINT(*-avoid-non-const-global-variables)
    at::CallbackHandle handle_;
    std::vector<Level> levels_;
    std::map<std::string, std::vector<double>> calls_;
};

class LibTorch : public hilgate::Engine {
public:
    explicit LibTorch(const hilgate::Settings& settings)
        : optimize_(settings.options.value("optimize", "freeze")), heap_(settings.options.value("heap", "trim")) {
        if (heap_ == "keep") {
            mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
            mallopt(M_MMAP_THRESHOLD, largest_mmap_threshold);
        }
        at::set_num_threads(settings.threads);
        at::set_num_interop_threads(settings.interop_threads);
        at::Context::setFlushDenormal(settings.flush_denormals);
    }

    void load(const std::string& artifact) override {
        torch::jit::ExtraFilesMap extra{{names_file, ""}};
        module_ = torch::jit::load(artifact, c10::kCPU, extra);
        module_.eval();
        if (optimize_ != "none") module_ = torch::jit::freeze(module_);
        if (optimize_ == "optimize_for_inference") module_ = torch::jit::optimize_for_inference(module_);
        if (!extra[names_file].empty()) names_ = Json::parse(extra[names_file]).get<std::vector<std::string>>();
    }

    std::unique_ptr<hilgate::Prepared> prepare(const std::vector<NamedTensor>& inputs) override {
        auto prepared = std::make_unique<Inputs>();
        for (const auto& [name, tensor] : inputs) {
            // This set's own memory: the model may write into it, and it lives as long as an output refers to it.
            auto* data = const_cast<std::byte*>(tensor.data);  // NOLINT(*-const-cast)
            prepared->inputs.emplace_back(at::from_blob(
                data, tensor.shape, [owner = tensor.owner](void* /*data*/) {}, scalar_type(tensor.dtype)));
        }
        return prepared;
    }

    void run(hilgate::Prepared& prepared) override {
        output_ = module_.forward(static_cast<Inputs&>(prepared).inputs);
    }

    std::vector<NamedTensor> outputs() override {
        std::vector<NamedTensor> result;
        flatten(output_, "output", result);
        for (std::size_t index = 0; index < std::min(names_.size(), result.size()); ++index) {
            result[index].name = names_[index];
        }
        return result;
    }

    std::vector<hilgate::Operator> profile(const std::function<hilgate::Prepared&()>& take, int count) override {
        const SelfTimes times;
        for (int index = 0; index < count; ++index) run(take());
        return times.operators();
    }

    Json versions() override { return {{"torch", TORCH_VERSION}}; }

    Json settings() override {
        return {{"threads", at::get_num_threads()},
                {"interop_threads", at::get_num_interop_threads()},
                {"optimize", optimize_},
                {"heap", heap_}};
    }

private:
    c10::InferenceMode without_gradients_;
    std::string optimize_, heap_;
    torch::jit::Module module_;
    c10::IValue output_;
    std::vector<std::string> names_;
};

}  // namespace

extern "C" hilgate::Engine* hilgate_make_engine(const hilgate::Settings& settings) {
    return std::make_unique<LibTorch>(settings).release();
}
