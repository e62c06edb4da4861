"""Train at each site alone."""

from data import CLASSES, SITES, load_digits_of, load_site
from sklearn.linear_model import SGDClassifier

for number in range(1, SITES + 1):
    alone = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=0.05, random_state=0)
    for _ in range(40):
        alone.partial_fit(*load_site(f"site-{number}"), classes=CLASSES)
    print(f"site-{number} alone: {alone.score(*load_digits_of('test')):.3f}")
