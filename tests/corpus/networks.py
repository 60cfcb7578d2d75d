"""Networks of the corpus whose forward is more than a sequence."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

ANCHORS = ((1.0, 2.0), (3.0, 1.5), (0.5, 4.0))


class Residual(nn.Module):
    """x + f(x), as many times as there are parts."""

    def __init__(self, *parts: nn.Module) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        """The sum."""
        for part in self.parts:
            x = x + part(x)
        return x


class UNet(nn.Module):
    """Two levels down and up again, with their connections."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.deep = nn.Sequential(nn.Conv2d(width, 2 * width, 3, padding=1), nn.BatchNorm2d(2 * width), nn.ReLU())
        self.deepest = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 3, padding=1), nn.SiLU())
        self.up = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.top = nn.Conv2d(4 * width, width, 3, padding=1)
        self.head = nn.Conv2d(2 * width, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        """A score of two classes for each pixel."""
        down = self.down(image)
        deep = self.deep(functional.max_pool2d(down, 2))
        deepest = self.deepest(functional.max_pool2d(deep, 2))
        up = functional.relu(self.top(torch.cat([self.up(deepest), deep], 1)))
        up = functional.interpolate(up, scale_factor=2, mode="bilinear", align_corners=False)
        answer: Tensor = self.head(torch.cat([up, down], 1))
        return answer


class Encoder(nn.Module):
    """Tokens and their places, one transformer layer, a class for each token."""

    def __init__(self, words: int = 50, width: int = 16) -> None:
        super().__init__()
        self.words = nn.Embedding(words, width)
        self.places = nn.Embedding(8, width)
        self.layer = nn.TransformerEncoderLayer(width, 2, 32, batch_first=True, activation="gelu", norm_first=True)
        self.head = nn.Linear(width, 5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Log-probabilities."""
        places = torch.arange(tokens.shape[1], device=tokens.device)
        answer: Tensor = self.head(self.layer(self.words(tokens) + self.places(places)))
        return answer.log_softmax(-1)


class Attention(nn.Module):
    """Attention by hand over sequences, masked by a finite number."""

    def __init__(self, width: int = 16, heads: int = 2, *, causal: bool = False) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """``keep``: whether each element may be looked at."""
        batch, length, width = x.shape
        parts = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        q, k, v = parts[0], parts[1], parts[2]
        scores = q @ k.transpose(-1, -2) / math.sqrt(width // self.heads)
        if self.causal:
            places = torch.arange(length, device=x.device)
            scores = torch.where(places[None, :] <= places[:, None], scores, torch.full_like(scores, -1e4))
        if keep is not None:
            scores = scores + torch.where(keep, 0.0, -1e4)[:, None, None, :]
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, length, width)
        answer: Tensor = self.out(mixed)
        return answer


class FusedAttention(nn.Module):
    """torch's own scaled_dot_product_attention, with a mask made of the lengths."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Each row looks at its first ``lengths`` elements."""
        keep = torch.arange(x.shape[1], device=x.device)[None, :] < lengths[:, None]
        mask = torch.where(keep, 0.0, -1e4)[:, None, :]
        return functional.scaled_dot_product_attention(self.q(x), self.k(x), self.v(x), attn_mask=mask)


class Recurrent(nn.Module):
    """A recurrent layer, a head on all its outputs, and its last state."""

    def __init__(self, layer: nn.RNNBase) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (2 if layer.bidirectional else 1), 3)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """A number of three for each step, and the state."""
        steps, state = self.layer(x)
        return self.head(steps), state[0] if isinstance(state, tuple) else state


class RMSNorm(nn.Module):
    """Root mean square normalization, by hand."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(width) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Scaled to a mean square of 1."""
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight


class Detector(nn.Module):
    """A backbone, and per cell and anchor a box and two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.SiLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.SiLU()
        )
        self.head = nn.Conv2d(16, len(ANCHORS) * 7, 1)
        self.register_buffer("anchors", torch.tensor(ANCHORS)[:, :, None, None])
        rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
        self.register_buffer("cells", torch.stack([columns, rows]))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Boxes as two corners in pixels, and how sure the network is of each class."""
        raw = self.head(self.backbone(image)).unflatten(1, (len(ANCHORS), 7))
        centers = (raw[:, :, :2].sigmoid() * 2 - 0.5 + self.get_buffer("cells")) * 4
        sizes = raw[:, :, 2:4].exp() * self.get_buffer("anchors") * 4
        boxes = torch.cat([centers - sizes / 2, centers + sizes / 2], 2)
        sure = raw[:, :, 4:5].sigmoid() * raw[:, :, 5:].softmax(2)
        return {"boxes": boxes.movedim(2, -1).flatten(1, 3), "scores": sure.movedim(2, -1).flatten(1, 3)}


class Quantized(nn.Module):
    """Weights and activations on 8 bits: exported as QuantizeLinear and DequantizeLinear."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 32), nn.Linear(32, 4)
        for layer in (self.first, self.second):
            layer.weight.data = self.rounded(layer.weight.data, 1 / 512)

    def forward(self, x: Tensor) -> Tensor:
        """Two layers, rounded before each."""
        hidden = functional.relu(self.first(self.rounded(x, 1 / 64)))
        answer: Tensor = self.second(self.rounded(hidden, 1 / 40))
        return answer

    @staticmethod
    def rounded(x: Tensor, scale: float) -> Tensor:
        """To the next of 256 multiples of the scale."""
        return torch.fake_quantize_per_tensor_affine(x, scale, 0, -128, 127)
