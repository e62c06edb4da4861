"""Train without federation: on each site's digits alone, and on the pooled digits."""

import torch
from data import load_site, load_test
from model import Net
from train import accuracy, train

SITES = 3
EPOCHS = 30  # as in 15 rounds of 2


def trained_on(images, labels):
    torch.manual_seed(0)
    net = Net()
    train(net, images, labels, epochs=EPOCHS)
    return accuracy(net, *load_test())


sites = [load_site(f"site-{number + 1}", SITES) for number in range(SITES)]
for number, (images, labels) in enumerate(sites, 1):
    print(f"site-{number} alone ({len(labels)} images): {trained_on(images, labels):.3f}")
pooled = [torch.cat(parts) for parts in zip(*sites, strict=True)]
print(f"all in one place ({len(pooled[1])} images): {trained_on(*pooled):.3f}")
