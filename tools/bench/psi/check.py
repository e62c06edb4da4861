"""Compare the result of the last run with the intersection of two sets: check.py FOLDER COUNT"""

import sys
from pathlib import Path

from files import SITES, ids_of

folder, count = Path(sys.argv[1]), int(sys.argv[2])
paths = [folder / "result" / "sites" / f"site-{site + 1}" / "intersection.csv" for site in range(SITES)]
found = [[line.split(",")[0] for line in path.read_text().splitlines()[1:]] for path in paths]
assert found[0] == found[1]
assert len(found[0]) == len(set(found[0]))
assert set(found[0]) == set(ids_of(0, count)) & set(ids_of(1, count))
