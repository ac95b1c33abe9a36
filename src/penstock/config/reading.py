"""From a file's bytes to a document: YAML, anchors expanded, merges applied, the environment filled in.

Reading is bounded: size, depth, number of values (an anchor counts each time it is used), and length once the
environment is filled in. Raises only ConfigError, whatever the bytes are.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import yaml

from penstock.config.document import Document, Map, Path, Scalar, Seq, Tree
from penstock.config.references import CLOSE, OPEN, Reference, fill, restore, set_aside
from penstock.errors import ConfigError

MAX_BYTES: Final = 1024 * 1024
_MAX_DEPTH: Final = 32
_MAX_VALUES: Final = 20_000
_MAX_LENGTH: Final = 4 * MAX_BYTES
_LONGEST_NAME: Final = 256
_YAML: Final = "tag:yaml.org,2002:"
_MERGE: Final = _YAML + "merge"
_CORE_TAGS: Final = frozenset(
    _YAML + tag for tag in ("str", "int", "float", "bool", "null", "timestamp", "merge", "value", "map", "seq")
)
_NULLS: Final = frozenset(("", "~", "null", "Null", "NULL"))
_QUOTED: Final = re.compile(r"'[^']*'")
_LONGEST_TOKEN: Final = 3
"""YAML's own signs, quotes aside; what is longer may be what the user wrote."""


def read_document(source: str, data: bytes, environ: Mapping[str, str]) -> Document:
    """The tree of a file's bytes. Raises ConfigError when it is no YAML, or beyond the bounds."""
    document = Document(source, lines={(): 1})
    if len(data) > MAX_BYTES:
        raise _unreadable(document, 1, "the file exceeds 1 MiB; a config is far smaller")
    text = _decoded(document, data)
    marked, references = set_aside(text)
    node = _composed(document, marked)
    _Walk(document, references, environ).root(node)
    return document


def _decoded(document: Document, data: bytes) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _unreadable(document, line, "this is not UTF-8 text; save the file as UTF-8") from None
    for mark in (OPEN, CLOSE):
        if mark in text:
            line = text.count("\n", 0, text.index(mark)) + 1
            raise _unreadable(document, line, "a private-use character stands here; remove it")
    return text


class _TooMuch(Exception):
    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what


class _Loader(yaml.SafeLoader):
    """PyYAML's composer, which recurses, with bounds."""

    depth = 0
    values = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.depth += 1
        self.values += 1
        event = self.peek_event()  # type: ignore[no-untyped-call]  # the stubs have no types for it
        _bounded(self.depth, self.values, event.start_mark.line + 1)
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _bounded(depth: int, values: int, line: int) -> None:
    if depth > _MAX_DEPTH:
        raise _TooMuch(line, f"values nest more than {_MAX_DEPTH} deep here; does an alias contain itself?")
    if values > _MAX_VALUES:
        raise _TooMuch(line, f"the file holds more than {_MAX_VALUES} values, anchors counted at each use; shorten it")


