"""The limit of gRPC: the same bytes over bare streams in pieces of 1 MiB, received and averaged in place."""

import multiprocessing
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import certificates
import grpc
import numpy as np

from flare_transport.certificates import identity_host

TENSORS = 32
STEP = 1 << 20
METHOD = "/bare/Stream"


def new_tensors(mib):
    return [np.zeros(mib * (1 << 18) // TENSORS, np.float32) for _ in range(TENSORS)]


def chunks_of(tensors):
    for tensor in tensors:
        view = memoryview(tensor).cast("B")
        for start in range(0, len(view), STEP):
            yield bytes(view[start : start + STEP])


def receive_into(chunks, tensor):
    view, start = memoryview(tensor).cast("B"), 0
    while start < len(view):
        chunk = next(chunks)
        view[start : start + len(chunk)] = chunk
        start += len(chunk)


def client(port, rounds, mib, kind, folder):
    options = [("grpc.max_receive_message_length", -1)]
    target = f"127.0.0.1:{port}"
    if kind == "mtls":
        own = certificates.credentials(Path(folder), "site-1")
        tls = grpc.ssl_channel_credentials(own.authority, own.private_key, own.certificate)
        options.append(("grpc.ssl_target_name_override", identity_host("server")))
        channel = grpc.secure_channel(target, tls, options=options)
    else:
        channel = grpc.insecure_channel(target, options=options)
    tensors, ready = new_tensors(mib), threading.Semaphore(0)

    def outgoing():
        yield b"here"
        for _ in range(rounds):
            ready.acquire()
            yield from chunks_of(tensors)

    incoming = channel.stream_stream(METHOD)(outgoing())
    for _ in range(rounds):
        for tensor in tensors:
            receive_into(incoming, tensor)
        for tensor in tensors:
            tensor += 1.0
        ready.release()
    list(incoming)
    channel.close()


def serve(clients, rounds, mib, kind, folder):
    model, total = new_tensors(mib), new_tensors(mib)
    calls, connected, started, done = [], threading.Barrier(clients + 1), [], threading.Event()

    def stream(chunks, context):
        next(chunks)
        number = len(calls)
        calls.append(chunks)
        started.append([threading.Semaphore(0), threading.Semaphore(0)])
        connected.wait()
        for _ in range(rounds):
            started[number][0].acquire()
            yield from chunks_of(model)
            started[number][1].release()
        done.wait()

    server = grpc.server(
        ThreadPoolExecutor(clients + 1),
        handlers=[
            grpc.method_handlers_generic_handler("bare", {"Stream": grpc.stream_stream_rpc_method_handler(stream)})
        ],
        options=[("grpc.max_receive_message_length", -1)],
    )
    if kind == "mtls":
        certificates.prepare(Path(folder), kind, ["server", "site-1"])
        own = certificates.credentials(Path(folder), "server")
        tls = grpc.ssl_server_credentials([(own.private_key, own.certificate)], own.authority, True)
        port = server.add_secure_port("127.0.0.1:0", tls)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=client, args=(port, rounds, mib, kind, folder)) for _ in range(clients)]
    for process in processes:
        process.start()
    connected.wait()
    began = time.monotonic()
    incoming = np.empty_like(model[0])
    for _ in range(rounds):
        for start, _ in started:
            start.release()
        for _, sent in started:
            sent.acquire()
        for tensor in total:
            tensor.fill(0)
        for chunks in calls:
            for tensor in total:
                receive_into(chunks, incoming)
                np.multiply(incoming, 1 / clients, out=incoming)
                tensor += incoming
        model, total = total, model
    print("loop", time.monotonic() - began)
    print("first", float(model[0][0]))
    done.set()
    for process in processes:
        process.join()
    server.stop(None).wait()


if __name__ == "__main__":
    serve(*map(int, sys.argv[1:4]), *sys.argv[4:6])
