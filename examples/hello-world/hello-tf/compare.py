"""Train without federation: on each site's digits alone, and on the pooled digits."""

import numpy as np
from data import load_site, load_test
from model import keras, make_model

SITES = 3
EPOCHS = 20  # as in 10 rounds of 2


def trained_on(images, labels):
    keras.utils.set_random_seed(0)
    model = make_model()
    model.fit(images, labels, batch_size=32, epochs=EPOCHS, verbose=0)
    _, accuracy = model.evaluate(*load_test(), verbose=0)
    return accuracy


sites = [load_site(f"site-{number + 1}", SITES) for number in range(SITES)]
for number, (images, labels) in enumerate(sites, 1):
    print(f"site-{number} alone ({len(labels)} images): {trained_on(images, labels):.3f}")
pooled = [np.concatenate(parts) for parts in zip(*sites, strict=True)]
print(f"all in one place ({len(pooled[1])} images): {trained_on(*pooled):.3f}")
