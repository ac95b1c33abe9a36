"""The two kinds of patches that Kustomize knows: strategic merges, and JSON patches (RFC 6902)."""

from typing import Any

_KEYS = ("name", "containerPort", "mountPath", "port")
"""By what the elements of a list are told apart, where they are merged and not replaced."""
_MERGED_LISTS = frozenset({"containers", "env", "volumes", "volumeMounts"})


def merge(old: Any, patch: Any) -> Any:
    """``old`` with ``patch`` laid over it: null removes, lists of named things are merged. None = it is deleted."""
    if not (isinstance(old, dict) and isinstance(patch, dict)):
        return patch
    if patch.get("$patch") == "delete":
        return None
    merged = dict(old)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif name in _MERGED_LISTS:
            merged[name] = _merge_lists(old.get(name, []), value)
        else:
            merged[name] = merge(old.get(name, {}), value)
    return merged


def _merge_lists(old: list[Any], patch: list[Any]) -> list[Any]:
    merged = list(old)
    for each in patch:
        key = next(key for key in _KEYS if key in each)
        places = [place for place, one in enumerate(merged) if one[key] == each[key]]
        if not places:
            merged.append(each)
        elif (result := merge(merged[places[0]], each)) is None:
            del merged[places[0]]
        else:
            merged[places[0]] = result
    return merged


def json_patch(document: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """``document``, changed. Only ``add`` is known."""
    for operation in operations:
        assert operation["op"] == "add"
        *parents, last = operation["path"].lstrip("/").split("/")
        place: Any = document
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place[name]
        if isinstance(place, list):
            place.insert(len(place) if last == "-" else int(last), operation["value"])
        else:
            place[last] = operation["value"]
    return document