def _composed(document: Document, text: str) -> yaml.Node | None:
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        return loader.get_single_node()
    except _TooMuch as error:
        raise _unreadable(document, error.line, error.what) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _unreadable(document, mark.line + 1 if mark else 1, _syntax(error)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _unreadable(document, line, "a control character stands here; remove it") from None
    except (yaml.YAMLError, ValueError, OverflowError, IndexError, TypeError, AttributeError):
        # PyYAML lets these escape on some malformed escapes, directives and numbers.
        raise _unreadable(document, loader.line + 1 if loader else 1, "this is not valid YAML") from None
    finally:
        if loader:
            loader.dispose()


def _syntax(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or error.context or "it cannot be read"
    if "'\\t'" in problem:
        return "a tab stands where YAML allows only spaces; indent with spaces"
    if "undefined alias" in problem:
        return "an alias (*name) has no anchor (&name) before it; define the anchor, or put the value in quotes"
    if "another document" in problem:
        return "a second document begins here; keep one document per file"
    if "mapping values" in problem:
        return "a second `:` stands in this line; put the value in quotes"
    return f"this is not valid YAML: {_QUOTED.sub(_own_words, problem)}"


def _own_words(quoted: re.Match[str]) -> str:
    """YAML's signs and the names of its parts; never a word of the file, which may be a secret."""
    word = quoted[0][1:-1]
    return quoted[0] if len(word) <= _LONGEST_TOKEN or word.startswith("<") else "..."


def _unreadable(document: Document, line: int, what: str) -> ConfigError:
    document.wrong_at(line, (), what)
    return document.error()


class _Walk:
    """From PyYAML's nodes to the tree: anchors expanded, merges applied, the environment filled in."""

    def __init__(self, document: Document, references: list[Reference], environ: Mapping[str, str]) -> None:
        self._document = document
        self._references = references
        self._environ = environ
        self._depth = 0
        self._values = 0
        self._length = 0

    def root(self, node: yaml.Node | None) -> None:
        """Fill the document's root."""
        try:
            tree = self._tree(node, ()) if node else None
        except _TooMuch as error:
            raise _unreadable(self._document, error.line, error.what) from None
        if isinstance(tree, Map):
            self._document.root = tree
        elif tree is not None or self._document.cut:
            self._document.wrong_at(1, (), "the file must be a mapping of settings, such as `providers: {...}`")
            raise self._document.error()

    def _tree(self, node: yaml.Node, path: Path) -> Tree:
        self._depth += 1
        self._values += 1
        _bounded(self._depth, self._values, _line(node))
        try:
            if node.tag not in _CORE_TAGS:
                self._cut(path, _line(node), "has a YAML tag, which is not supported; remove the `!` and its word")
                return None
            if isinstance(node, yaml.MappingNode):
                return self._map(node, path)
            if isinstance(node, yaml.SequenceNode):
                return self._seq(node, path)
            return self._scalar(node, path) if isinstance(node, yaml.ScalarNode) else None
        finally:
            self._depth -= 1

    def _map(self, node: yaml.MappingNode, path: Path) -> Map:
        tree = Map(path)
        for key_node, value_node in self._own(node):
            key = self._key(key_node, path)
            if key is not None and (*path, key) in self._document.lines:
                first = self._document.lines[*path, key]
                self._document.wrong_at(
                    _line(key_node), (*path, key), f"is written twice, first on line {first}; keep one"
                )
            elif key is not None:
                self._put(tree, key, key_node, value_node)
        for key_node, value_node in self._merged(node, path):
            key = self._key(key_node, path)
            if key is not None and (*path, key) not in self._document.lines:
                self._put(tree, key, key_node, value_node)
        return tree

    def _put(self, tree: Map, key: str, key_node: yaml.Node, value_node: yaml.Node) -> None:
        path = (*tree.path, key)
        self._document.lines[path] = _line(key_node)
        value = self._tree(value_node, path)
        if path not in self._document.cut:
            tree[key] = value

    def _own(self, node: yaml.MappingNode) -> list[tuple[yaml.Node, yaml.Node]]:
        return [pair for pair in node.value if pair[0].tag != _MERGE]

    def _merged(self, node: yaml.MappingNode, path: Path, depth: int = 0) -> Iterator[tuple[yaml.Node, yaml.Node]]:
        """What ``<<`` brings in, nearest first."""
        for source in _merge_sources(node):
            self._values += 1
            _bounded(self._depth + depth, self._values, _line(source))
            if isinstance(source, yaml.MappingNode):
                yield from self._own(source)
                yield from self._merged(source, path, depth + 1)
            else:
                self._document.wrong_at(_line(source), (*path, "<<"), "merges no mapping; write `<<: *anchor`")

    def _seq(self, node: yaml.SequenceNode, path: Path) -> Seq:
        tree = Seq(path)
        for index, item_node in enumerate(node.value):
            item_path = (*path, index)
            self._document.lines[item_path] = _line(item_node)
            item = self._tree(item_node, item_path)
            if item_path not in self._document.cut:
                tree.append(item)
                tree.positions.append(index)
        return tree

    def _key(self, node: yaml.Node, path: Path) -> str | None:
        """A name as it is written; the empty one in quotes only."""
        if isinstance(node, yaml.ScalarNode):
            key = restore(node.value, self._references)
            if (key or node.style) and key == node.value and key.isprintable() and len(key) <= _LONGEST_NAME:
                return key
        what = "a setting's name must be plain text; names are written as they are, without ${...}"
        self._document.wrong_at(_line(node), path, what)
        return None

    def _scalar(self, node: yaml.ScalarNode, path: Path) -> Scalar | None:
        filled = fill(node.value, self._references, self._environ)
        self._length += sum(map(len, filled.pieces))
        if self._length > _MAX_LENGTH:
            raise _TooMuch(_line(node), "the file expands to more than 4 MiB; shorten it")
        text = "".join(filled.pieces)
        for name in filled.unset:
            what = f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
            self._cut(path, _line(node), what)
        if "${" in node.value:
            self._cut(path, _line(node), "has a `${` that begins no ${NAME}; a literal `$` before `{` is written `$$`")
        if not _is_text(text):
            self._cut(path, _line(node), "contains half a character (a lone surrogate); remove it")
        plain = not node.style
        return None if plain and text in _NULLS else Scalar(text, path, plain, filled.from_environment)

    def _cut(self, path: Path, line: int, what: str) -> None:
        self._document.wrong_at(line, path, what)
        self._document.cut.add(path)


def _merge_sources(node: yaml.MappingNode) -> Iterator[yaml.Node]:
    for key_node, value_node in node.value:
        if key_node.tag == _MERGE:
            yield from value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1
