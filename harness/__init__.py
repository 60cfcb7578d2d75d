"""hilgate: from a PyTorch model to a verdict on your device, under pytest."""

from .model import Closeness, Input, Model
from .unordered import Unordered

__all__ = ["Closeness", "Input", "Model", "Unordered", "__version__"]

__version__ = "0.1.0"
