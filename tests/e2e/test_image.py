"""What the image holds, run as the image runs it: installed from the wheel, on a tree that nobody may write to."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.support.dockerfile import stages
from tests.support.gateway_process import ADMIN_TOKEN, GatewayProcess, wait_for

ROOT = Path(__file__).parents[2]
KEY = "pk-first"
SECRETS = {
    "PENSTOCK_ADMIN_TOKEN": ADMIN_TOKEN,
    "PENSTOCK_SECRET": "a-pepper-of-at-least-thirty-two-bytes",
    "PENSTOCK_FIRST_KEY_SHA256": hashlib.sha256(KEY.encode()).hexdigest(),
    "DEEPSEEK_API_KEY": "sk-0000000000000000",
}
DROP_ALL = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"] if os.getuid() == 0 else []
"""Root without its capabilities is bound by permissions like everybody."""

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A virtual environment with the wheel in it, and the packages it runs on; read-only."""
    context, place = tmp_path_factory.mktemp("context"), tmp_path_factory.mktemp("image")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, context)
    for name in ("src", "prices"):
        shutil.copytree(ROOT / name, context / name, ignore=shutil.ignore_patterns("__pycache__"))
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place), cwd=context)
    _run(sys.executable, "-m", "venv", "--without-pip", str(place / "penstock"))
    (wheel,) = place.glob("*.whl")
    python = place / "penstock/bin/python"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", f"--python={python}", "install"]
    _run(*pip, "--no-index", "--no-deps", str(wheel))
    (packages,) = place.glob("penstock/lib/python*/site-packages")
    (here,) = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "what-it-runs-on.pth").write_text(here, "utf-8")
    _run("chmod", "-R", "a-w", str(place))
    yield place / "penstock"
    _run("chmod", "-R", "u+w", str(place))


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def _environment(image: Path) -> dict[str, str]:
    """That of the image, and the secrets; no HOME, no LANG, nothing of ours."""
    given = " ".join(each.rest for each in stages(ROOT / "Dockerfile")[1] if each.name == "ENV")
    env = dict(pair.split("=", 1) for pair in given.split())
    return {**env, "PATH": f"{image}/bin:/usr/bin:/bin", **SECRETS}


def _models(gateway: GatewayProcess, key: str) -> int:
    """The status of asking for the models."""
    connection = HTTPConnection("127.0.0.1", gateway.port)
    with closing(connection):
        connection.request("GET", "/v1/models", headers={"authorization": f"Bearer {key}"})
        return connection.getresponse().status


def _files(place: Path) -> set[Path]:
    return {path for path in place.rglob("*") if not path.is_dir()}


def test_the_image_serves_with_the_small_config(image: Path, tmp_path: Path) -> None:
    """Ready, alive, behind its key, and ended by SIGTERM with 0; its own tree is as before."""
    gateway = GatewayProcess(tmp_path)
    text = (ROOT / "deploy/kubernetes/overlays/small/penstock.yaml").read_text("utf-8")
    text = text.replace("/var/lib/penstock", str(tmp_path))
    text = text.replace("0.0.0.0:8787", f"127.0.0.1:{gateway.port}")
    text = text.replace("0.0.0.0:8788", f"127.0.0.1:{gateway.admin_port}")
    gateway.config.write_text(text, "utf-8")
    before, env = _files(image), _environment(image)
    gateway.program, gateway.env = [*DROP_ALL, f"{image}/bin/penstock"], env
    gateway.start()
    try:
        alive = [*DROP_ALL, f"{image}/bin/python", "-m", "penstock.cli.alive", str(gateway.admin_port)]
        assert subprocess.run(alive, env=env, check=False).returncode == 0
        assert [_models(gateway, key) for key in ("another", KEY)] == [401, 200]
        assert gateway.stop() == 0, gateway.stderr
        wait_for(lambda: subprocess.run(alive, env=env, check=False).returncode == 1, "the health check")
    finally:
        gateway.kill()
    assert _files(image) == before
    assert "Traceback" not in gateway.stderr


def test_the_tree_is_read_only(image: Path) -> None:
    """The test above would see a write: nobody that it runs as may make one."""
    command = [*DROP_ALL, f"{image}/bin/python", "-c", f"open({str(image / 'x')!r}, 'w')"]
    done = subprocess.run(command, env=_environment(image), capture_output=True, text=True, check=False)
    assert "PermissionError" in done.stderr
