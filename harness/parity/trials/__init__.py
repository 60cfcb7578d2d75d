"""The inputs that parity tries.

recipe           a few numbers from which host and device make the same arrays
space            all inputs that a model file allows; strategies, what Hypothesis draws of them
samples          the model file's samples that are mutated
fills            the arrays of a recipe, made alike on host and device
generate         draws recipes with Hypothesis
shrink           makes a failing recipe simpler
counterexamples  failing recipes of earlier runs, which are tried first
"""
