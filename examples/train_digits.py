"""Train the network of digits.py; write its weights, digits.pt, and the images held out, digits_heldout.npz.

    python examples/train_digits.py

Takes a quarter of a minute and needs scikit-learn, which brings the data. Deterministic: the same versions of torch,
numpy and scikit-learn on the same kind of CPU write the same files.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from digits import DigitsNet
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

SEED = 20260
HELD_OUT = 0.25
EPOCHS = 40
BATCH = 64


def load_data() -> tuple[np.ndarray, np.ndarray]:
    """All images, uint8 [N, 8, 8], 0 to 16, and the digits that they show, int64 [N]."""
    data = load_digits()
    return data.images.astype(np.uint8), data.target.astype(np.int64)


def split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices to train on and those held out, every digit in the same proportion in both."""
    everything = np.arange(len(labels))
    train, held_out = train_test_split(everything, test_size=HELD_OUT, stratify=labels, random_state=SEED)
    return np.sort(train), np.sort(held_out)


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """Pixels uint8 [N, 8, 8], 0 to 16 -> the network's input float32 [N, 1, 8, 8], 0 to 1."""
    return torch.from_numpy(images).float().div(16).unsqueeze(1)


def train(images: torch.Tensor, labels: torch.Tensor) -> DigitsNet:
    """Fit a network to these images [N, 1, 8, 8] and labels [N], and return it in eval mode."""
    torch.manual_seed(SEED)
    torch.set_num_threads(1)  # the order of a sum, and so its last bits, depends on the number of threads
    torch.use_deterministic_algorithms(True)
    net = DigitsNet()
    steps = EPOCHS * -(-len(images) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=5e-3, total_steps=steps)
    for _ in range(EPOCHS):
        order = torch.randperm(len(images))
        for start in range(0, len(images), BATCH):
            chosen = order[start : start + BATCH]
            loss = nn.functional.cross_entropy(net(images[chosen]), labels[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
    return net.eval()


def accuracy(net: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of images [N, 1, 8, 8] whose label [N] has the largest score."""
    with torch.no_grad():
        return float((net(images).argmax(dim=-1) == labels).float().mean())


def main() -> None:
    """Train, write both files, say how good the network is."""
    parser = argparse.ArgumentParser(description="Train the digits example; write digits.pt and digits_heldout.npz.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, metavar="FOLDER", help="default: beside me")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)

    images, labels = load_data()
    pixels, digits = to_tensor(images), torch.from_numpy(labels)
    train_on, held_out = split(labels)
    net = train(pixels[train_on], digits[train_on])

    torch.save(net.state_dict(), out / "digits.pt")
    np.savez_compressed(out / "digits_heldout.npz", images=images[held_out], labels=labels[held_out])
    print(f"trained on {len(train_on)} images: accuracy {accuracy(net, pixels[train_on], digits[train_on]):.4f}")
    print(f"held out {len(held_out)} images: accuracy {accuracy(net, pixels[held_out], digits[held_out]):.4f}")


if __name__ == "__main__":
    main()
