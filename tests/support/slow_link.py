#!/usr/bin/env python3
"""A TCP link with a fixed round trip time and one rate limit that all its connections share.

usage: slow_link.py serve --target HOST:PORT --rtt-ms 20 --mbit 200 [--ports-file FILE]
       slow_link.py ctl CONTROL_PORT stats|reset|hold|release|cut

`serve` listens on two free ports of 127.0.0.1 and writes them to the file: the link and its control port.
A byte leaves when the bytes before it have left at the given rate, and arrives half a round trip later.
`stats` prints {"up", "down", "connections"}: bytes towards the target, bytes from it, connections so far. `reset` zeroes
them. `hold` lets nothing through until `release`. `cut` closes every connection and refuses new ones until `release`.
"""
import argparse
import asyncio
import json
import os
import socket
import sys
import time

READ_BYTES = 64 * 1024
IN_FLIGHT_CHUNKS = 256  # enough for 16 MiB on the wire of one connection


class Direction:
    """One way of the link: when a chunk may leave, given all chunks before it."""

    def __init__(self, bytes_per_second):
        self.bytes_per_second = bytes_per_second
        self.free_at = 0.0
        self.total = 0

    def departure(self, size):
        self.total += size
        start = max(time.monotonic(), self.free_at)
        if self.bytes_per_second:
            self.free_at = start + size / self.bytes_per_second
            return self.free_at
        return start


class Link:
    def __init__(self, target, rtt_seconds, bytes_per_second):
        self.target = target
        self.one_way = rtt_seconds / 2
        self.up = Direction(bytes_per_second)
        self.down = Direction(bytes_per_second)
        self.connections = 0
        self.refusing = False
        self.open = asyncio.Event()
        self.open.set()
        self.writers = set()

    async def accept(self, reader, writer):
        if self.refusing:
            writer.close()
            return
        self.connections += 1
        await asyncio.sleep(2 * self.one_way)  # the handshake of the connection behind
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            writer.close()
            return
        pair = {writer, far_writer}
        self.writers |= pair
        await asyncio.gather(self.carry(reader, far_writer, self.up), self.carry(far_reader, writer, self.down))
        self.writers -= pair
        for end in pair:
            end.close()

    async def carry(self, reader, writer, direction):
        """Reads, stamps each chunk with its arrival time, and lets a second task deliver it then."""
        wire = asyncio.Queue(IN_FLIGHT_CHUNKS)
        delivery = asyncio.create_task(self.deliver(wire, writer))
        try:
            while chunk := await reader.read(READ_BYTES):
                await wire.put((direction.departure(len(chunk)) + self.one_way, chunk))
        except OSError:
            pass
        await wire.put((time.monotonic() + self.one_way, b""))
        await delivery

    async def deliver(self, wire, writer):
        broken = False
        while True:
            arrival, chunk = await wire.get()
            if not chunk:
                break
            if broken:
                continue
            await asyncio.sleep(max(0.0, arrival - time.monotonic()))
            await self.open.wait()
            try:
                writer.write(chunk)
                await writer.drain()
            except OSError:
                broken = True
        try:
            writer.write_eof()
        except OSError:
            pass

    async def control(self, reader, writer):
        command = (await reader.readline()).decode().strip()
        if command == "reset":
            self.up.total = self.down.total = self.connections = 0
        elif command == "hold":
            self.open.clear()
        elif command == "release":
            self.refusing = False
            self.open.set()
        elif command == "cut":
            self.refusing = True
            for end in list(self.writers):
                end.transport.abort()
        stats = {"up": self.up.total, "down": self.down.total, "connections": self.connections}
        writer.write(json.dumps(stats).encode() + b"\n")
        await writer.drain()
        writer.close()


async def serve(options):
    host, port = options.target.rsplit(":", 1)
    link = Link((host, int(port)), options.rtt_ms / 1000, options.mbit * 1e6 / 8)
    servers = [await asyncio.start_server(handler, "127.0.0.1", 0) for handler in (link.accept, link.control)]
    ports = " ".join(str(server.sockets[0].getsockname()[1]) for server in servers)
    if options.ports_file:
        with open(options.ports_file + ".new", "w") as file:
            file.write(ports + "\n")
        os.rename(options.ports_file + ".new", options.ports_file)
    print(ports, flush=True)
    await asyncio.gather(*(server.serve_forever() for server in servers))


def control(port, command):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(command.encode() + b"\n")
        print(connection.makefile().readline().strip())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="mode", required=True)
    server = commands.add_parser("serve")
    server.add_argument("--target", required=True)
    server.add_argument("--rtt-ms", type=float, default=20)
    server.add_argument("--mbit", type=float, default=200, help="0: no limit")
    server.add_argument("--ports-file")
    client = commands.add_parser("ctl")
    client.add_argument("port", type=int)
    client.add_argument("command", choices=["stats", "reset", "hold", "release", "cut"])
    options = parser.parse_args()
    if options.mode == "ctl":
        control(options.port, options.command)
        return
    try:
        asyncio.run(serve(options))
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
