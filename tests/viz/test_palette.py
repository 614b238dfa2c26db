import pytest

from detinv.viz.palette import blend, class_colour, hex_code, ink_on


def test_class_colour_is_fixed_and_distinct_for_21_classes() -> None:
    colours = [class_colour(label) for label in range(21)]
    assert len(set(colours)) == 21
    assert class_colour(21) == class_colour(0)
    assert class_colour(1) == (86, 180, 233)


def test_class_colours_stay_apart_for_red_green_blind_eyes() -> None:
    # Red and green carry one signal there: hues must differ in their mixture or in blue.
    def seen(colour: tuple[int, int, int]) -> tuple[float, float]:
        return 0.6 * colour[0] + 0.4 * colour[1], colour[2]

    for first in range(7):
        for second in range(first):
            a, b = seen(class_colour(first)), seen(class_colour(second))
            assert abs(a[0] - b[0]) + abs(a[1] - b[1]) > 25, (first, second)


@pytest.mark.parametrize("label", range(21))
def test_ink_on_class_colours_is_readable(label: int) -> None:
    def luminance(colour: tuple[int, int, int]) -> float:
        r, g, b = ((c / 255 / 12.92) if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour)
        return 0.2126 * r + 0.7152 * g + 0.0722 * b

    colour = class_colour(label)
    low, high = sorted((luminance(colour), luminance(ink_on(colour))))
    assert (high + 0.05) / (low + 0.05) > 4.2


def test_blend_and_hex_code() -> None:
    assert blend((0, 100, 200), (100, 100, 100), 0.5) == (50, 100, 150)
    assert hex_code((1, 16, 255)) == "#0110ff"
