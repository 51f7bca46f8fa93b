"""Text can be read: the colours of tokens.css reach 4.5:1 on every surface, in both themes."""

import re
from itertools import product
from pathlib import Path

import pytest

TOKENS = Path(__file__).parents[2] / "gateway/dashboard/ui/src/styles/tokens.css"
SURFACES = ("bg", "surface", "raised", "sunken", "hover")
TEXTS = ("text", "text-soft", "text-muted", "accent")
STATES = ("queued", "running", "succeeded", "failed", "cancelled", "expired")

PAIRS = dict(
    re.findall(r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\);", TOKENS.read_text(encoding="utf-8"))
)


def colour(name: str, theme: int) -> str:
    return PAIRS[name].split(", ")[theme]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_is_readable_on_every_surface(theme):
    low = {
        (text, on): round(ratio, 2)
        for text, on in [
            *product((*TEXTS, *STATES), SURFACES),
            *((state, f"{state}-bg") for state in STATES),
            *((text, "selected") for text in ("text", "text-soft")),
        ]
        if (ratio := contrast(colour(text, theme), colour(on, theme))) < 4.5
    }

    assert low == {}


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_controls_and_charts_stand_out(theme):
    shapes = ["line-control", *(f"fill-{state}" for state in STATES)]
    low = {
        (shape, round(ratio, 2))
        for shape in shapes
        if (ratio := contrast(colour(shape, theme), colour("surface", theme))) < 3
    }

    assert low == set()
