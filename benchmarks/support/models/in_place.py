"""A picture that is scaled in place, as YOLO's preprocessing does, and a small network on it."""

import torch

from harness import Input, Model


class Scaled(torch.nn.Module):
    """What is done does not depend on the picture, and its time does: of numbers near 0 some become denormal."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, 2), torch.nn.ReLU(), torch.nn.Conv2d(8, 8, 3, 2), torch.nn.Sigmoid()
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """[1, 8]."""
        image /= 255
        return torch.mean(self.net(image), (2, 3))


model = Model(build=lambda: Scaled().eval(), inputs=[Input("image", (1, 3, 48, 48), min_value=0.0, max_value=255.0)])
