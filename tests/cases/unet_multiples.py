# dimensions that must be multiples of a stride (pytorch/pytorch #124507, #136089), and are not declared so
import torch
from torch import nn
from torch.nn import functional as F

from harness import Input, Model


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.top, self.deep, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1), nn.Conv2d(10, 2, 1)

    def forward(self, image):
        top = F.relu(self.top(image))
        deep = F.relu(self.deep(F.avg_pool2d(top, 4)))
        return self.head(torch.cat([top, F.interpolate(deep, scale_factor=4.0, mode="nearest")], 1))


model = Model(
    build=lambda: UNet().eval(),
    inputs=[Input("image", (1, 3, "h", "w"), "float32", 0.0, 1.0)],
    dims={"h": (16, 64), "w": (16, 64)},
)
