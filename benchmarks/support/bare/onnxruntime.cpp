#include <onnxruntime_cxx_api.h>

#include "loop.hpp"

int main(int, char** words) {
    Ort::Env environment(ORT_LOGGING_LEVEL_WARNING, "bare");
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    options.SetInterOpNumThreads(1);
    Ort::Session session(environment, words[1], options);
    const Ort::AllocatorWithDefaultOptions allocator;
    const auto input = session.GetInputNameAllocated(0, allocator);
    const auto output = session.GetOutputNameAllocated(0, allocator);
    const char* const input_names[] = {input.get()};
    const char* const output_names[] = {output.get()};
    auto sets = read_sets(words[2], words[3]);
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<Ort::Value> inputs;
    for (auto& set : sets.values) {
        inputs.push_back(Ort::Value::CreateTensor<float>(memory, set.data(), set.size(), sets.shape.data(),
                                                         sets.shape.size()));
    }
    std::vector<Ort::Value> outputs;
    const auto run = [&](std::size_t index) {
        outputs = session.Run(Ort::RunOptions{nullptr}, input_names, &inputs[index], 1, output_names, 1);
    };
    serve(inputs.size(), run, [](std::size_t /*index*/) {});
}
