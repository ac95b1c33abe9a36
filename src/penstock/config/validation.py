"""From a document to a ``File``: every setting checked by itself, every mistake noted with its path.

What is wrong is noted and cut out, and the rest is read again, so that one wrong setting does not hide from
``checks.py`` what else is wrong.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from penstock.config.document import Document, Map, Path, Scalar, Seq, Tree
from penstock.config.fields import nearest
from penstock.config.schema import File, Section
from penstock.config.shape import section_at

_Root = TypeVar("_Root", bound=Section)

_STAND_INS: Final[Mapping[str, Callable[[Path], Tree]]] = {
    "deployments": Seq,
    "key_sha256": lambda path: Scalar("0" * 64, path, plain=True),
    "limit": lambda path: Scalar("0 tokens", path, plain=True),
}
"""In the place of what is missing, so that the rest of its section can still be checked; ``checks.py`` looks away."""
_SHAPES: Final = {
    "dict_type": "must be a mapping, such as {name: ...}",
    "tuple_type": "must be a list, such as [one, two]",
}


def read_file(document: Document) -> File:
    """The file without what is wrong in it; that is noted in ``document``."""
    return read_section(document, File)


def read_section(document: Document, root: type[_Root]) -> _Root:
    """The same of a document that is one section. Raises ConfigError when too little of it is left."""
    while True:
        try:
            return root.model_validate(document.root)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
        found = [(_path(document.root, each["loc"]), each) for each in details]
        for path, each in found:
            if not document.damaged(path):
                document.wrong(path, _sentence(root, path, each))
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


def _sentence(root: type[Section], path: Path, details: ErrorDetails) -> str:
    if details["type"] == "missing":
        return f"is missing; add `{path[-1]}: ...`"
    if details["type"] == "extra_forbidden":
        section = section_at(root, path[:-1])
        known = section.known() if section else ()
        return "is no setting" + (nearest(str(path[-1]), known) or f"; known here: {', '.join(known)}")
    return _SHAPES.get(details["type"], details["msg"])


def _cut(document: Document, path: Path, kind: str) -> bool:
    """Take a wrong setting out of the tree, or the section that lacks one; False when nothing can be taken out."""
    document.cut.add(path)
    if not path:
        return False
    if kind == "missing":
        return _stand_in(document, path) or _cut(document, path[:-1], "")
    *outer, last = path
    node = _node(document, outer)
    if isinstance(node, Map):
        return node.pop(str(last), document) is not document
    if isinstance(node, Seq) and last in node.positions:
        index = node.positions.index(int(last))
        del node[index], node.positions[index]
        return True
    return False


def _stand_in(document: Document, path: Path) -> bool:
    """Fill the place of a missing setting, where something may stand there."""
    *outer, last = path
    section, make = _node(document, outer), _STAND_INS.get(str(last))
    if make is None or not isinstance(section, Map):
        return False
    section[str(last)] = make(path)
    return True


def _node(document: Document, path: Sequence[str | int]) -> Tree:
    node: Tree = document.root
    for step in path:
        node = _child(node, step)
    return node


def _child(node: Tree, step: str | int) -> Tree:
    if isinstance(node, Map):
        return node.get(str(step))
    if isinstance(node, Seq) and step in node.positions:
        return node[node.positions.index(int(step))]
    return None
