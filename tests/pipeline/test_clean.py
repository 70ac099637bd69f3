import itertools

import pytest

from pipeline.clean import clean, paragraphs, script_share, shard_of
from pipeline.shard_steps import _stretch
from recipe import CorpusError


def test_text_is_composed_and_has_no_control_characters() -> None:
    assert clean("  cafe\u0301\x00\tau\r\nlait\ufeff ") == "café au lait"


def test_paragraphs_are_the_lines_that_say_something() -> None:
    assert paragraphs("one\n\n \ttwo \u2028three\n") == ["one", "two", "three"]


@pytest.mark.parametrize(
    ("text", "scripts", "share"),
    [
        ("नमस्ते", ("Devanagari",), 1.0),
        ("नम ab", ("Devanagari",), 0.5),
        ("नम ab", ("Devanagari", "Latin"), 1.0),
        ("Привет", ("Latin",), 0.0),
        ("123 !", ("Latin",), 1.0),
        ("漢字かな", ("Han", "Hiragana"), 1.0),
    ],
)
def test_the_share_of_letters_in_a_script(text: str, scripts: tuple[str, ...], share: float) -> None:
    assert script_share(text, scripts) == share


def test_a_script_that_is_none_is_named() -> None:
    with pytest.raises(CorpusError, match=r"sequences\.scripts: .Klingon. is no Unicode script"):
        script_share("a", ("Klingon",))


@pytest.mark.parametrize("shards", [1, 3, 7, 1000])
def test_stretches_are_the_places_of_their_shard(shards: int) -> None:
    bounds = [_stretch(number, shards) for number in range(shards)]
    assert bounds[0][0] == 0
    assert bounds[-1][1] == 1 << 32
    assert all(left[1] == right[0] for left, right in itertools.pairwise(bounds))
    for number, (low, high) in enumerate(bounds):
        assert {shard_of(low, shards), shard_of(high - 1, shards)} == {number}
