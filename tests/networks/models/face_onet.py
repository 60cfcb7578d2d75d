"""MTCNN's ONet with its own weights: it finds eyes, nose and mouth."""

import torch
from packages import package, package_without_imports, weights  # type: ignore[import-not-found]  # beside this file

from harness import Input, Model


def build() -> torch.nn.Module:
    package_without_imports("facenet_pytorch")
    package_without_imports("facenet_pytorch.models.utils.detect_face", detect_face=None, extract_face=None)
    net: torch.nn.Module = package("facenet_pytorch.models.mtcnn").ONet(pretrained=False)
    net.load_state_dict(weights("facenet_pytorch/data/onet.pt"))
    return net.eval()


model = Model(
    build=build,
    inputs=[Input("faces", shape=("faces", 3, 48, 48), min_value=-1.0, max_value=1.0)],
    dims={"faces": (1, 4)},
)
