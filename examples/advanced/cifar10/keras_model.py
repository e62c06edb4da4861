"""The network in Keras, and what the job does with it outside a federation."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # else TensorFlow prints, before all else, what it was built for
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # and that its sums may depend on the processor

import keras
import tensorflow as tf
from data import SIZE, batches, scaled
from keras import layers

from flare_recipes_tf import FedAvgRecipe, FedOptRecipe, ScaffoldRecipe, set_params

RECIPES = {"fedavg": FedAvgRecipe, "fedprox": FedAvgRecipe, "fedopt": FedOptRecipe, "scaffold": ScaffoldRecipe}


def make_model(seed=0):
    """Three convolutions, each of which halves the image's sides: 34,826 numbers, as many as in PyTorch."""
    keras.utils.set_random_seed(seed)
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Conv2D(16, 5, strides=2, padding="same"),
            layers.GroupNormalization(4),
            layers.ReLU(),
            layers.Conv2D(32, 3, strides=2, padding="same"),
            layers.GroupNormalization(4),
            layers.ReLU(),
            layers.Conv2D(64, 3, strides=2, padding="same"),
            layers.GroupNormalization(4),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def put_params(model, params):
    set_params(model, params)


def make_step(model, loss, lr, correct=list):
    """A compiled function that trains on one batch; ``correct`` changes the gradients before they are used."""
    optimizer = keras.optimizers.SGD(lr)
    optimizer.build(model.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(x, y):
        with tf.GradientTape() as tape:
            value = loss(y, model(x, training=True))
        gradients = tape.gradient(value, model.trainable_variables)
        optimizer.apply(correct(gradients), model.trainable_variables)

    return step


def train(model, images, labels, steps, lr, seed):
    """The same training without a federation."""
    step = make_step(model, keras.losses.SparseCategoricalCrossentropy(from_logits=True), lr)
    for x, y in batches(images, labels, steps, seed):
        step(x, y)


def accuracy(model, images, labels):
    right = 0
    for start in range(0, len(labels), 500):  # at once, all of CIFAR-10 would take much memory
        scores = model(scaled(images[start : start + 500]), training=False).numpy()
        right += (scores.argmax(axis=1) == labels[start : start + 500]).sum()
    return right / len(labels)
