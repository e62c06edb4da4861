"""The same network as a class of its own, for systems that take a model as the path of one."""

import torch
from task import first_net


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = first_net()

    def forward(self, images):
        return self.layers(images)
