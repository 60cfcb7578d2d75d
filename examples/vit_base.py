"""ViT-B/16, 86 million parameters, 330 MiB: the size of model that this harness is for.

The shape is that of Dosovitskiy et al., "An Image is Worth 16x16 Words" (2021), table 1. The weights are seeded, not
trained: speed, memory and agreement can be measured with them; accuracy cannot.
"""

import torch
from torch import nn
from torch.nn import functional

from harness import Input, Model

IMAGE = 224  # pixels a side
PATCH = 16  # pixels a side
DEPTH = 12
HEADS = 12
WIDTH = 768
MLP_WIDTH = 3072
CLASSES = 1000
TOKENS = (IMAGE // PATCH) ** 2 + 1  # the patches, and the class token before them
SEED = 16
EPSILON = 1e-6  # of the layer norms: as in the paper's code (flax's default), not torch's 1e-5


class Attention(nn.Module):
    """Multi-head self-attention, [batch, TOKENS, WIDTH] -> the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # [batch, tokens, 3 * width] -> three of [batch, heads, tokens, width / heads]
        q, k, v = self.qkv(x).unflatten(-1, (3, HEADS, WIDTH // HEADS)).permute(2, 0, 3, 1, 4).unbind(0)
        heads = functional.scaled_dot_product_attention(q, k, v)
        mixed: torch.Tensor = self.out(heads.transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """One pre-norm encoder layer, [batch, TOKENS, WIDTH] -> the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.attention = Attention()
        self.norm2 = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.mlp = nn.Sequential(nn.Linear(WIDTH, MLP_WIDTH), nn.GELU(), nn.Linear(MLP_WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        y: torch.Tensor = x + self.mlp(self.norm2(x))
        return y


class VisionTransformer(nn.Module):
    """Images [batch, 3, IMAGE, IMAGE] -> a score for each class [batch, CLASSES]."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, kernel_size=PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.zeros(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.zeros(1, TOKENS, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        patches = self.patches(image).flatten(2).transpose(1, 2)  # [batch, TOKENS - 1, WIDTH]
        class_token = self.class_token.expand(image.shape[0], -1, -1)
        x = torch.cat([class_token, patches], dim=1) + self.positions
        scores: torch.Tensor = self.head(self.norm(self.blocks(x))[:, 0])
        return scores


def initialize(net: VisionTransformer) -> None:
    """Fill in all weights, the same ones every time."""
    generator = torch.Generator().manual_seed(SEED)
    for module in net.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, (nn.Linear, nn.Conv2d)):
            # A deviation of 1 / sqrt(inputs) keeps the variance from layer to layer: the scores come out around ±1, and
            # depend on the image.
            inputs = module.weight[0].numel()
            nn.init.normal_(module.weight, std=inputs**-0.5, generator=generator)
            nn.init.normal_(module.bias, std=0.02, generator=generator)  # type: ignore[arg-type]
    nn.init.normal_(net.class_token, std=0.02, generator=generator)
    nn.init.normal_(net.positions, std=0.02, generator=generator)


def build() -> nn.Module:
    """Return the network, seeded by a generator of its own: torch's global random state stays as it is."""
    with torch.device("meta"):  # no memory and no random numbers for weights that are about to be replaced
        net = VisionTransformer()
    net.to_empty(device="cpu")
    initialize(net)
    return net.eval()


model = Model(
    build=build,
    inputs=[Input("image", shape=("batch", 3, IMAGE, IMAGE), dtype="float32", min_value=-1.0, max_value=1.0)],
    dims={"batch": (1, 2)},
    measure={"batch": 1},
)
