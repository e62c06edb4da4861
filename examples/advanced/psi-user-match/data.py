"""Made-up customer files of three companies, in which the same people write their addresses differently."""

import csv
import random
from pathlib import Path

COMPANIES = {"bank": (0, 6000), "insurer": (2000, 8000), "shop": (3000, 11000)}  # their first and last persons
FOLDER = Path("flare-runs", "customers").absolute()


def make():
    """Write the files, and return their paths by company."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    paths = {}
    for company, (first, last) in COMPANIES.items():
        generator = random.Random(company)
        rows = [[spelling(generator, person), generator.randrange(18, 90)] for person in range(first, last)]
        rows += generator.sample(rows, len(rows) // 20)  # people who are in the file twice
        generator.shuffle(rows)
        paths[company] = FOLDER / f"{company}.csv"
        with paths[company].open("w", newline="") as file:
            csv.writer(file).writerows([["email", "age"], *rows])
    return paths


def spelling(generator, person):
    """Return a person's address, as one or another would write it."""
    address = f"person.{person:05}@example.org"
    return generator.choice([address, address.upper(), f" {address}", address.title()])
