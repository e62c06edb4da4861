from net_class import Net
from task import accuracy, load_client, train

import nvflare.client as flare

flare.init()
number = int(flare.get_site_name().removeprefix("site-"))
images, labels = load_client(number)
net = Net()
while flare.is_running():
    received = flare.receive()
    net.load_state_dict(received.params)
    if number == 1:
        print("accuracy", accuracy(net), flush=True)
    train(net, images, labels, number, received.current_round)
    flare.send(flare.FLModel(params=net.state_dict(), metrics={"accuracy": 0.0}))
