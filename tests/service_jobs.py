"""Jobs with services, for tests in every environment."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path, PurePosixPath

from flare_core import Job
from flare_core.components import Component

HERE = Path(__file__).parent

ECHO_SCRIPT = """
    import hashlib
    import socket
    import threading
    from pathlib import Path

    import numpy as np

    import flare_core.client as flare

    SIZE = {size}


    def echoed(to):
        sent = np.random.default_rng(len(to)).bytes(SIZE)
        with socket.create_connection(("127.0.0.1", int(Path("port.txt").read_text()))) as connection:
            def send():
                connection.sendall(to.encode() + b"\\n" + sent)
                connection.shutdown(socket.SHUT_WR)

            sending = threading.Thread(target=send)
            sending.start()
            digest = hashlib.sha256()
            while data := connection.recv(1 << 16):
                digest.update(data)
            sending.join()
        return digest.digest() == hashlib.sha256(sent).digest()


    flare.init()
    while flare.is_running():
        model = flare.receive()
        others = [party for party in {parties} if party != flare.get_site_name()]
        flare.send(flare.FLModel(params=model.params, metrics={{"echoed": sum(map(echoed, others))}}))
"""


def echo_script(*sites: str, size: int = 3 << 20) -> str:
    """A script that has every other party echo so many bytes, and reports how many parties did."""
    return ECHO_SCRIPT.format(size=size, parties=["server", *sites])


def with_services(
    job: Job, module: str, *, server: str | None = None, client: str | None = None, source: str = "", **args
) -> Job:
    """Add services of a module beside this one, or with such a source, to a job."""
    path = job.code.root / f"{module}.py"
    if source:
        path.write_text(source)
    else:
        shutil.copy(HERE / f"{module}.py", path)
    files = (*job.code.files, PurePosixPath(path.name))
    job.code = dataclasses.replace(job.code, files=tuple(dict.fromkeys(files)))
    for app, name in ((job.server, server), (job.client, client)):
        if name is not None:
            app.components["service"] = Component(f"{module}.{name}", args)
    return job
