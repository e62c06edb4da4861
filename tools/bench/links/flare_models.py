"""Models between cells over gRPC: the work of adding/raw_sockets.py, without the simulator."""

import subprocess
import sys
import time
from pathlib import Path
from queue import SimpleQueue

import certificates
import numpy as np

from flare_core import FLModel, Reply, WeightedMean
from flare_tensor_downloader import Downloader
from flare_tensor_downloader.wire import receive_params, send_params
from flare_transport import Cell

TENSORS = 32


def serve(clients: int, rounds: int, mib: int, kind: str, folder: Path) -> None:
    names = [f"site-{number + 1}" for number in range(clients)]
    certificates.prepare(folder, kind, ["server", *names])
    model = FLModel(
        params={f"w{number}": np.zeros(mib * (1 << 18) // TENSORS, np.float32) for number in range(TENSORS)}
    )
    with Cell("server") as cell:
        downloader = Downloader(cell)
        here: SimpleQueue = SimpleQueue()
        results: SimpleQueue = SimpleQueue()
        cell.handle("here", lambda message: here.put(message.sender), inline=True)
        cell.handle("result", lambda message: results.put((message.sender, message.payload)), inline=True)
        address = cell.listen("grpc://127.0.0.1:0", **certificates.proof(folder, kind, "server"))
        command = [sys.executable, __file__, "client", address, kind, str(folder), str(rounds)]
        processes = [subprocess.Popen([*command, name]) for name in names]
        for _ in names:
            here.get()
        began = time.monotonic()
        for _ in range(rounds):
            outgoing, offer = send_params(model, downloader, receivers=dict.fromkeys(names, 1))
            for name in names:
                cell.send(name, "task", outgoing)
            sent, mean = offer.arrays(), WeightedMean()
            arrived: dict = {}
            for name in names:
                while name not in arrived:
                    sender, reply = results.get()
                    arrived[sender] = reply
                params = receive_params(arrived.pop(name), cell, sent).params
                mean.add(Reply(name, "train", FLModel(params=params), 0))
                params.release()
            model = mean.update(model)
        print("loop", time.monotonic() - began)
        print("first", float(model.params["w0"][0]))
        for process in processes:
            process.wait()


def work(address: str, kind: str, folder: Path, rounds: int, name: str) -> None:
    with Cell(name) as cell:
        downloader = Downloader(cell)
        tasks: SimpleQueue = SimpleQueue()
        cell.handle("task", lambda message: tasks.put(message.payload), inline=True)
        cell.connect(address, peer="server", **certificates.proof(folder, kind, name))
        cell.send("server", "here")
        for _ in range(rounds):
            params = receive_params(tasks.get(), cell).params
            arrays = params.materialize()
            params.release()
            for array in arrays.values():
                array += 1.0
            outgoing, offer = send_params(FLModel(params=arrays), downloader)
            cell.send("server", "result", outgoing)
            offer.wait_released()
            del arrays, outgoing, offer


if sys.argv[1] == "client":
    work(sys.argv[2], sys.argv[3], Path(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
else:
    serve(*map(int, sys.argv[1:4]), sys.argv[4], Path(sys.argv[5]))
