"""How many customers do two of the companies have in common? Only the insurer is told, and nobody which."""

import json

from data import make

from flare_psi import PSIRecipe
from flare_runtime import SimEnv

paths = make()
recipe = PSIRecipe(
    name="psi-number-only",
    min_clients=2,
    per_site_config={company: {"ids": str(paths[company]), "column": "email"} for company in ("bank", "insurer")},
    normalize=["email"],
    result="cardinality",
    receivers=["insurer"],
    pad_to=10_000,
)
run = recipe.execute(SimEnv(clients=["bank", "insurer"]))
for company in ("bank", "insurer"):
    known = json.loads((run.get_result() / "sites" / company / "intersection.json").read_text())
    print(f"{company} knows: {known['intersection']}")
