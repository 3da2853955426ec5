"""A service that answers with the digest of an image: all its requests share one session.

service.py 8080; then: curl http://127.0.0.1:8080/registry.example.com/team/app:v1
"""

import asyncio
import sys

import imgpkg
import imgpkg.aio


async def main(port: int) -> None:
    async with imgpkg.aio.Session(imgpkg.Settings.from_environment()) as session:

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            path = (await reader.readuntil(b"\r\n\r\n")).decode().split()[1]
            try:
                image = await imgpkg.aio.resolve(path.removeprefix("/"), session=session, timeout=10)
                writer.write(f"HTTP/1.0 200 OK\r\n\r\n{image.digest}\n".encode())
            except imgpkg.ImgpkgError as error:
                writer.write(f"HTTP/1.0 502 Bad Gateway\r\n\r\n{error}\n".encode())
            writer.close()

        async with await asyncio.start_server(answer, "127.0.0.1", port) as server:
            print("listening on port", server.sockets[0].getsockname()[1], flush=True)
            await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
