"""One fixed colour per class."""

Colour = tuple[int, int, int]

# Seven hues that people with common forms of colour blindness can tell apart. Source: Okabe and Ito 2008, without
# black.
_HUES: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (204, 121, 167),
    (0, 114, 178),
    (213, 94, 0),
    (240, 228, 66),
)
_WHITE: Colour = (255, 255, 255)
_INK: Colour = (24, 24, 27)


def class_colour(label: int) -> Colour:
    """Return the RGB colour (0 to 255) of class number `label`: seven hues, their darker shades, their tints."""
    hue = _HUES[label % len(_HUES)]
    turn = label // len(_HUES) % 3
    return (hue, blend(hue, _INK, 0.45), blend(hue, _WHITE, 0.5))[turn]


def blend(first: Colour, second: Colour, amount: float) -> Colour:
    """Mix `amount` (0 to 1) of `second` into `first`."""
    red, green, blue = (round(a + amount * (b - a)) for a, b in zip(first, second, strict=True))
    return red, green, blue


def ink_on(background: Colour) -> Colour:
    """Return near-black or white, whichever is easier to read on `background`."""
    return max((_INK, _WHITE), key=lambda ink: _contrast(ink, background))


def hex_code(colour: Colour) -> str:
    """Return the colour as CSS writes it, `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def _contrast(first: Colour, second: Colour) -> float:
    """Contrast ratio, 1 to 21. Source: Web Content Accessibility Guidelines 2.1."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Colour) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (value / 255 for value in colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
