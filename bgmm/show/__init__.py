"""Plots and text summaries of a tree."""
