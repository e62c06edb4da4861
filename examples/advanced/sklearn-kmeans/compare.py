"""Run k-means on the flowers of each site alone."""

from data import SITES, inertia, load_all, load_site
from sklearn.cluster import KMeans

for number in range(1, SITES + 1):
    alone = KMeans(3, n_init=10, random_state=0).fit(load_site(f"site-{number}"))
    print(f"site-{number} alone: {inertia(load_all(), alone.cluster_centers_):.4f}")
