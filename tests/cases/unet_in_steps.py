# the same net with its sizes declared: in steps, as Python's range, and as a list
from unet_multiples import UNet

from harness import Input, Model

model = Model(
    build=lambda: UNet().eval(),
    inputs=[Input("image", ("batch", 3, "h", "w"), "float32", 0.0, 1.0)],
    dims={"batch": [1, 4], "h": (16, 64, 4), "w": range(16, 65, 16)},
)
