import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipe import RecipeError, Source, Workdir, fingerprint, load_recipe

TEXT = """
name: x
workdir: runs/x
teachers: {a: {model: m}, b: {model: n}}
languages:
  no: {teachers: [a, b], corpora: [x.txt]}
  fi: {teachers: [b], corpora: [y.txt]}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "r.yaml"
    file.write_text(TEXT)
    return file


def test_norwegian_is_a_language_and_sources_are_its_teachers(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.sources() == (Source("a", "no"), Source("b", "no"), Source("b", "fi"))
    assert recipe.sources(language="no", teacher="b") == (Source("b", "no"),)
    with pytest.raises(RecipeError, match="it has: no, fi"):
        recipe.sources(language="sv")


def test_overrides_and_workdir_replace_values(path: Path) -> None:
    recipe = load_recipe(path, ["training.lr=5e-4", "masking.whole_word=true"], workdir="memory://w")
    assert (recipe.training.lr, recipe.masking.whole_word, recipe.workdir) == (5e-4, True, "memory://w")


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("training.lr", "write it as section.key=value"),
        ("training..lr=1", "write it as section.key=value"),
        ("name.x=1", "'name' is not a section"),
        ("training.lrr=1", "training.lrr: unknown key; accepted: steps, batch_tokens"),
        ("training.steps=0", "training.steps"),
        ("masking.rate=[", "--set masking.rate"),
    ],
)
def test_a_wrong_override_is_one_line(override: str, says: str, path: Path) -> None:
    with pytest.raises(RecipeError, match=re.escape(says)) as caught:
        load_recipe(path, [override])
    assert "\n" not in str(caught.value)


def test_a_recipe_cannot_be_changed(path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_recipe(path).training.steps = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (TEXT + "name: y\n", r"r\.yaml:8: 'name' is named twice"),
        ("[", r"r\.yaml:1"),
        ("- a", "is a mapping"),
        (TEXT.replace("model: m", "modle: m"), "teachers.a"),
        (TEXT.replace("workdir: runs/x", ""), "workdir: is missing"),
        (TEXT.replace("fi:", "a/b:"), "languages.a/b"),
        (TEXT.replace("fi:", "by-teacher:"), "by-teacher"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_field(text: str, says: str, path: Path) -> None:
    path.write_text(text)
    with pytest.raises(RecipeError, match=says) as caught:
        load_recipe(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@given(st.dictionaries(st.text(), st.integers(), min_size=2))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(content: dict[str, int]) -> None:
    assert fingerprint(content) == fingerprint(dict(reversed(content.items())))


@pytest.mark.parametrize("url", ["memory://workdir-test", "{tmp}"])
def test_a_failed_write_leaves_what_was_there(url: str, tmp_path: Path) -> None:
    workdir = Workdir(url.format(tmp=tmp_path))
    workdir.write_bytes("a/b", b"old")
    if workdir.is_local:
        with pytest.raises(ZeroDivisionError):
            workdir.write_with("a/b", lambda stream: stream.write(b"new") / 0)
    assert workdir.read_bytes("a/b") == b"old"
    assert list(workdir.sizes("a")) == ["b"]
    workdir.remove("a")
    assert not workdir.exists("a/b")
    workdir.remove("a")
