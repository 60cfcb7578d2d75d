"""Silero's voice activity detector with its own weights; its memory goes in and comes out."""

import torch
from packages import FOLDER  # type: ignore[import-not-found]  # beside this file
from torch import Tensor, nn

from harness import Input, Model


class VoiceActivity(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.basis = nn.Conv1d(1, 258, 256, stride=128, bias=False)
        self.encoder = nn.Sequential(
            nn.Conv1d(129, 128, 3, padding=1),
            nn.ReLU(),
            nn.Conv1d(128, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(64, 64, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv1d(64, 128, 3, padding=1),
            nn.ReLU(),
        )
        self.memory = nn.LSTMCell(128, 128)
        self.head = nn.Conv1d(128, 1, 1)

    def forward(self, sound: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        spectrum = self.basis(nn.functional.pad(sound, (0, 64), "reflect").unsqueeze(1))
        real, imaginary = spectrum[:, :129], spectrum[:, 129:]
        features = self.encoder(torch.sqrt(real**2 + imaginary**2)).squeeze(-1)
        hidden, cell = self.memory(features, (state[0], state[1]))
        speech = torch.sigmoid(self.head(torch.relu(hidden).unsqueeze(-1))).squeeze(1).mean(1, keepdim=True)
        return speech, torch.stack([hidden, cell])


def build() -> nn.Module:
    jit = torch.jit.load(FOLDER / "silero_vad/data/silero_vad.jit", map_location="cpu")  # type: ignore[no-untyped-call]
    given = jit._model.state_dict()
    names = {"stft.forward_basis_buffer": "basis.weight", "decoder.decoder.2": "head", "decoder.rnn": "memory"}
    names |= {f"encoder.{index}.reparam_conv": f"encoder.{2 * index}" for index in range(4)}
    net = VoiceActivity()
    weights = {}
    for name, value in given.items():
        old = next(old for old in names if name.startswith(old))
        weights[name.replace(old, names[old])] = value.clone()
    net.load_state_dict(weights)
    return net.eval()


model = Model(
    build=build,
    inputs=[
        Input("sound", shape=("batch", 576), min_value=-1.0, max_value=1.0),
        Input("state", shape=(2, "batch", 128), min_value=-1.0, max_value=1.0),
    ],
    dims={"batch": (1, 4)},
)
