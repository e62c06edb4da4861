"""The physical limit: the same bytes over TCP on one host, received and averaged in place, without a framework."""

import multiprocessing
import socket
import sys
import threading

import numpy as np

CLIENTS, ROUNDS, MIB = map(int, sys.argv[1:4])
TENSORS = 32
STEP = 1 << 20


def new_tensors():
    return [np.zeros(MIB * (1 << 18) // TENSORS, np.float32) for _ in range(TENSORS)]


def receive_into(connection, array):
    view = memoryview(array).cast("B")
    while view:
        received = connection.recv_into(view, min(len(view), STEP))
        if not received:
            raise EOFError("the other side closed the connection")
        view = view[received:]


def send_all(connection, tensors):
    for tensor in tensors:
        connection.sendall(memoryview(tensor).cast("B"))


def client(port):
    connection = socket.create_connection(("127.0.0.1", port))
    tensors = new_tensors()
    for _ in range(ROUNDS):
        for tensor in tensors:
            receive_into(connection, tensor)
        for tensor in tensors:
            tensor += 1.0
        send_all(connection, tensors)


def serve(connections):
    model, total = new_tensors(), new_tensors()
    incoming = np.empty_like(model[0])
    for _ in range(ROUNDS):
        senders = [threading.Thread(target=send_all, args=(connection, model)) for connection in connections]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        for tensor in total:
            tensor.fill(0)
        for connection in connections:
            for tensor in total:
                receive_into(connection, incoming)
                np.multiply(incoming, 1 / CLIENTS, out=incoming)
                tensor += incoming
        model, total = total, model
    print("first", model[0][0])


if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    listener = socket.create_server(("127.0.0.1", 0))
    processes = [multiprocessing.Process(target=client, args=(listener.getsockname()[1],)) for _ in range(CLIENTS)]
    for process in processes:
        process.start()
    serve([listener.accept()[0] for _ in processes])
    for process in processes:
        process.join()
