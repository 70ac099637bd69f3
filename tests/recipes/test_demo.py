import re

import pytest

from recipe import load_recipe
from recipes import demo

pytest.importorskip("django", reason="the demo extra is not installed")
pytest.importorskip("sphinx", reason="the demo extra is not installed")


@pytest.mark.parametrize(("language", "script"), [("hi", "\u0900-\u097f"), ("es", "a-z"), ("tr", "a-zçğıöşü")])
def test_a_corpus_is_a_thousand_lines_of_its_language_without_placeholders(language: str, script: str) -> None:
    lines = set(demo.messages(language))
    assert len(lines) > 1000
    assert not [line for line in lines if re.search(r"%\(|%[A-Za-z]|\{\w*\}|</?\w+>|[\n\r]", line)]
    letters = re.findall(r"[^\W\d_]", " ".join(lines).lower())
    assert sum(re.fullmatch(f"[{script}]", letter) is not None for letter in letters) > 0.8 * len(letters)


def test_the_demo_merges_three_tokenizer_families_in_two_scripts_against_a_control() -> None:
    recipe = load_recipe(demo.RECIPE)
    assert set(recipe.teachers) == {"unigram", "wordpiece", "byte-bpe"}
    assert set(recipe.languages) == {"hi", "es", "tr"}
    assert recipe.evaluation.control
