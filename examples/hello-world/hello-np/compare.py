"""Find the best fit without federation: to each site's measurements alone, and to the pooled measurements."""

import numpy as np
from data import SITES, largest_error, load_site


def error_of_best_fit(x, y):
    *weights, bias = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y)[0]
    return largest_error(np.array(weights), bias)


sites = [load_site(f"site-{number + 1}") for number in range(SITES)]
for number, (x, y) in enumerate(sites, 1):
    print(f"site-{number} alone ({len(y)} rows): {error_of_best_fit(x, y):.3f}")
x, y = (np.concatenate(parts) for parts in zip(*sites, strict=True))
print(f"all in one place ({len(y)} rows): {error_of_best_fit(x, y):.3f}")
