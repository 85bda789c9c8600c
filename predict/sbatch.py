"""A file for SLURM: one job of an array for each part."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path


def write_sbatch(out: Path, command: Sequence[str], parts: int, folder: Path) -> Path:
    """Write OUT.sbatch, ready but for the names of partition and account.

    Args:
        out: of the prediction; the file and its logs lie beside it.
        command: words of the prediction, without parts.
        parts: jobs of the array.
        folder: in which the command was given; paths may be relative to it.

    Returns:
        The file.
    """
    path = out.with_name(f"{out.name}.sbatch")
    lines = [
        "#!/bin/bash",
        f"#SBATCH --job-name={shlex.quote(out.name)}",
        f"#SBATCH --array=0-{parts - 1}",
        f"#SBATCH --output={shlex.quote(str(out.absolute()))}.%a.log",
        "#SBATCH --cpus-per-task=4",
        "#SBATCH --mem=16G",
        "#SBATCH --time=12:00:00",
        "#SBATCH --signal=B:TERM@120",
        "##SBATCH --gres=gpu:1",
        "##SBATCH --partition=NAME",
        "# A part that was cut off goes on where it was: submit the same file again.",
        f"cd {shlex.quote(str(folder))}",
        # exec: the signal before the time limit goes to luxvox, which ends after its block.
        f'exec {shlex.join(command)} --parts {parts} --part "$SLURM_ARRAY_TASK_ID"',
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def command_words(
    verb: Sequence[str], options: Mapping[str, str | float | bool | None]
) -> list[str]:
    """A command line from values: True is a flag, None and False are left out."""
    words = list(verb)
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is not None and value is not False:
            words += [option, str(value)]
    return words
