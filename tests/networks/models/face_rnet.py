"""MTCNN's RNet with its own weights: it refines what the first net proposed."""

import torch
from packages import package, package_without_imports, weights  # type: ignore[import-not-found]  # beside this file

from harness import Input, Model


def build() -> torch.nn.Module:
    package_without_imports("facenet_pytorch")
    package_without_imports("facenet_pytorch.models.utils.detect_face", detect_face=None, extract_face=None)
    net: torch.nn.Module = package("facenet_pytorch.models.mtcnn").RNet(pretrained=False)
    net.load_state_dict(weights("facenet_pytorch/data/rnet.pt"))
    return net.eval()


model = Model(
    build=build,
    inputs=[Input("faces", shape=("faces", 3, 24, 24), min_value=-1.0, max_value=1.0)],
    dims={"faces": (1, 8)},
)
