// ONNX Runtime, through the C++ wrapper of its C API.

// The runtime may be older than the header: see ready().
#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../src/engine.hpp"

namespace {

using hilgate::DType;
using hilgate::Json;
using hilgate::NamedTensor;

constexpr auto cpu = "CPUExecutionProvider";
// The suffix of the profiler's events that hold a node's own time, in microseconds.
const std::string kernel_time = "_kernel_time";
// Inferences whose profile is dropped: in the first ones memory is allocated and code loaded.
constexpr int uncounted = 3;

constexpr std::array<std::pair<DType, ONNXTensorElementDataType>, 9> element_types{{
    {DType::boolean, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL},
    {DType::uint8, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8},
    {DType::int8, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8},
    {DType::int16, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16},
    {DType::int32, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32},
    {DType::int64, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64},
    {DType::float16, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16},
    {DType::float32, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT},
    {DType::float64, ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE},
}};

ONNXTensorElementDataType element_type(DType dtype) {
    return element_types.at(static_cast<std::size_t>(dtype)).second;
}

DType dtype_of(ONNXTensorElementDataType type) {
    for (const auto& [dtype, element] : element_types) {
        if (element == type) return dtype;
    }
    throw std::runtime_error("an output's element type is not usable: ONNX's number " + std::to_string(type));
}

struct Inputs : hilgate::Prepared {
    std::vector<hilgate::Tensor> kept;  // the values below refer to their memory
    std::vector<Ort::Value> values;
};

// A folder for the profiler's file; it is removed with this object.
class TemporaryFolder {
public:
    TemporaryFolder() : path_((std::filesystem::temp_directory_path() / "hilgate-XXXXXX").string()) {
        if (mkdtemp(path_.data()) == nullptr) throw std::runtime_error("no temporary folder can be made: " + path_);
    }
    TemporaryFolder(const TemporaryFolder&) = delete;
    TemporaryFolder& operator=(const TemporaryFolder&) = delete;
    ~TemporaryFolder() {
        std::error_code ignored;
        std::filesystem::remove_all(path_, ignored);
    }
    [[nodiscard]] const std::string& path() const { return path_; }

private:
    std::string path_;
};

// The generic function for providers takes "XNNPACK" for "XNNPACKExecutionProvider".
std::string short_name(const std::string& provider) {
    const auto end = provider.rfind("ExecutionProvider");
    return end == std::string::npos ? provider : provider.substr(0, end);
}

// CUDA needs a function of its own.
void append_cuda(Ort::SessionOptions& options) {
    const auto& api = Ort::GetApi();
    OrtCUDAProviderOptionsV2* cuda = nullptr;
    Ort::ThrowOnError(api.CreateCUDAProviderOptions(&cuda));
    const std::unique_ptr<OrtCUDAProviderOptionsV2, decltype(api.ReleaseCUDAProviderOptions)> held(
        cuda, api.ReleaseCUDAProviderOptions);
    options.AppendExecutionProvider_CUDA_V2(*held);
}

// Initialises the C API, a table that grows with each version of the runtime, "1.MINOR.PATCH": an older runtime has a
// shorter one.
bool ready() {
    const std::string version = OrtGetApiBase()->GetVersionString();
    const auto minor = std::stoul(version.substr(version.find('.') + 1));
    const auto oldest = std::min<unsigned long>(minor, ORT_API_VERSION);
    const auto* api = OrtGetApiBase()->GetApi(static_cast<std::uint32_t>(oldest));
    if (api == nullptr) throw std::runtime_error("ONNX Runtime " + version + " has no C API that this runner knows");
    Ort::InitApi(api);
    return true;
}

class OnnxRuntime : public hilgate::Engine {
public:
    explicit OnnxRuntime(const hilgate::Settings& settings)
        : settings_(settings), providers_(settings.options.value("providers", std::vector<std::string>{cpu})) {}

    void load(const std::string& artifact) override {
        artifact_ = artifact;
        session_ = opened(session_options());
        const Ort::AllocatorWithDefaultOptions allocator;
        for (std::size_t index = 0; index < session_.GetInputCount(); ++index) {
            input_names_.emplace_back(session_.GetInputNameAllocated(index, allocator).get());
        }
        for (std::size_t index = 0; index < session_.GetOutputCount(); ++index) {
            output_names_.emplace_back(session_.GetOutputNameAllocated(index, allocator).get());
        }
        // From here on the strings are not moved.
        for (const auto& name : input_names_) input_pointers_.push_back(name.c_str());
        for (const auto& name : output_names_) output_pointers_.push_back(name.c_str());
    }

    // Inputs are found by name: one that the model never uses is not in the graph.
    std::unique_ptr<hilgate::Prepared> prepare(const std::vector<NamedTensor>& inputs) override {
        auto prepared = std::make_unique<Inputs>();
        for (const auto& wanted : input_names_) {
            const auto found =
                std::find_if(inputs.begin(), inputs.end(), [&](const auto& one) { return one.name == wanted; });
            if (found == inputs.end()) throw std::invalid_argument("the graph wants an input '" + wanted + "'");
            const auto& tensor = prepared->kept.emplace_back(found->tensor);
            // The API wants a pointer to non-const; the memory is this set's own.
            auto* data = const_cast<std::byte*>(tensor.data);  // NOLINT(*-const-cast)
            prepared->values.push_back(Ort::Value::CreateTensor(memory_, data, tensor.bytes(), tensor.shape.data(),
                                                                tensor.shape.size(), element_type(tensor.dtype)));
        }
        return prepared;
    }

