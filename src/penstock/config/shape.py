"""The schema as a tree: which section or field stands at a place of the file."""

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from penstock.config.document import Path
from penstock.config.fields import Field
from penstock.config.schema import Section


def section_at(root: type[Section], path: Path) -> type[Section] | None:
    """The section that stands at ``path`` under ``root``; None when something else does."""
    annotation: Any = root
    for step in path:
        section, items = section_in(annotation), items_of(annotation)
        if section is not None and step in section.model_fields:
            annotation = section.model_fields[str(step)].annotation
        elif items is not None:
            annotation = items
        else:
            return None
    return section_in(annotation)


def section_in(annotation: Any) -> type[Section] | None:
    """The section an annotation names, ``None`` or not, annotated or not."""
    bare = _bare(annotation)
    return bare if isinstance(bare, type) and issubclass(bare, Section) else None


def items_of(annotation: Any) -> Any:
    """What the values of a mapping or the items of a list are; None when it is neither."""
    bare = _bare(annotation)
    if is_mapping(bare):
        return get_args(bare)[1]
    return get_args(bare)[0] if get_origin(bare) is tuple else None


def is_mapping(annotation: Any) -> bool:
    """Whether it is a mapping with names of the user's own."""
    return get_origin(_bare(annotation)) is dict


def fields_in(annotation: Any) -> Iterator[Field]:
    """The types of settings that an annotation names, outermost first."""
    if get_origin(annotation) is Annotated:
        yield from (each for each in annotation.__metadata__ if isinstance(each, Field))
    for part in get_args(annotation):
        yield from fields_in(part)


def _bare(annotation: Any) -> Any:
    """Without ``Annotated`` and ``| None``."""
    if get_origin(annotation) is Annotated:
        return _bare(get_args(annotation)[0])
    if get_origin(annotation) in {Union, UnionType}:
        return _bare(next(part for part in get_args(annotation) if part is not NoneType))
    return annotation
