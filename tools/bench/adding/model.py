"""A model that each client adds 1 to: without training, only overhead is measured.

``BENCH_MIB`` sets the size: 0 means one tensor of 10 numbers, otherwise 32 float32 tensors of equal size. It is not an
argument, because one of the systems creates the model again on the other side without arguments.
"""

import os

import torch


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        mib = int(os.environ["BENCH_MIB"])
        shapes = [(mib * 8, 1024)] * 32 if mib else [(10,)]
        self.weights = torch.nn.ParameterList(torch.nn.Parameter(torch.zeros(shape)) for shape in shapes)

    def forward(self, value):
        return value
