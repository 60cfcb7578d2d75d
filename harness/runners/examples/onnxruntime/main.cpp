// A complete program that runs an ONNX artifact, with the settings of hilgate's runner.
// In this folder, with the Python whose onnxruntime is to be linked:
//
//     cmake -S . -B build -DPACKAGE="$(python -c 'import onnxruntime; print(onnxruntime.__path__[0])')"
//     cmake --build build
//     build/run_model model.onnx 1 1 8 8 < input.f32
//
// Arguments are the artifact and the input's sizes; stdin has the input's elements as float32, which are zero where it
// ends early. The output's elements are printed, one per line.

#include <onnxruntime_cxx_api.h>

#include <cstdint>
#include <exception>
#include <functional>
#include <iomanip>
#include <iostream>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

namespace {

void run_model(const std::string& artifact, const std::vector<std::int64_t>& shape) {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(1);
    options.SetInterOpNumThreads(1);
    options.AddConfigEntry("session.set_denormal_as_zero", "0");
    const Ort::Env environment;
    Ort::Session session(environment, artifact.c_str(), options);

    const auto size = std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
    std::vector<float> numbers(static_cast<std::size_t>(size));
    // stdin has the bytes of the floats.
    std::cin.read(reinterpret_cast<char*>(numbers.data()), size * static_cast<std::int64_t>(sizeof(float)));  // NOLINT
    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const auto input = Ort::Value::CreateTensor(memory, numbers.data(), numbers.size(), shape.data(), shape.size());
    const Ort::AllocatorWithDefaultOptions allocator;
    const auto input_name = session.GetInputNameAllocated(0, allocator);
    const auto output_name = session.GetOutputNameAllocated(0, allocator);
    const auto* input_text = input_name.get();
    const auto* output_text = output_name.get();
    const auto outputs = session.Run(Ort::RunOptions{nullptr}, &input_text, &input, 1, &output_text, 1);

    std::cout << std::setprecision(std::numeric_limits<float>::max_digits10);
    const auto* answer = outputs.at(0).GetTensorData<float>();
    const auto count = outputs[0].GetTensorTypeAndShapeInfo().GetElementCount();
    for (std::size_t index = 0; index < count; ++index) std::cout << answer[index] << '\n';
}

}  // namespace

int main(int count, char** words) {
    try {
        const std::vector<std::string> arguments(words, words + count);
        std::vector<std::int64_t> shape;
        for (std::size_t index = 2; index < arguments.size(); ++index) shape.push_back(std::stoll(arguments[index]));
        run_model(arguments.at(1), shape);
        return 0;
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
