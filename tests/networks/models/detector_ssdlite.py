"""torchvision's SSDlite on MobileNetV3, as its architecture has it, for five kinds of things: with NMS in the graph."""

import torch
from packages import torchvision  # type: ignore[import-not-found]  # beside this file
from torch import Tensor, nn

from harness import Input, Model


class Detector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        detection = torchvision().models.detection
        self.net = detection.ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=6, score_thresh=0.4
        )
        # Its own initial weights give every box the same score. These spread the scores, from 0.3 to 0.8.
        for layer in self.net.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        for layer in self.net.head.modules():
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                layer.weight.data *= 0.2

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = self.net([picture])[0]
        return found["boxes"], found["scores"], found["labels"]


model = Model(
    build=lambda: Detector().eval(),
    inputs=[Input("picture", shape=(3, 240, 320), min_value=0.0, max_value=1.0)],
)
