"""Three companies find their common customers, and show each other no others."""

import csv

from data import make

from flare_psi import PSIRecipe
from flare_runtime import SimEnv

paths = make()
recipe = PSIRecipe(
    name="psi-user-match",
    min_clients=len(paths),
    per_site_config={company: {"ids": str(path), "column": "email"} for company, path in paths.items()},
    normalize=["email"],
)
run = recipe.execute(SimEnv(clients=list(paths)))

results = {}
for company in paths:
    with (run.get_result() / "sites" / company / "intersection.csv").open(newline="") as file:
        results[company] = list(csv.DictReader(file))
emails = {company: [row["email"] for row in rows] for company, rows in results.items()}
print("the same customers in the same order:", all(each == emails["bank"] for each in emails.values()))
print("common customers:", len(emails["bank"]))
