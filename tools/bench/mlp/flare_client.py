from task import load_client, make_net, train

import flare_core.client as flare

flare.init()
number = int(flare.get_site_name().removeprefix("site-"))
images, labels = load_client(number)
net = make_net()
while flare.is_running():
    received = flare.receive()
    net.load_state_dict(received.params)
    train(net, images, labels, number, received.current_round)
    flare.send(flare.FLModel(params=net.state_dict()))
