"""The example in docs/proxy.md, as it stands there, but on ports that are free."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from tests import pages
from tests.proxy.harness import free_port


def test_the_proxy_runs_alone_as_the_docs_show() -> None:
    lines = pages.shell_lines(pages.ROOT / "docs/proxy.md")
    script = "\n".join(line for line in lines if not line.startswith("kubectl"))
    for port in sorted(set(re.findall(r"127\.0\.0\.1:(\d+)", script))):
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free_port()}")
    env = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "EWMA_PROXY_ADMIN": f"127.0.0.1:{free_port()}",
    }
    done = subprocess.run(["bash", "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["requests"] == 400
    assert set(report["pods"]) == {"voting-a", "voting-b"}
    # Of requests that failed on purpose nobody says who served them.
    assert min(report["pods"].values()) > 100, report
