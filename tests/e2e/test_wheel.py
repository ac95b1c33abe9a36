"""The wheel holds everything that Penstock runs on, not the checkout around it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel's contents in a directory of their own."""
    built, unpacked = tmp_path_factory.mktemp("wheel"), tmp_path_factory.mktemp("unpacked")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(built)]
    done = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = built.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    return unpacked


def _run(unpacked: Path, *command: str) -> str:
    """What a Python outside the checkout prints with only the wheel's Penstock on its path."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=unpacked.parent,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_holds_what_the_checkout_holds(unpacked: Path) -> None:
    """Every file of the package and every price list is in the wheel, SQL and type marker included."""
    source = {path.relative_to(ROOT / "src") for path in (ROOT / "src/penstock").rglob("*") if path.is_file()}
    prices = {Path("penstock") / path.relative_to(ROOT) for path in (ROOT / "prices").glob("*.yaml")}
    wanted = {path for path in source | prices if path.suffix != ".pyc"}
    assert prices
    assert wanted == {path.relative_to(unpacked) for path in (unpacked / "penstock").rglob("*") if path.is_file()}


def test_it_runs(unpacked: Path) -> None:
    """The command line starts from the wheel and says which Penstock it is."""
    where = _run(unpacked, "-c", "import penstock; print(penstock.__file__)")
    assert Path(where.strip()).is_relative_to(unpacked)
    assert "Usage: penstock" in _run(unpacked, "-c", "from penstock.cli.main import main; main()", "--help")


def test_it_reads_its_own_prices(unpacked: Path) -> None:
    """The price book is found inside the wheel."""
    found = _run(unpacked, "-c", "from penstock.config.prices import price_directory; print(price_directory())")
    assert Path(found.strip()) == unpacked / "penstock" / "prices"
