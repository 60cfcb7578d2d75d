# boxes with x1 < x2 and y1 < y2, and unit quaternions: inputs that no range can declare
import numpy as np
import torch
from torch import nn

from harness import Input, Model


class Gripper(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(13, 3)

    def forward(self, boxes, rotation):
        size = boxes[:, 2:] - boxes[:, :2]
        if bool((size <= 0).any()) or bool((rotation.norm(dim=1) - 1).abs().gt(1e-4).any()):
            raise ValueError("not a box, or not a rotation")
        w, x, y, z = rotation.unbind(1)
        matrix = torch.stack(
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
             2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
             2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], 1)
        return self.head(torch.cat([size.log(), boxes[:, :2] / 64, matrix], 1))


def prepare(inputs):
    boxes, rotation = inputs["boxes"], inputs["rotation"]
    low, high = np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])
    norm = np.linalg.norm(rotation, axis=1, keepdims=True)
    unit = np.where(norm > 1e-3, rotation / np.maximum(norm, 1e-3), np.float32([1, 0, 0, 0]))
    return {"boxes": np.concatenate([low, np.maximum(high, low + 1)], 1), "rotation": unit.astype(np.float32)}


model = Model(
    build=lambda: Gripper().eval(),
    inputs=[Input("boxes", ("n", 4), "float32", 0.0, 64.0), Input("rotation", ("n", 4), "float32", -1.0, 1.0)],
    dims={"n": (1, 8)},
    prepare=prepare,
)
