"""The inputs that parity tries.

space            all inputs that a model file allows, and recipes for them
fills            the arrays of a recipe, made alike on host and device
generate         draws recipes with Hypothesis
shrink           makes a failing recipe simpler
counterexamples  failing recipes of earlier runs, which are tried first
"""
