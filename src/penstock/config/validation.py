"""From a document to a ``File``: every setting checked by itself, every mistake noted with its path.

What is wrong is noted and cut out, and the rest is read again, so that one wrong setting does not hide from
``checks.py`` what else is wrong.
"""

from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from penstock.config.document import Document, Map, Path, Seq, Tree
from penstock.config.fields import nearest
from penstock.config.schema import File
from penstock.config.shape import section_at

_SHAPES: Final = {
    "dict_type": "must be a mapping, such as {name: ...}",
    "tuple_type": "must be a list, such as [one, two]",
}


def read_file(document: Document) -> File:
    """The file without what is wrong in it; that is noted in ``document``."""
    while True:
        try:
            return File.model_validate(document.root)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
        found = [(_path(document.root, each["loc"]), each) for each in details]
        for path, each in found:
            if not document.damaged(path):
                document.wrong(path, _sentence(path, each))
        cuts = [_cut(document, path, each["type"]) for path, each in found]
        if not any(cuts):
            raise document.error()


def _path(node: Tree, location: tuple[str | int, ...]) -> Path:
    """Where pydantic's location stands in the file, though items before it were cut from its list."""
    path: Path = ()
    for step in location:
        if isinstance(node, Seq) and isinstance(step, int):
            path, node = (*path, node.positions[step]), node[step]
        elif isinstance(node, Map) and step != "[key]":
            path, node = (*path, step), node.get(str(step))
    return path


def _sentence(path: Path, details: ErrorDetails) -> str:
    if details["type"] == "missing":
        return f"is missing; add `{path[-1]}: ...`"
    if details["type"] == "extra_forbidden":
        section = section_at(path[:-1])
        known = section.known() if section else ()
        return "is no setting" + (nearest(str(path[-1]), known) or f"; known here: {', '.join(known)}")
    return _SHAPES.get(details["type"], details["msg"])


def _cut(document: Document, path: Path, kind: str) -> bool:
    """Take a wrong setting out of the tree, or the section that lacks one; False when it is out already."""
    document.cut.add(path)
    if kind == "missing":
        path = path[:-1]
        document.cut.add(path)
    *outer, last = path
    node: Tree = document.root
    for step in outer:
        node = _child(node, step)
    if isinstance(node, Map):
        return node.pop(str(last), document) is not document
    if isinstance(node, Seq) and last in node.positions:
        index = node.positions.index(int(last))
        del node[index], node.positions[index]
        return True
    return False


def _child(node: Tree, step: str | int) -> Tree:
    if isinstance(node, Map):
        return node.get(str(step))
    if isinstance(node, Seq) and step in node.positions:
        return node[node.positions.index(int(step))]
    return None
