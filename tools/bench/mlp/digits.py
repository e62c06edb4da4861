"""Write scikit-learn's digits to one file, so that loading them takes the same short time in every system."""

import sys

import numpy as np
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(labels))
np.save(sys.argv[1], np.column_stack([images, labels])[order].astype(np.float32))
