import pytest

from monai_cellreg.report import Verdict


def test_level_is_one_of_three():
    with pytest.raises(ValueError, match="level is 'bad', expected one of 'good', 'check', 'failed'"):
        Verdict("bad")


@pytest.mark.parametrize(("level", "words"), [("good", "good"), ("check", "closely"), ("failed", "not")])
def test_headline_says_the_level(level, words):
    assert words in Verdict(level).headline
