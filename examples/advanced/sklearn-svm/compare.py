"""Train at each site alone."""

from data import SITES, load_part, load_site
from sklearn.svm import SVC

for number in range(1, SITES + 1):
    rows, labels = load_site(f"site-{number}")
    alone = SVC(kernel="rbf", gamma="auto").fit(rows, labels)
    print(f"site-{number} alone ({len(rows)} patients): {alone.score(*load_part('test')):.3f}")
