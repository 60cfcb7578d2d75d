// A complete program that runs a TorchScript artifact, with the settings of hilgate's runner.
// In this folder, with the Python whose torch is to be linked:
//
//     cmake -S . -B build -DCMAKE_PREFIX_PATH="$(python -c 'import torch; print(torch.utils.cmake_prefix_path)')"
//     cmake --build build
//     build/run_model model.pt 1 1 8 8 < input.f32
//
// Arguments are the artifact and the input's sizes; stdin has the input's elements as float32, which are zero where it
// ends early. The output's elements are printed, one per line.

#include <ATen/Parallel.h>
#include <torch/script.h>

#include <cstdint>
#include <exception>
#include <iomanip>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

namespace {

void run_model(const std::string& artifact, const std::vector<std::int64_t>& shape) {
    at::set_num_threads(1);
    at::set_num_interop_threads(1);
    at::Context::setFlushDenormal(false);
    const c10::InferenceMode without_gradients;

    auto module = torch::jit::load(artifact, c10::kCPU);
    module.eval();
    module = torch::jit::freeze(module);

    auto input = torch::zeros(shape);
    std::cin.read(static_cast<char*>(input.data_ptr()), static_cast<std::streamsize>(input.nbytes()));
    const auto output = module.forward({input}).toTensor().contiguous();

    std::cout << std::setprecision(std::numeric_limits<float>::max_digits10);
    const auto* numbers = output.const_data_ptr<float>();
    for (std::int64_t index = 0; index < output.numel(); ++index) std::cout << numbers[index] << '\n';
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