    void run(hilgate::Prepared& prepared) override { outputs_ = answers(session_, static_cast<Inputs&>(prepared)); }

    std::vector<NamedTensor> outputs() override {
        std::vector<NamedTensor> result;
        for (std::size_t index = 0; index < output_names_.size(); ++index) {
            // The value lives on as the tensor's owner.
            const auto kept = std::make_shared<Ort::Value>(std::move(outputs_.at(index)));
            if (!kept->IsTensor()) throw std::runtime_error("an output is not a tensor: " + output_names_[index]);
            const auto shape = kept->GetTensorTypeAndShapeInfo();
            const auto* data = static_cast<const std::byte*>(kept->GetTensorRawData());
            result.push_back({output_names_[index], {dtype_of(shape.GetElementType()), shape.GetShape(), data, kept}});
        }
        return result;
    }

    // ONNX Runtime's profiler needs a session of its own, for it is switched on before the model is loaded. Nodes are
    // named as in the graph; times are whole microseconds. Loops and branches are left out: their times include those
    // of the nodes in them.
    std::vector<hilgate::Operator> profile(const std::function<hilgate::Prepared&()>& take, int count) override {
        const TemporaryFolder folder;
        auto options = session_options();
        options.EnableProfiling((folder.path() + "/profile").c_str());
        auto session = opened(options);
        for (int index = 0; index < uncounted + count; ++index) {
            answers(session, static_cast<Inputs&>(take()));
        }
        const Ort::AllocatorWithDefaultOptions allocator;
        std::ifstream file(session.EndProfilingAllocated(allocator).get());
        std::map<std::pair<std::string, std::string>, std::vector<double>> nodes;
        for (const auto& event : Json::parse(file)) {
            const std::string name = event.value("name", "");
            if (event.value("cat", "") != "Node" || name.size() < kernel_time.size() ||
                name.compare(name.size() - kernel_time.size(), kernel_time.size(), kernel_time) != 0) {
                continue;
            }
            const auto node = name.substr(0, name.size() - kernel_time.size());
            nodes[{event["args"].value("op_name", ""), node}].push_back(1000.0 * event["dur"].get<double>());
        }
        std::vector<hilgate::Operator> operators;
        for (const auto& [node, calls] : nodes) {
            if (node.first == "Loop" || node.first == "If" || node.first == "Scan") continue;
            const auto before = calls.size() * uncounted / static_cast<std::size_t>(uncounted + count);
            operators.push_back({node.first, node.second,
                                 {calls.begin() + static_cast<std::ptrdiff_t>(before), calls.end()}});
        }
        return operators;
    }

    Json versions() override { return {{"onnxruntime", OrtGetApiBase()->GetVersionString()}}; }

    Json settings() override {
        return {{"threads", settings_.threads},
                {"interop_threads", settings_.interop_threads},
                {"providers", providers_}};
    }

private:
    [[nodiscard]] Ort::SessionOptions session_options() const {
        Ort::SessionOptions options;
        options.SetIntraOpNumThreads(settings_.threads);
        options.SetInterOpNumThreads(settings_.interop_threads);
        options.SetExecutionMode(settings_.interop_threads > 1 ? ORT_PARALLEL : ORT_SEQUENTIAL);
        options.AddConfigEntry("session.set_denormal_as_zero", settings_.flush_denormals ? "1" : "0");
        for (const auto& provider : providers_) {
            if (provider == "CUDAExecutionProvider") {
                append_cuda(options);
            } else if (provider != cpu) {
                options.AppendExecutionProvider(short_name(provider));
            }
        }
        if (std::find(providers_.begin(), providers_.end(), cpu) == providers_.end()) {
            // A provider may start and then take no node: without this entry the CPU would silently run them all.
            options.AddConfigEntry("session.disable_cpu_ep_fallback", "1");
        }
        return options;
    }

    [[nodiscard]] Ort::Session opened(const Ort::SessionOptions& options) const {
        try {
            return {environment_, artifact_.c_str(), options};
        } catch (const Ort::Exception& error) {
            throw std::runtime_error("with the execution providers " + Json(providers_).dump() + ": " + error.what());
        }
    }

    std::vector<Ort::Value> answers(Ort::Session& session, const Inputs& set) const {
        return session.Run(Ort::RunOptions{nullptr}, input_pointers_.data(), set.values.data(), set.values.size(),
                           output_pointers_.data(), output_pointers_.size());
    }

    bool ready_ = ready();  // declared first: the members below use the API
    Ort::Env environment_{ORT_LOGGING_LEVEL_WARNING, "hilgate"};
    Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    hilgate::Settings settings_;
    std::vector<std::string> providers_;
    std::string artifact_;
    Ort::Session session_{nullptr};
    std::vector<Ort::Value> outputs_;
    std::vector<std::string> input_names_, output_names_;
    std::vector<const char*> input_pointers_, output_pointers_;
};

}  // namespace

extern "C" hilgate::Engine* hilgate_make_engine(const hilgate::Settings& settings) {
    return std::make_unique<OnnxRuntime>(settings).release();
}
