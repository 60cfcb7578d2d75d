"""Keyword spotting from a microphone's 16-bit samples: torch.stft, a mel filter bank, a logarithm, convolutions."""

import math

import torch
from torch import Tensor, nn

from harness import Input, Model


def mel_filters(bins: int = 129, filters: int = 24, rate: int = 16000) -> Tensor:
    """Triangles that are evenly spaced in mel: [bins, filters]."""
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (torch.linspace(0, top, filters + 2) / 2595) - 1)
    hertz = torch.linspace(0, rate / 2, bins)[:, None]
    rising = (hertz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - hertz) / (edges[2:] - edges[1:-1])
    return torch.minimum(rising, falling).clamp(min=0)


class Keywords(nn.Module):
    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(256))
        self.register_buffer("filters", mel_filters())
        self.layers = nn.Sequential(
            nn.Conv1d(24, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, 5)
        )

    def forward(self, sound: Tensor) -> Tensor:
        volts = sound.float() / 32768
        spectrum = torch.stft(volts, 256, 128, window=self.window, center=False, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        mels = torch.log(power.transpose(1, 2) @ self.filters + 1e-6).transpose(1, 2)
        scores: Tensor = self.layers(mels)
        return scores.log_softmax(-1)


def build() -> nn.Module:
    torch.manual_seed(4)
    return Keywords().eval()


model = Model(
    build=build,
    inputs=[Input("sound", shape=(1, "samples"), dtype="int16", min_value=-32768, max_value=32767)],
    dims={"samples": (512, 4096)},
)
