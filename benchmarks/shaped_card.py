"""A network card with a speed: an HTTP proxy that all of one worker goes through; prints its address.

python benchmarks/shaped_card.py BYTES_PER_SECOND [NAME:PORT=HOST:PORT ...]

All connections together are limited, in each direction. A request for one of the names goes to the address
behind it. Both forms of a proxy are served: CONNECT, and requests with an absolute URL (RFC 9112, section
3.2.2), which are passed on as they are: servers accept that form. Told to stop, it prints the bytes of both
directions.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_BLOCK = 1 << 15
_LONGEST_HEAD = 1 << 16


@dataclass
class Direction:
    """What goes one way: `free` is when the next byte may be on the card."""

    speed: float
    free: float = 0.0
    carried: int = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, first: bytes) -> None:
        """Pass on `first` and all that follows, as fast as the card allows."""
        loop = asyncio.get_running_loop()
        block = first or await reader.read(_BLOCK)
        while block:
            self.carried += len(block)
            self.free = max(self.free, loop.time()) + (len(block) / self.speed if self.speed else 0)
            await asyncio.sleep(self.free - loop.time())
            writer.write(block)
            await writer.drain()
            block = await reader.read(_BLOCK)
        writer.close()


@dataclass
class Card:
    """The two directions, and where the names lead to."""

    out: Direction
    back: Direction
    places: dict[str, str] = field(default_factory=dict)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Forward one connection until both directions have ended."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, _ = head.split(b" ", 2)
            is_tunnel = method == b"CONNECT"
            name = target.decode() if is_tunnel else urlsplit(target.decode()).netloc
            host, _, port = self.places.get(name, name).rpartition(":")
            far_reader, far_writer = await asyncio.open_connection(host, int(port))
            if is_tunnel:
                writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await asyncio.gather(
                self.out.carry(reader, far_writer, b"" if is_tunnel else head),
                self.back.carry(far_reader, writer, b""),
            )
        except (OSError, ValueError, asyncio.IncompleteReadError):
            writer.close()
        except asyncio.CancelledError:
            # Told to stop: the event loop would report it for each connection.
            writer.close()


async def _serve(card: Card) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.start_server(card.accept, "127.0.0.1", 0, limit=_LONGEST_HEAD)
    host, port = server.sockets[0].getsockname()
    print(f"{host}:{port}", flush=True)
    await stop.wait()
    print(f"{card.out.carried} bytes out, {card.back.carried} bytes back", flush=True)


def main() -> None:
    """Serve until the process is told to stop."""
    speed, *places = sys.argv[1:]
    found = dict(place.split("=", 1) for place in places)
    asyncio.run(_serve(Card(Direction(float(speed)), Direction(float(speed)), found)))


if __name__ == "__main__":
    main()
