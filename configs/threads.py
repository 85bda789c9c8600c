"""How threads of numerical libraries wait; in the lowest room: it runs before torch is loaded."""

from __future__ import annotations

import os


def let_threads_sleep() -> None:
    """Make OpenMP threads that wait sleep instead of spin, unless the user has said otherwise.

    Where another process shares the cores, spinning costs a factor of ten: 5 against 46 crops/s of
    `luxvox pretrain cpu_real` on 2 cores at a load of 5. OpenMP reads it once, as torch is loaded.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
