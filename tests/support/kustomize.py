"""As much of Kustomize as deploy/kubernetes uses, so that what would be applied can be looked at anywhere.

What it does not know it refuses. Where a real one is installed, a test compares the two.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.support.merge_patch import json_patch, merge

Document = dict[str, Any]

_KNOWN = {
    "apiVersion", "kind", "resources", "components", "labels", "configMapGenerator", "patches", "namespace", "images",
}  # fmt: skip
_DIGITS = str.maketrans("013ae", "ghkmt")
"""So that no digest spells a word."""


def render(directory: Path) -> list[Document]:
    """What ``kubectl kustomize DIRECTORY`` prints."""
    documents = _build(directory, [])
    for config_map in [each for each in documents if each["kind"] == "ConfigMap"]:
        _name_by_content(config_map, documents)
    return documents


def _build(directory: Path, inherited: list[Document]) -> list[Document]:
    """``inherited``: what a component is applied to."""
    wanted = _read(directory / "kustomization.yaml")[0]
    assert set(wanted) <= _KNOWN, f"{directory}: {set(wanted) - _KNOWN} is not rendered here"
    documents = list(inherited)
    for name in wanted.get("resources", []):
        place = directory / name
        documents += _build(place, []) if place.is_dir() else _read(place)
    for generator in wanted.get("configMapGenerator", []):
        _generate(directory, generator, documents)
    for name in wanted.get("components", []):
        documents = _build(directory / name, documents)
    for patch in wanted.get("patches", []):
        documents = list(_patched(documents, patch, directory))
    for document in documents:
        _transform(document, wanted)
    return documents


def _read(path: Path) -> list[Document]:
    return [each for each in yaml.safe_load_all(path.read_text("utf-8")) if each]


def _generate(directory: Path, generator: Document, documents: list[Document]) -> None:
    data = {name: (directory / name).read_text("utf-8") for name in generator["files"]}
    if generator.get("behavior") == "replace":
        _find(documents, "ConfigMap", generator["name"])["data"] = data
        return
    documents.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": generator["name"]}, "data": data})


def _find(documents: list[Document], kind: str, name: str) -> Document:
    return next(each for each in documents if (each["kind"], each["metadata"]["name"]) == (kind, name))


def _patched(documents: list[Document], patch: Document, directory: Path) -> Iterator[Document]:
    content = yaml.safe_load(patch["patch"] if "patch" in patch else (directory / patch["path"]).read_text("utf-8"))
    named = patch.get("target") or {"kind": content["kind"], "name": content["metadata"]["name"]}
    target = _find(documents, named["kind"], named["name"])
    for document in documents:
        changed = document
        if document is target:
            changed = json_patch(document, content) if isinstance(content, list) else merge(document, content)
        if changed is not None:
            yield changed


def _transform(document: Document, wanted: Document) -> None:
    metadata, template = document["metadata"], document.get("spec", {}).get("template")
    if "namespace" in wanted:
        metadata["namespace"] = wanted["namespace"]
    for labels in wanted.get("labels", []):
        assert (labels["includeSelectors"], labels["includeTemplates"]) == (False, True)
        for each in [metadata, template["metadata"]] if template else [metadata]:
            each["labels"] = {**each.get("labels", {}), **labels["pairs"]}
    for image in wanted.get("images", []):
        for container in template["spec"]["containers"] if template else ():
            if container["image"].partition(":")[0] == image["name"]:
                container["image"] = f"{image['name']}:{image['newTag']}"


def _name_by_content(config_map: Document, documents: list[Document]) -> None:
    name = config_map["metadata"]["name"]
    content = {"data": config_map["data"], "kind": "ConfigMap", "name": ""}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for sign in "<>&":  # as Go writes them
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    config_map["metadata"]["name"] = f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:10].translate(_DIGITS)}"
    for document in documents:
        for volume in document.get("spec", {}).get("template", {}).get("spec", {}).get("volumes", []):
            if volume.get("configMap", {}).get("name") == name:
                volume["configMap"]["name"] = config_map["metadata"]["name"]
