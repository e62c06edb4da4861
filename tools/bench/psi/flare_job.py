"""Intersect the ids of two sites: flare_job.py FOLDER COUNT

Prints the run's seconds, and the bytes that an id costs a site, sent and received.
"""

import json
import sys
from pathlib import Path

from files import SITES

from flare_psi import PSIRecipe
from flare_runtime import SimEnv

folder, count = Path(sys.argv[1]), int(sys.argv[2])
recipe = PSIRecipe(
    min_clients=SITES,
    per_site_config={
        f"site-{site + 1}": {"ids": str(folder / f"ids-{count}-site-{site + 1}.csv"), "column": "id"}
        for site in range(SITES)
    },
)
run = recipe.execute(SimEnv(num_clients=SITES, workspace_root=folder))
result = run.get_result()
sites = json.loads((result / "server" / "psi.json").read_text())["sites"]
print("run", run.summary()["seconds"])
print("sent", max(site["sent_bytes"] / site["size"] for site in sites.values()))
print("received", max(site["received_bytes"] / site["size"] for site in sites.values()))
(folder / "result").unlink(missing_ok=True)
(folder / "result").symlink_to(result)
