"""Find three species of iris in the flowers of three sites, none of which reveals its own."""

from data import SITES, inertia, load_all
from sklearn.cluster import KMeans

from flare_recipes_sklearn import KMeansFedAvgRecipe
from flare_runtime import SimEnv

recipe = KMeansFedAvgRecipe(
    name="sklearn-kmeans", min_clients=SITES, num_rounds=20, n_clusters=3, train_script="client.py"
)
run = recipe.execute(SimEnv(num_clients=SITES))

flowers = load_all()
print(f"mean squared distance, federated: {inertia(flowers, run.load_model()['centers']):.4f}")
pooled = KMeans(3, n_init=10, random_state=0).fit(flowers)
print(f"mean squared distance, all flowers in one place: {inertia(flowers, pooled.cluster_centers_):.4f}")
