#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>
#include <torch/script.h>

#include "loop.hpp"

int main(int count, char** words) {
    at::set_num_threads(1);
    at::set_num_interop_threads(1);
    const c10::InferenceMode without_gradients;  // before loading: it spares the weights' bookkeeping, too (1.7 %)
    auto module = torch::jit::load(words[1], c10::kCPU);
    module.eval();
    module = torch::jit::freeze(module);
    auto sets = read_sets(words[2], words[3]);
    std::vector<std::vector<c10::IValue>> inputs;
    for (auto& set : sets.values) inputs.push_back({at::from_blob(set.data(), sets.shape).clone()});
    c10::IValue output;
    const bool restores = count > 4;
    const auto before = [&](std::size_t index) {
        if (restores) inputs[index][0].toTensor().copy_(at::from_blob(sets.values[index].data(), sets.shape));
    };
    serve(inputs.size(), [&](std::size_t index) { output = module.forward(inputs[index]); }, before);
}
