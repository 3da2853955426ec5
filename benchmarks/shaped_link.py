"""A link with a round trip and a speed for each connection: a TCP proxy; prints its address.

python benchmarks/shaped_link.py HOST:PORT ROUND_TRIP_MILLISECONDS BYTES_PER_SECOND [OWN_PORT]

Bytes arrive half a round trip after they were sent, in both directions, and a new connection costs one round
trip more, as the handshake of TCP does. The speed is that of one connection in one direction; 0 is no limit.
Told to stop, it prints how many connections there were, how many at once, and the bytes of both directions.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = 1 << 16


@dataclass
class Link:
    """What the connections have in common, and how many there were."""

    target: str
    round_trip: float
    speed: float
    connections: int = 0
    is_open: int = 0
    most: int = 0
    carried: int = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until both directions have ended."""
        self.connections += 1
        self.is_open += 1
        self.most = max(self.most, self.is_open)
        try:
            await asyncio.sleep(self.round_trip)
            host, _, port = self.target.rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            await asyncio.gather(
                self._carry(reader, far_writer, self._end), self._carry(far_reader, writer, _nothing)
            )
        except OSError:
            writer.close()
        except asyncio.CancelledError:
            # Told to stop: the event loop would report it for each connection.
            writer.close()

    def _end(self) -> None:
        """Count a connection that its client closes, without the time that the other end takes to notice."""
        self.is_open -= 1

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: Callable[[], None]
    ) -> None:
        """Carry one direction; no more is under way than fits on the link."""
        loop = asyncio.get_running_loop()
        on_the_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(
            8 + int(self.speed * self.round_trip / _BLOCK)
        )

        async def deliver() -> None:
            while True:
                at, block = await on_the_way.get()
                await asyncio.sleep(at - loop.time())
                if not block:
                    break
                writer.write(block)
                await writer.drain()
            writer.close()

        delivery = asyncio.create_task(deliver())
        free = loop.time()
        try:
            while not delivery.done():
                try:
                    block = await reader.read(_BLOCK)
                except OSError:
                    block = b""
                if not block:
                    end()
                    end = _nothing
                self.carried += len(block)
                free = max(free, loop.time()) + (len(block) / self.speed if self.speed else 0)
                await on_the_way.put((free + self.round_trip / 2, block))
                if not block:
                    break
            await delivery
        except OSError:
            writer.close()
        finally:
            end()
            delivery.cancel()


def _nothing() -> None:
    """Count nothing."""


async def _serve(link: Link, own_port: int) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(link.accept, "127.0.0.1", own_port, limit=2 * _BLOCK)
    host, port = server.sockets[0].getsockname()
    print(f"{host}:{port}", flush=True)
    await stop.wait()
    print(f"{link.connections} connections, {link.most} at once, {link.carried} bytes", flush=True)


def main() -> None:
    """Serve until the process is told to stop."""
    target, milliseconds, speed, *port = sys.argv[1:]
    link = Link(target, float(milliseconds) / 1000, float(speed))
    asyncio.run(_serve(link, int(port[0]) if port else 0))


if __name__ == "__main__":
    main()
