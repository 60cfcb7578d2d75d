"""A look at an endpoint from the device, for `hilgate doctor`: what stands between them, without a model file.

It is no part of a bundle: its sources are handed to the device's Python, which needs no numpy for it.

answers what a server answers, read within bounds
service what SageMaker's runtime says without a signature
look    the program: resolves, connects, asks for the model, infers once with zeros, and reports
"""
