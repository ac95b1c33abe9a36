"""Kubernetes objects held against their schemas, strictly: a field that a schema does not name is a mistake."""

from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped] # it has none
import yaml
from jsonschema import ValidationError  # type: ignore[import-untyped] # its stubs are a package more
from jsonschema import validate as hold_against

__all__ = ["NEWEST", "OLDEST", "ValidationError", "validate"]

OLDEST = "1.30"
NEWEST = "1.37"
"""Versions of Kubernetes: ``preStop.sleep`` is on by default since the former."""
CRDS = yaml.safe_load(Path(__file__).with_name("crds.yaml").read_text("utf-8"))


def validate(document: dict[str, Any], version: str) -> None:
    """Raises ValidationError."""
    kind = f"{document['apiVersion']}/{document['kind']}"
    if kind in CRDS:
        assert set(document) == {"apiVersion", "kind", "metadata", "spec"}
        hold_against(document["spec"], CRDS[kind])
    else:
        kubernetes_validate.validate(document, version, strict=True)
