"""A past for a real Prometheus: samples at each minute until now, written as blocks by promtool."""

import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

STEP_S: Final = 60
PATIENCE_S: Final = 120
_LONG_AGO_STEPS: Final = 400


class Backfill:
    """The past of some series, from some hours ago on."""

    def __init__(self, path: Path) -> None:
        """``path``: for promtool to read."""
        self._path = path
        self._at = int(time.time()) // STEP_S * STEP_S - _LONG_AGO_STEPS * STEP_S
        self._samples: dict[str, list[str]] = defaultdict(list)

    def silence(self, steps: int, metric: str, labels: Mapping[str, str], value: float) -> None:
        """Time passes, with that value."""
        for _ in range(steps):
            self._add(metric, labels, value)
            self._at += STEP_S

    def episode(
        self,
        steps: int,
        pending: int,
        alert: Mapping[str, str],
        *,
        metric: str,
        labels: Mapping[str, str],
        value: float,
    ) -> None:
        """An alert is active for so many steps, for the first of them pending, while the metric has that value."""
        since = self._at
        for step in range(steps):
            state = "pending" if step < pending else "firing"
            self._add("ALERTS", {**alert, "alertstate": state}, 1)
            self._add("ALERTS_FOR_STATE", alert, since)
            self._add(metric, labels, value)
            self._at += STEP_S

    def blocks(self, directory: Path) -> None:
        """Write them where a Prometheus that is not started yet has its data. Skips without promtool."""
        promtool = shutil.which("promtool")
        if promtool is None:
            pytest.skip("promtool is not installed (apt install prometheus)")
        lines = [line for name, samples in self._samples.items() for line in (f"# TYPE {name} gauge", *samples)]
        self._path.write_text("\n".join([*lines, "# EOF", ""]), "utf-8")
        command = [promtool, "tsdb", "create-blocks-from", "openmetrics", str(self._path), str(directory)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, done.stdout + done.stderr

    def _add(self, metric: str, labels: Mapping[str, str], value: float) -> None:
        inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
        self._samples[metric].append(f"{metric}{{{inside}}} {value} {self._at}")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
