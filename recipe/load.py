"""Read a recipe: YAML file + overrides → Recipe, or one line that says what is wrong and what is accepted."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from recipe.errors import RecipeError
from recipe.schema import Recipe


class _Loader(yaml.SafeLoader):
    """YAML with 1.2's booleans (`no` is Norwegian, not false) and without duplicate keys."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$", re.IGNORECASE), list("tTfF"))


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:
        if key_node.value in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key_node.value!r} is named twice", key_node.start_mark
            )
        seen.add(key_node.value)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_duplicates)


def load_recipe(path: str | Path, overrides: Iterable[str] = (), workdir: str | None = None) -> Recipe:
    """Read and validate the recipe at `path`, with `a.b=c` overrides and an optional other workdir.

    Raises RecipeError, in one line with the file, the field and the accepted values.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RecipeError(f"{path}: no such recipe file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read: {error}") from None
    document = _parse(text, str(path))
    if not isinstance(document, dict):
        raise RecipeError(f"{path}: a recipe is a mapping with the keys {_accepted(Recipe)}")
    for override in overrides:
        _apply(document, override)
    if workdir is not None:
        document["workdir"] = workdir
    try:
        return Recipe.model_validate(document)
    except ValidationError as error:
        raise RecipeError(_first_problem(error, str(path))) from None


def _parse(text: str, where: str) -> Any:
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{where}{line}: {error.problem or 'not valid YAML'}") from None
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}: not valid YAML: {' '.join(str(error).split())}") from None


def _apply(document: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator or not all(key.split(".")):
        raise RecipeError(f"--set {override}: write it as section.key=value")
    *sections, last = key.split(".")
    place: Any = document
    for section in sections:
        place = place.setdefault(section, {})
        if not isinstance(place, dict):
            raise RecipeError(f"--set {override}: {section!r} is not a section")
    place[last] = _parse(value, f"--set {override}")


def _first_problem(error: ValidationError, where: str) -> str:
    problem = error.errors()[0]
    path = [str(part) for part in problem["loc"] if part != "[key]"]
    field = ".".join(path)
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        message = f"unknown key; accepted: {_accepted(_section_at(path[:-1]))}"
    elif problem["type"] == "missing":
        message = f"is missing; accepted keys here: {_accepted(_section_at(path[:-1]))}"
    elif not isinstance(problem["input"], Mapping):
        message = f"{message[0].lower()}{message[1:]} (got {problem['input']!r})"
    more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
    return ": ".join(part for part in (where, field, message) if part) + more


def _accepted(section: Any) -> str:
    return ", ".join(section.model_fields) if section is not None else "none"


def _section_at(path: list[str]) -> Any:
    """The section class at a path of keys, so that an error can list what it accepts."""
    here: Any = Recipe
    for key in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[key].annotation if key in here.model_fields else None
        elif typing.get_origin(here) is dict:
            here = typing.get_args(here)[1]
        while isinstance(here, types.UnionType) or typing.get_origin(here) is typing.Annotated:
            here = typing.get_args(here)[0]
    return here if isinstance(here, type) and issubclass(here, BaseModel) else None
