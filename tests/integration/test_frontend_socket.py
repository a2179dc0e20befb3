"""The worker's end of TorchServe's socket, on a real pair of sockets."""

import asyncio
import socket
import threading

import pytest
import uvloop

from tslc_handlers.frontend_socket import FrontendSocket

pytestmark = pytest.mark.integration

MESSAGE = 1_000_000


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    theirs.settimeout(10)
    yield ours, theirs
    ours.close()
    theirs.close()


def read(sock, size):
    data = bytearray()
    while len(data) < size:
        data += sock.recv(65536)
    return bytes(data)


def test_messages_of_two_threads_are_whole_and_in_order(pair):
    """TorchServe's worker writes from its event loop and from a thread, without a lock."""
    ours, theirs = pair
    rounds = 20
    received = []
    reader = threading.Thread(
        target=lambda: received.append(read(theirs, 2 * rounds * MESSAGE)), daemon=True
    )

    async def write():
        frontend = FrontendSocket(ours, asyncio.get_running_loop())

        def other():
            for _ in range(rounds):
                frontend.sendall(b"t" * MESSAGE)

        thread = threading.Thread(target=other)
        thread.start()
        for _ in range(rounds):
            frontend.sendall(b"l" * MESSAGE)
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            while reader.is_alive():
                await asyncio.sleep(0.01)
        thread.join()

    reader.start()
    uvloop.run(write())
    (data,) = received
    messages = [data[i : i + MESSAGE] for i in range(0, len(data), MESSAGE)]
    assert all(len(set(message)) == 1 for message in messages)
    assert sorted(m[:1] for m in messages) == [b"l"] * rounds + [b"t"] * rounds


def test_reading_works_on_while_a_large_message_waits_to_be_written(pair):
    """libuv makes the descriptor non-blocking; TorchServe's reading thread expects it to block."""
    ours, theirs = pair

    async def run():
        frontend = FrontendSocket(ours, asyncio.get_running_loop())
        frontend.sendall(b"x" * 5 * MESSAGE)
        reading = asyncio.create_task(asyncio.to_thread(lambda: frontend.recv(5)))
        await asyncio.sleep(0.1)
        assert not reading.done()
        theirs.sendall(b"hello world")
        assert await reading == b"hello"
        assert frontend.recv(100) == b" world", "the rest came with the first read"
        assert await asyncio.to_thread(read, theirs, 5 * MESSAGE) == b"x" * 5 * MESSAGE

    uvloop.run(run())
