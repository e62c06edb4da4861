"""A stand-in for torchvision, with a data set of points: those right of 0 are of class 1."""
