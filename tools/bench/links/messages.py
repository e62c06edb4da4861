"""Round trips of small messages over gRPC on loopback: bare streams and cells, alone and during a bulk transfer.

Usage: messages.py bare|flare KIND FOLDER. Prints round trips per second with 1, 4 and 16 in flight, and for cells the
99th percentile of their latency, in milliseconds, while another thread downloads as fast as it can.
"""

import multiprocessing
import queue
import sys
import threading
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import certificates

from flare_transport import Cell, Raw
from flare_transport.certificates import identity_host

MESSAGE = bytes(100)
PIECE = 4 << 20
ROUND_TRIPS = 4000
METHOD = "/bare/Echo"


def bare_server(kind, folder, port):
    import grpc

    def echo(chunks, context):
        yield from chunks

    handler = grpc.stream_stream_rpc_method_handler(echo)
    server = grpc.server(
        ThreadPoolExecutor(2), handlers=[grpc.method_handlers_generic_handler("bare", {"Echo": handler})]
    )
    if kind == "mtls":
        own = certificates.credentials(Path(folder), "server")
        tls = grpc.ssl_server_credentials([(own.private_key, own.certificate)], own.authority, True)
        port.put(server.add_secure_port("127.0.0.1:0", tls))
    else:
        port.put(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    server.wait_for_termination()


def bare(kind, folder, port):
    import grpc

    target = f"127.0.0.1:{port}"
    if kind == "mtls":
        own = certificates.credentials(Path(folder), "site-1")
        tls = grpc.ssl_channel_credentials(own.authority, own.private_key, own.certificate)
        channel = grpc.secure_channel(target, tls, options=[("grpc.ssl_target_name_override", identity_host("server"))])
    else:
        channel = grpc.insecure_channel(target)
    outgoing: queue.SimpleQueue = queue.SimpleQueue()
    incoming = channel.stream_stream(METHOD)(iter(outgoing.get, None))
    rates(lambda: outgoing.put(MESSAGE), lambda _: next(incoming))


def flare_server(kind, folder, address):
    cell, data = Cell("server"), bytes(PIECE)
    cell.handle("echo", lambda message: Raw(message.body), inline=True)
    cell.handle("pull", lambda message: Raw(data))
    address.put(cell.listen("grpc://127.0.0.1:0", **certificates.proof(Path(folder), kind, "server")))
    threading.Event().wait()


def flare(kind, folder, address):
    cell = Cell("site-1")
    cell.connect(address, peer="server", **certificates.proof(Path(folder), kind, "site-1"))
    rates(lambda: cell.start_request("server", "echo", Raw(MESSAGE)), lambda pending: pending.result())
    stop, moved = threading.Event(), []
    download = threading.Thread(target=pull, args=(cell, stop, moved))
    download.start()
    while len(moved) < 100:  # until the transfer is in full flow
        cell.request("server", "echo", Raw(MESSAGE))
    latencies, began, before = [], time.perf_counter(), len(moved)
    for _ in range(ROUND_TRIPS // 2):
        start = time.perf_counter()
        cell.request("server", "echo", Raw(MESSAGE))
        latencies.append(time.perf_counter() - start)
    print("bulk", (len(moved) - before) * PIECE / (time.perf_counter() - began) / 1e9)
    print("p99", 1e3 * sorted(latencies)[int(0.99 * len(latencies))])
    stop.set()
    download.join()
    cell.close()


def pull(cell, stop, moved):
    pieces = [memoryview(bytearray(PIECE)) for _ in range(4)]
    window = deque(cell.start_request("server", "pull", into=piece) for piece in pieces)
    while not stop.is_set():
        pending = window.popleft()
        into = pending.into
        pending.result()
        moved.append(1)
        window.append(cell.start_request("server", "pull", into=into))
    for pending in window:
        pending.result()


def rates(send, receive):
    for under_way in (1, 4, 16):
        for count in (500, ROUND_TRIPS):
            began = time.perf_counter()
            window = deque(send() for _ in range(under_way))
            for _ in range(count - under_way):
                receive(window.popleft())
                window.append(send())
            while window:
                receive(window.popleft())
        print(f"rate-{under_way}", count / (time.perf_counter() - began))


if __name__ == "__main__":
    system, kind, folder = sys.argv[1:4]
    certificates.prepare(Path(folder), kind, ["server", "site-1"])
    context = multiprocessing.get_context("spawn")
    where = context.Queue()
    server = context.Process(target=globals()[f"{system}_server"], args=(kind, folder, where), daemon=True)
    server.start()
    globals()[system](kind, folder, where.get())
    sys.stdout.flush()
    server.terminate()
    server.join()
