"""Authentication of a benchmark's processes: certificates in a folder, or a secret."""

from pathlib import Path

from flare_transport import Credentials
from flare_transport.certificates import issue, make_authority

SECRET = bytes(32)


def prepare(folder: Path, kind: str, names: list[str]) -> None:
    """Write the credentials of the cells with these names."""
    if kind == "mtls":
        authority = make_authority("benchmark")
        for name in names:
            made = issue(authority, name)
            for part in ("certificate", "private_key", "authority"):
                (folder / f"{name}.{part}").write_bytes(getattr(made, part))


def credentials(folder: Path, name: str) -> Credentials:
    """Read the credentials written by :func:`prepare`."""
    return Credentials(
        *((folder / f"{name}.{part}").read_bytes() for part in ("certificate", "private_key", "authority"))
    )


def proof(folder: Path, kind: str, name: str) -> dict:
    """Return the arguments of ``listen`` and ``connect``."""
    return {"credentials": credentials(folder, name)} if kind == "mtls" else {"secret": SECRET}
