"""The examples are what their README says: judged by images that they were not trained on, and of the size named."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Imports an example by its module name, with its folder first on the path, as it is for a script."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return importlib.import_module


def test_held_out_samples_are_the_held_out_part_of_the_split(example: Callable[[str], Any]) -> None:
    # Here, for they take seconds to import: whoever collects tests would wait.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    data = load_digits()
    seed = example("train_digits").SEED
    everything = np.arange(len(data.target))
    train, held_out = train_test_split(everything, test_size=0.25, stratify=data.target, random_state=seed)

    inputs, labels = example("digits").load_samples()

    held_out.sort()
    assert not set(train) & set(held_out)
    np.testing.assert_array_equal(inputs["image"], data.images[held_out, np.newaxis].astype(np.float32) / 16)
    np.testing.assert_array_equal(labels, data.target[held_out])


def test_training_sees_no_held_out_image(
    example: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script, digits = example("train_digits"), example("digits")
    seen: list[torch.Tensor] = []

    def note_images(images: torch.Tensor, labels: torch.Tensor) -> torch.nn.Module:
        seen.append(images)
        return digits.DigitsNet().eval()  # type: ignore[no-any-return]

    monkeypatch.setattr(script, "train", note_images)
    monkeypatch.setattr(sys, "argv", ["train_digits.py", "--out", str(tmp_path)])
    script.main()

    held_out = {image.tobytes() for image in digits.load_samples()[0]["image"]}
    (images,) = seen
    assert len(images) + len(held_out) == 1797
    assert held_out.isdisjoint(image.numpy().tobytes() for image in images)


def test_digits_reads_the_held_out_images(example: Callable[[str], Any]) -> None:
    digits = example("digits")
    inputs, labels = digits.load_samples()

    with torch.no_grad():
        answers = digits.build()(torch.from_numpy(inputs["image"])).argmax(dim=-1).numpy()

    assert (answers == labels).mean() >= 0.95


def test_vit_base_has_as_many_parameters_as_vit_b_16(example: Callable[[str], Any]) -> None:
    with torch.device("meta"):
        net = example("vit_base").VisionTransformer()

    assert sum(parameter.numel() for parameter in net.parameters()) == 86_567_656


def test_building_vit_base_leaves_the_global_random_state_as_it_was(example: Callable[[str], Any]) -> None:
    before = torch.get_rng_state()

    example("vit_base").build()

    assert torch.equal(torch.get_rng_state(), before)
