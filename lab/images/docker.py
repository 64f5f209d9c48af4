"""docker's command line, and what the images here ask of it. Knows nothing of what is built."""

from __future__ import annotations

from lab.programs import check


def docker(*args: str, timeout_s: float = 60.0) -> str:
    """Run docker; what it wrote. Raises ProgramFailure with what it complained of."""
    return check(["docker", *args], timeout_s=timeout_s)


def exists(image: str) -> bool:
    """Is the image here? Raises ProgramFailure if docker does not answer."""
    return bool(docker("image", "ls", "--quiet", image).strip())
