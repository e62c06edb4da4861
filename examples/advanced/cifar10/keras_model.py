"""The network in Keras, with training and evaluation outside the federation."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # hides TensorFlow's message about its build
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # and the notice about oneDNN's rounding

import keras
import tensorflow as tf
from data import SIZE, batches, scaled
from keras import layers

from flare_recipes_tf import FedAvgRecipe, FedOptRecipe, ScaffoldRecipe, set_params

RECIPES = {"fedavg": FedAvgRecipe, "fedprox": FedAvgRecipe, "fedopt": FedOptRecipe, "scaffold": ScaffoldRecipe}


def make_model(seed=0):
    """Create three convolutions that each halve the image's sides; 34,826 parameters, as in PyTorch."""
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
    """Return a compiled function that trains on one batch; ``correct`` adjusts the gradients first."""
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
    """Train without federation."""
    step = make_step(model, keras.losses.SparseCategoricalCrossentropy(from_logits=True), lr)
    for x, y in batches(images, labels, steps, seed):
        step(x, y)


def accuracy(model, images, labels):
    right = 0
    for start in range(0, len(labels), 500):  # in parts, to limit memory
        scores = model(scaled(images[start : start + 500]), training=False).numpy()
        right += (scores.argmax(axis=1) == labels[start : start + 500]).sum()
    return right / len(labels)
