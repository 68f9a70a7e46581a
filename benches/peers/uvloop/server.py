"""uvloop: a protocol for each connection, as its own examples have it."""

import asyncio
import socket

import uvloop


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# One loop in one process, which reads through a buffer of its own: the arguments, workers (always 1)
# and size of the buffer, are of no interest.
uvloop.run(main())
