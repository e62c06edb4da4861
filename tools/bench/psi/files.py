"""Write the ids of two sites, half of which both have: files.py FOLDER COUNT"""

import random
import sys
from pathlib import Path

SITES = 2


def ids_of(site, count):
    """Return ids like e-mail addresses, in an order of the site's own."""
    first = site * (count // 2)
    ids = [f"user{number:09}@example.com" for number in range(first, first + count)]
    random.Random(site).shuffle(ids)
    return ids


if __name__ == "__main__":
    folder, count = Path(sys.argv[1]), int(sys.argv[2])
    for site in range(SITES):
        (folder / f"ids-{count}-site-{site + 1}.csv").write_text("id\n" + "\n".join(ids_of(site, count)) + "\n")
