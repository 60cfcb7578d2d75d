"""hilgate: from a PyTorch model to a verdict on your device, under pytest."""

from .model import Input, Model

__all__ = ["Input", "Model", "__version__"]

__version__ = "0.1.0"
