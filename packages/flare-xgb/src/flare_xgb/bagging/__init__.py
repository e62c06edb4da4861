"""Whole trees of every site, bagged or boosted in turns."""

MODES = ("bagging", "cyclic")
LR_MODES = ("uniform", "scaled")
