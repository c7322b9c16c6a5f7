"""ffmpeg and its helpers in processes of their own: limits on time and memory, allow-lists.

Media files are hostile input to a large body of C code. So every decoder runs outside of our
process, reads nothing but the one file it was given, and is killed when it takes too long. A crash
or a hang costs one video.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, cast

import imageio_ffmpeg

from schemas.rejection import Reason, Rejected
from transforms.outcome import StopRunError
from transforms.retry import is_passing
from transforms.trouble import AGAIN

LOG = logging.getLogger(__name__)

ALLOWED_PROTOCOLS = "file,pipe"
"""No http, no concat, no data, no crypto: nothing is fetched because of what a file says."""

ALLOWED_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,mxf,ivf,"
    "nut,gif,rm,wtv,dv,y4m,yuv4mpegpipe,h264,hevc,m4v"
)
"""Containers only. Playlists (hls, dash, concat, image2, sdp) could name other files."""

MEMORY_LIMIT_BYTES = 8 << 30
"""Address space of one decoder or encoder; 8K frames with many threads fit."""

FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM})
"""Signals that no fault of its own sends to a process: the system was out of memory, say."""

_LESS = f"or take fewer workers, {AGAIN}"
OF_MACHINE = {
    errno.EMFILE: f"raise the limit of this process (`ulimit -n`), {_LESS}",
    errno.ENFILE: f"raise the machine's limit (`sysctl fs.file-max`), {_LESS}",
    errno.ENOMEM: f"give the machine more memory, {_LESS}",
}
"""Errors of opening and reading that would hit any file, and what to do."""

_LOGGED_LINES, _LOGGED_LINE_CHARS = 20, 300
_MAX_LINE_BYTES = 1 << 16
"""A process that never ends its line must not fill our memory."""


@functools.cache
def ffmpeg_exe() -> str:
    """The ffmpeg to use: PROOFREEL_FFMPEG, else the one that imageio-ffmpeg carries.

    The system's ffmpeg is not picked up by itself, since another version would encode other bytes.
    """
    chosen = os.environ.get("PROOFREEL_FFMPEG")
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise FileNotFoundError(f"PROOFREEL_FFMPEG={chosen!r} is not an executable")
        return found
    return str(imageio_ffmpeg.get_ffmpeg_exe())


@functools.cache
def ffmpeg_version() -> str:
    """First line of `ffmpeg -version`; part of the key of everything that ffmpeg made."""
    done = subprocess.run([ffmpeg_exe(), "-version"], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[0].split(" Copyright")[0]


def time_limit_s(size_bytes: int, claimed_duration_s: float) -> float:
    """How long one pass over a file may take: a minute, plus what its size and length justify.

    The claimed duration counts only as far as the size makes it believable (1 kB/s at least).
    """
    believable_s = min(max(claimed_duration_s, 0.0), size_bytes / 1_000)
    return 60.0 + 4.0 * believable_s + size_bytes / 250_000


class MediaProcess:
    """A child process with a deadline and a memory limit; a context manager that leaves none.

    `stderr_line` is called for each line and `stderr_end` after the last, on a thread of their own.
    After the `with` block the
    process is gone, whatever happened.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        timeout_s: float,
        stderr_line: Callable[[str], None] | None = None,
        stderr_end: Callable[[], None] | None = None,
        stdin: bool = False,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._command = list(command)
        self._timeout_s = timeout_s
        self._stderr_line = stderr_line
        self._stderr_end = stderr_end
        self._stdin = stdin
        self._pass_fds = tuple(pass_fds)
        self._last_lines: list[str] = []
        self._num_lines = 0
        self.timed_out = False

    def __enter__(self) -> MediaProcess:
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE if self._stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=self._pass_fds,
            bufsize=0,
            # A group of its own, so that what the process started ends with it.
            process_group=0,
        )
        try:
            _limit_memory(self._process.pid)
        except BaseException:
            self._kill()
            self._process.wait()
            raise
        self._timer = threading.Timer(self._timeout_s, self._on_timeout)
        self._timer.daemon = True
        self._timer.start()
        self._drain = threading.Thread(target=self._read_stderr, daemon=True)
        self._drain.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._kill()
        self._process.wait()
        self._drain.join()
        self._log_lines()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                # A broken pipe on closing only says what the exit code says better.
                with contextlib.suppress(BrokenPipeError):
                    stream.close()

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin

    def send(self, text: bytes) -> None:
        """Write all of it to the process; one that no longer listens will say why.

        Its input stays open until the end of the `with` block or of this process.
        """
        with contextlib.suppress(BrokenPipeError):
            view = memoryview(text)
            while view:
                view = view[self.stdin.write(view) :]

    def wait(self) -> int:
        """Wait for the end and for the last line of stderr; the exit code."""
        code = self._process.wait()
        self._drain.join()
        return code

    @property
    def complaint(self) -> str:
        """The last lines that the process wrote, for a reason's detail."""
        return " | ".join(self._last_lines[-4:])[:600]

    def raise_if_killed(self) -> None:
        """Raise Rejected if the process ran out of time or died by a signal."""
        code = self._process.returncode
        if self.timed_out:
            raise Rejected(
                Reason.DECODE_TIMEOUT, f"no end after {self._timeout_s:.0f} s", lasting=False
            )
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            raise Rejected(
                Reason.DECODER_CRASHED,
                f"{name}: {self.complaint}",
                lasting=False,
                passing=-code in FROM_OUTSIDE,
            )

    def _log_lines(self) -> None:
        """What it had to say, for who asks for details."""
        # On the thread of the leg, so that it gets the name of what that is at.
        if self._last_lines:
            said = "\n".join(line[:_LOGGED_LINE_CHARS] for line in self._last_lines)
            name, count = Path(self._command[0]).name, self._num_lines
            LOG.debug("%s wrote %d lines; the last of them:\n%s", name, count, said)

    def _on_timeout(self) -> None:
        self.timed_out = True
        self._kill()

    def _kill(self) -> None:
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        # Without a buffer `readline` would ask the system for every single byte.
        stream = io.BufferedReader(cast(io.RawIOBase, self._process.stderr), _MAX_LINE_BYTES)
        try:
            for raw in iter(functools.partial(stream.readline, _MAX_LINE_BYTES), b""):
                line = raw.decode("utf-8", "replace").rstrip()
                if self._stderr_line is not None:
                    self._stderr_line(line)
                if "Parsed_showinfo" not in line:
                    self._num_lines += 1
                    self._last_lines.append(without_addresses(line))
                    del self._last_lines[:-_LOGGED_LINES]
        finally:
            # Whatever happens here, nobody may go on waiting for lines.
            if self._stderr_end is not None:
                self._stderr_end()


