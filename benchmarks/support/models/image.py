"""An input of a usual image's size, and next to nothing done with it."""

import torch

from harness import Input, Model


class Largest(torch.nn.Module):
    """The largest element of each colour: exact, whatever the input is."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[batch, 3]."""
        return image.amax((2, 3))


model = Model(
    build=lambda: Largest().eval(),
    inputs=[Input("image", shape=("batch", 3, 224, 224), min_value=0.0, max_value=1.0)],
    dims={"batch": (1, 1)},
)
