"""Docstrings of Python's standard library, labelled with their topic."""

import ast
import sysconfig
from functools import cache
from pathlib import Path

import numpy as np

SITES = ["site-1", "site-2", "site-3"]
TRAINING, TEST = 100, 60  # texts of each topic
TOPICS = {  # source files below the standard library's folder
    "concurrency": "threading queue subprocess selectors concurrent/futures/* multiprocessing/* asyncio/*",
    "email": "email/* mailbox",
    "files": "os shutil pathlib pathlib/* tempfile zipfile zipfile/* tarfile gzip bz2 lzma _pyio glob posixpath",
    "networking": "socket ssl http/* urllib/* smtplib ftplib imaplib poplib socketserver xmlrpc/* ipaddress",
    "numbers": "_pydecimal fractions statistics random numbers",
    "testing": "unittest/* doctest pdb bdb trace",
}


def docstrings(path):
    """Yield the first paragraph of each function's and class's docstring, if it has at least six words."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            text = " ".join((ast.get_docstring(node) or "").partition("\n\n")[0].split())
            if len(text.split()) >= 6:
                yield text


@cache
def load_all():
    """Return training texts in a fixed random order, and test texts, each with the number of its topic."""
    library = Path(sysconfig.get_path("stdlib"))
    generator = np.random.default_rng(0)
    training, test = [], []
    for topic, patterns in enumerate(TOPICS.values()):
        files = sorted(path for pattern in patterns.split() for path in library.glob(f"{pattern}.py"))
        texts = list(dict.fromkeys(text for path in files for text in docstrings(path)))  # without duplicates
        chosen = [(texts[index], topic) for index in generator.permutation(len(texts))[: TRAINING + TEST]]
        test += chosen[:TEST]
        training += chosen[TEST:]
    return [training[index] for index in generator.permutation(len(training))], test


def load_test():
    """Return the texts that no site trains on."""
    return load_all()[1]


def load_site(name):
    """Return the texts of one site, mostly of a few topics; ``all`` stands for the texts of all sites."""
    texts = load_all()[0]
    if name == "all":
        return texts
    generator = np.random.default_rng(1)
    shares = generator.dirichlet([0.5] * len(SITES), size=len(TOPICS))
    owners = [generator.choice(SITES, p=shares[topic]) for _, topic in texts]
    return [text for text, owner in zip(texts, owners, strict=True) if owner == name]
