"""What a stain text says: its name in one normal form, and the wavelength where it is stated."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

# Visible and near infrared lines and two-photon pumps; other lengths in nm are particle sizes.
_WAVELENGTHS_NM = (350.0, 1700.0)
_WAVELENGTH = re.compile(r"\b(\d{3,4}(?:\.\d+)?)\s*nm\b", re.IGNORECASE)

# Words that say that something is coloured, not what: they carry no identity.
_GENERIC_WORDS = frozenset(
    "anti antibody channel dye immunolabel immunolabeling immunolabelling immunostain "
    "immunostaining label labeling labelling marker reporter signal stain staining".split()
)


@dataclass(frozen=True)
class Stain:
    """A stain as a person wrote it.

    Attributes:
        name: the text without the wavelength, spaces tidied, letters as written.
        key: normal form in which spellings of one stain are equal ("DAPI stain" and "dapi").
        wavelength_nm: stated wavelength in nm; None when none or several are stated.
    """

    name: str
    key: str
    wavelength_nm: float | None


def stated_wavelength_nm(text: str) -> float | None:
    """The one optical wavelength (nm) that a text names; None when there is none or several."""
    found = {float(number) for number in _WAVELENGTH.findall(text)}
    low, high = _WAVELENGTHS_NM
    optical = {value for value in found if low <= value <= high}
    return optical.pop() if len(optical) == 1 else None


def parse_stain(text: str) -> Stain:
    """Read a stain text such as "axon label, 647 nm" or "c-Fos immunolabel"."""
    tidy = " ".join(unicodedata.normalize("NFKC", text).split())
    wavelength_nm = stated_wavelength_nm(tidy)
    name = _WAVELENGTH.sub("", tidy) if wavelength_nm is not None else tidy
    name = re.sub(r"\(\s*\)", "", name)
    name = re.sub(r"\s+([,;)])", r"\1", " ".join(name.split())).strip(" ,;") or tidy
    # Hyphens are spelling only: "c-Fos", "cFos" and "C FOS" are one stain.
    words = [w for w in re.split(r"[\s,;()/]+", name.casefold()) if w]
    telling = [w for w in words if w not in _GENERIC_WORDS] or words
    return Stain(name, re.sub(r"[-_\s]", "", "".join(telling)), wavelength_nm)
