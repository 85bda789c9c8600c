"""Results where viewers look for them: OME-XML map annotations, or attributes of a Zarr group.

Always a file of its own beside the table: the user's volumes are not written to.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from .focus import FocusResult
from .focus_table import summary

NAMESPACE = "luxvox/focus/1"
_OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
Sidecar = Literal["ome", "zarr"]


def write_sidecar(path: Path, results: Sequence[FocusResult], kind: Sidecar) -> Path:
    """Write what is known of stacks as metadata.

    Args:
        path: of the file; "ome": OME-XML, "zarr": JSON that can be merged into the attributes of
            the image's group.
        results: of `score_stack`.
        kind: "ome" or "zarr".
    """
    if kind == "zarr":
        stacks = [
            {**summary(result), "scores": [_number(found.score) for found in result.slices]}
            for result in results
        ]
        path.write_text(json.dumps({NAMESPACE: stacks}, indent=1) + "\n", encoding="utf-8")
        return path
    ElementTree.register_namespace("", _OME)
    root = ElementTree.Element(f"{{{_OME}}}OME")
    notes = ElementTree.SubElement(root, f"{{{_OME}}}StructuredAnnotations")
    for number, result in enumerate(results):
        told = summary(result)
        told["scores"] = " ".join(str(_number(found.score)) for found in result.slices)
        entry = ElementTree.SubElement(
            notes, f"{{{_OME}}}MapAnnotation", ID=f"Annotation:{number}", Namespace=NAMESPACE
        )
        values = ElementTree.SubElement(entry, f"{{{_OME}}}Value")
        for key, value in told.items():
            pair = ElementTree.SubElement(values, f"{{{_OME}}}M", K=key)
            pair.text = "" if value is None else str(value)
    ElementTree.indent(root)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
    return path


def _number(score: float) -> float | None:
    return score if score == score else None
