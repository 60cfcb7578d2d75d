"""hilgate: from a PyTorch model to a verdict on your device, under pytest."""

from .model import Closeness, Input, Model

__all__ = ["Closeness", "Input", "Model", "__version__"]

__version__ = "0.1.0"
