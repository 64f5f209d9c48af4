"""The static binary: one file in an otherwise empty, read-only root, as a user without rights, serves real calls."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.proxy.harness import ROOT, client, echo_server, free_port, needs
from tests.support import wait_until

NOBODY = 65532
PT_INTERP = 3


@pytest.fixture(scope="module")
def binary() -> Path:
    built = ROOT / "build/static/ewma-proxy"
    if not built.exists():
        pytest.skip("no build/static/ewma-proxy: make static")
    return built


def test_it_names_no_program_interpreter_and_is_below_12_mb(binary: Path) -> None:
    data = binary.read_bytes()
    assert data[:6] == b"\x7fELF\x02\x01", "a 64-bit little-endian program"
    (at,) = struct.unpack_from("<Q", data, 32)
    size, n = struct.unpack_from("<HH", data, 54)
    kinds = [struct.unpack_from("<I", data, at + i * size)[0] for i in range(n)]
    assert PT_INTERP not in kinds
    assert len(data) < 12 << 20


def test_ldd_finds_nothing_to_load(binary: Path) -> None:
    said = subprocess.run([needs("ldd", "apt-get install libc-bin"), str(binary)], capture_output=True, text=True)
    assert "statically linked" in said.stdout + said.stderr or "not a dynamic executable" in said.stdout + said.stderr


@pytest.fixture
def scratch(binary: Path, tmp_path: Path) -> list[str]:
    """The command that runs the binary alone in a read-only root as nobody."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("not root, so no chroot: run this test as root in a container")
    root = tmp_path / "root"
    root.mkdir()
    # Others must be able to reach it; pytest's folders are for their owner alone.
    for folder in [root, *root.parents][: len(root.parents) - 1]:
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):
            folder.chmod(folder.stat().st_mode | 0o755)
    shutil.copy(binary, root / "ewma-proxy")
    (root / "ewma-proxy").chmod(0o755)
    # Arguments come behind; "$0" is the root.
    mount = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0"'
    script = f'{mount} && exec chroot --userspec={NOBODY}:{NOBODY} --groups= "$0" "$@"'
    unshare, _ = needs("unshare", "apt-get install util-linux"), needs("chroot", "apt-get install coreutils")
    tried = subprocess.run([unshare, "--mount", "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"no mount namespace to be had ({tried.stderr.strip()}): run this test with CAP_SYS_ADMIN")
    return [unshare, "--mount", "sh", "-c", script, str(root), "/ewma-proxy"]


def test_it_serves_alone_in_a_read_only_root_as_nobody(scratch: list[str]) -> None:
    with echo_server("a") as (addr, _):
        port, admin = free_port(), free_port()
        where = ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}", "--endpoints", addr]
        process = subprocess.Popen([*scratch, *where], stderr=subprocess.PIPE, text=True)
        try:
            with client(port) as c:
                wait_until(lambda: c.unary(b"x", timeout=2) == b"x", 10, "it serves")
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
            assert "CapEff:\t0000000000000000" in status
            assert sorted(p.name for p in Path(f"/proc/{process.pid}/root/").iterdir()) == ["ewma-proxy"]
            process.terminate()
            _, log = process.communicate(timeout=10)
            assert process.returncode == 0, log
        finally:
            process.kill()
            process.communicate()
