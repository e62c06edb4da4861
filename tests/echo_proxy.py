"""A user's services: a site's script reaches any other party through a port of its own machine."""

from __future__ import annotations

import socketserver
import threading

from flare_core import JobContext, JobEndpoint, Service, Stream


class EchoProxy(Service):
    """Echoes what other parties send, and at a site opens a port, whose number it writes into ``port.txt``."""

    def start(self, context: JobContext) -> None:
        context.endpoint.handle_stream("echo", echo)
        self.ports = [] if context.party == "server" else [Port(("127.0.0.1", 0), context.endpoint)]
        for port in self.ports:
            threading.Thread(target=port.serve_forever).start()
            (context.folder / "port.txt").write_text(str(port.server_address[1]))

    def stop(self) -> None:
        for port in self.ports:
            port.shutdown()
            port.server_close()


def echo(stream: Stream) -> None:
    while data := stream.read():
        stream.write(data)


class Port(socketserver.ThreadingTCPServer):
    def __init__(self, address: tuple[str, int], endpoint: JobEndpoint) -> None:
        super().__init__(address, Connection)
        self.endpoint = endpoint


class Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        """Connect the script to the party that its first line names."""
        with self.server.endpoint.open_stream(self.rfile.readline().decode().strip(), "echo") as stream:
            sending = threading.Thread(target=self.send, args=(stream,))
            sending.start()
            while data := stream.read():
                self.wfile.write(data)
            sending.join()

    def send(self, stream: Stream) -> None:
        while data := self.rfile.read1(1 << 16):
            stream.write(data)
        stream.close_write()
