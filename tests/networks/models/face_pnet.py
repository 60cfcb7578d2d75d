"""MTCNN's PNet with its own weights: it proposes faces at every place of a picture, whatever its size."""

import torch
from packages import package, package_without_imports, weights  # type: ignore[import-not-found]  # beside this file

from harness import Input, Model


def build() -> torch.nn.Module:
    package_without_imports("facenet_pytorch")
    package_without_imports("facenet_pytorch.models.utils.detect_face", detect_face=None, extract_face=None)
    net: torch.nn.Module = package("facenet_pytorch.models.mtcnn").PNet(pretrained=False)
    net.load_state_dict(weights("facenet_pytorch/data/pnet.pt"))
    return net.eval()


model = Model(
    build=build,
    inputs=[Input("picture", shape=(1, 3, "height", "width"), min_value=-1.0, max_value=1.0)],
    dims={"height": (12, 48), "width": (12, 64)},
)
