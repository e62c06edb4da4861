"""A model that each client adds 1 to: no training, so all that is left is overhead.

``BENCH_MIB`` says how large it is: 0 stands for one tensor of 10 numbers, else it has 32 float32 tensors of equal size.
An argument would not do, as one of the systems makes the model again on the other side, without arguments.
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
