"""Plots, from the evidence and its raw samples to SVG.

colors.py   the colours, for plots and page
plot.py     what a plot is to whoever shows it
"""
