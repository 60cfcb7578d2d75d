"""A walking robot's policy: what its sensors say by name in, a distribution and a value out, by name."""

import torch
from torch import Tensor, nn

from harness import Input, Model


class Policy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.depth = nn.Sequential(nn.Conv2d(1, 4, 5, stride=4), nn.ELU(), nn.Flatten(), nn.Linear(4 * 6 * 8, 16))
        self.body = nn.Sequential(nn.Linear(16 + 12 + 12 + 4, 32), nn.ELU(), nn.Linear(32, 32), nn.ELU())
        self.mean = nn.Linear(32, 12)
        self.value = nn.Linear(32, 1)
        self.log_std = nn.Parameter(torch.full((12,), -0.5))

    def encode(self, observation: dict[str, Tensor]) -> Tensor:
        parts = [self.depth(observation["depth"])]
        parts += [observation[name] for name in ("joint_positions", "joint_velocities", "foot_contacts")]
        features: Tensor = self.body(torch.cat([part.float() for part in parts], -1))
        return features

    def forward(
        self, depth: Tensor, joint_positions: Tensor, joint_velocities: Tensor, foot_contacts: Tensor
    ) -> dict[str, Tensor | dict[str, Tensor]]:
        names = ("depth", "joint_positions", "joint_velocities", "foot_contacts")
        features = self.encode(dict(zip(names, (depth, joint_positions, joint_velocities, foot_contacts), strict=True)))
        mean = torch.tanh(self.mean(features))
        return {
            "action": {"mean": mean, "std": self.log_std.clamp(-5, 2).exp().expand_as(mean)},
            "value": self.value(features).squeeze(-1),
        }


def build() -> nn.Module:
    torch.manual_seed(5)
    return Policy().eval()


model = Model(
    build=build,
    inputs=[
        Input("depth", shape=("robots", 1, 26, 34), min_value=0.0, max_value=5.0),
        Input("joint_positions", shape=("robots", 12), min_value=-3.2, max_value=3.2),
        Input("joint_velocities", shape=("robots", 12), min_value=-20.0, max_value=20.0),
        Input("foot_contacts", shape=("robots", 4), dtype="bool"),
    ],
    dims={"robots": (1, 8)},
)
