"""Plots from records; scripts/plots is the program."""