_ADDRESS = re.compile(r" @ 0x[0-9a-f]+")
_LOCAL_FILE = re.compile(r"(file:)?/[^\s'\"]*/")


def without_addresses(line: str) -> str:
    """A line of ffmpeg's without memory addresses and folders, which differ from run to run."""
    return _LOCAL_FILE.sub("", _ADDRESS.sub("", line))


def unreadable(error: OSError) -> Rejected:
    """What becomes of a file that can't be opened or read.

    Raises StopRunError where that is the machine's fault: then it says nothing of the file.
    """
    said = error.strerror or str(error)
    if error.errno in OF_MACHINE:
        raise StopRunError(f"files can't be opened: {said}; {OF_MACHINE[error.errno]}") from error
    return Rejected(Reason.UNREADABLE, said, lasting=False, passing=is_passing(error))


@contextlib.contextmanager
def opened(path: str) -> Iterator[tuple[str, int]]:
    """A file as ffmpeg is to open it, and the descriptor to hand to the process.

    A descriptor instead of a name: names can hold anything, also what would be taken for options
    or, as ffmpeg writes them into its log, for a part of the log.
    Raises Rejected(not_found or unreadable), StopRunError where the machine can't open any file.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Rejected(Reason.NOT_FOUND, "the file has vanished", lasting=False) from error
    except OSError as error:
        raise unreadable(error) from error
    try:
        yield f"file:/dev/fd/{descriptor}", descriptor
    finally:
        os.close(descriptor)


def read_frames(stream: IO[bytes], frame_bytes: int) -> Iterator[bytearray]:
    """Raw frames of a pipe, one buffer each; a rest shorter than a frame is dropped."""
    while True:
        buffer = bytearray(frame_bytes)
        view = memoryview(buffer)
        filled = 0
        while filled < frame_bytes:
            # Unbuffered pipes give what is there, so a frame takes several reads.
            count = stream.readinto(view[filled:])  # type: ignore[attr-defined]
            if not count:
                return
            filled += count
        yield buffer


def widen_pipe(stream: IO[bytes]) -> None:
    """Give a pipe 1 MiB where the system lets us: fewer switches between the two sides."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)


def _limit_memory(pid: int) -> None:
    """Limit a child from outside: code between fork and exec is unsafe in a threaded process."""
    if sys.platform == "linux":
        import resource

        # The child may have ended already; then there is nothing to limit.
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_AS)
            unlimited = hard == resource.RLIM_INFINITY
            limit = MEMORY_LIMIT_BYTES if unlimited else min(MEMORY_LIMIT_BYTES, hard)
            resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
