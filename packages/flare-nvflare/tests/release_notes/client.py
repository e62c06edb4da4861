import torch
from model import SimpleNetwork

import nvflare.client as flare

flare.init()
net = SimpleNetwork()
while flare.is_running():
    input_model = flare.receive()
    net.load_state_dict(input_model.params)
    loss = net(torch.ones(4, 2)).square().mean()
    loss.backward()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter -= 0.1 * parameter.grad
            parameter.grad = None
    output_model = flare.FLModel(params=net.state_dict(), metrics={"loss": loss.item()})
    flare.send(output_model)
