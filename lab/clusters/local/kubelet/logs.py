"""What containers print: bounded files, one line of text each with its time, and readers that can follow.

Files are RUN.PART.log in a folder per container; a new part begins after PART_BYTES and only the newest two
parts of the newest two runs are kept. Each line is "TIME TEXT" with TIME as RFC 3339 in UTC with fixed width,
so that times compare as text. Knows nothing of pods or HTTP.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

PART_BYTES = 5 * 1024 * 1024
LONGEST_LINE = 64 * 1024
"""A line longer than this is broken, so that an output without newlines cannot fill the memory."""

_CHUNK = 256 * 1024
_TIME_WIDTH = len("2025-01-01T00:00:00.000000Z")


class ContainerLogs:
    """The runs of one container: the current one and the one before."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._count = 0
        self.current: RunLog | None = None
        self.previous: RunLog | None = None

    def new_run(self) -> RunLog:
        if self.previous is not None:
            self.previous.delete()
        self.previous = self.current
        self.current = RunLog(self._folder, self._count)
        self._count += 1
        return self.current


class RunLog(asyncio.Protocol):
    """The output of one process: the reading end of its pipe, and the files it goes to."""

    def __init__(self, folder: Path, run: int) -> None:
        self._folder, self._run = folder, run
        self._part = 0
        self._size = 0
        self._file = self._open()
        self._rest = b""
        self._readers: set[asyncio.Event] = set()
        self._transport: asyncio.BaseTransport | None = None
        self._pipe_ended = asyncio.Event()
        self.closed = False

    async def open_pipe(self) -> int:
        """A descriptor for the process to write to; close it here once the process has it."""
        reading, writing = os.pipe2(os.O_CLOEXEC)
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.connect_read_pipe(lambda: self, os.fdopen(reading, "rb", 0))
        return writing

    async def close(self, patience_s: float = 0.5) -> None:
        """Take what is still in the pipe, then end. patience_s: a process that left the group may hold the
        pipe open.
        """
        try:
            async with asyncio.timeout(patience_s):
                await self._pipe_ended.wait()
        except TimeoutError:
            pass
        if self._transport is not None:
            self._transport.close()
        if not self.closed:
            if self._rest:
                self._write([self._rest])
            self.closed = True
            self._file.close()
            self._wake()

    def data_received(self, data: bytes) -> None:
        if self.closed:
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        if lines:
            self._write(lines)

    def connection_lost(self, exc: Exception | None) -> None:
        self._pipe_ended.set()

    async def read(
        self, *, follow: bool, tail: int | None, since_seconds: int | None, timestamps: bool
    ) -> AsyncIterator[bytes]:
        """Whole lines, as bytes in pieces of any number of lines; with follow until the process ended."""
        since = b"" if since_seconds is None else _time(datetime.now(UTC) - timedelta(seconds=since_seconds))
        part, offset = max(0, self._part - 1), 0
        if tail is not None:
            last = deque(self._lines(part), maxlen=tail)
            part, offset = self._part, self._size
            yield _render(last, since, timestamps)
        news = asyncio.Event()
        self._readers.add(news)
        try:
            while True:
                news.clear()
                part = max(part, self._part - 1)
                chunk = self._chunk(part, offset)
                if chunk:
                    offset += len(chunk)
                    yield _render(chunk.splitlines(keepends=True), since, timestamps)
                elif part < self._part:
                    part, offset = part + 1, 0
                elif follow and not self.closed:
                    await news.wait()
                else:
                    return
        finally:
            self._readers.discard(news)

    def delete(self) -> None:
        for part in range(max(0, self._part - 1), self._part + 1):
            self._path(part).unlink(missing_ok=True)

    def _write(self, lines: list[bytes]) -> None:
        stamp = _time(datetime.now(UTC))
        block = b"".join(b"%b %b\n" % (stamp, line) for line in lines)
        self._file.write(block)
        self._size += len(block)
        if self._size >= PART_BYTES:
            self._file.close()
            self._path(self._part - 1).unlink(missing_ok=True)
            self._part += 1
            self._size = 0
            self._file = self._open()
        self._wake()

    def _wake(self) -> None:
        for reader in self._readers:
            reader.set()

    def _open(self) -> BinaryIO:
        handle = os.open(self._path(self._part), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        return open(handle, "wb", 0)

    def _path(self, part: int) -> Path:
        return self._folder / f"{self._run}.{part}.log"

    def _lines(self, first_part: int) -> list[bytes]:
        found: list[bytes] = []
        for part in range(first_part, self._part + 1):
            try:
                found += self._path(part).read_bytes().splitlines(keepends=True)
            except FileNotFoundError:
                continue
        return found

    def _chunk(self, part: int, offset: int) -> bytes:
        """Whole lines from `offset` on; empty at the end of the part or when it is gone."""
        try:
            with self._path(part).open("rb") as file:
                file.seek(offset)
                data = file.read(_CHUNK)
        except FileNotFoundError:
            return b""
        return data[: data.rfind(b"\n") + 1]


def _time(moment: datetime) -> bytes:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").encode()


def _render(lines: deque[bytes] | list[bytes], since: bytes, timestamps: bool) -> bytes:
    skip = 0 if timestamps else _TIME_WIDTH + 1
    return b"".join(line[skip:] for line in lines if line[:_TIME_WIDTH] >= since)
