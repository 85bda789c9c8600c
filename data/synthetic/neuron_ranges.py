"""What neurons and their processes are drawn from."""

from __future__ import annotations

from .randomness import Range, Ranges


class NeuronsRanges(Ranges):
    """Ranges of a volume with stained neurons."""

    immunolabel: float = 0.4
    """Share of volumes where somata are strongly stained and processes weakly, with dark nuclei,
    as with antibodies to tyrosine hydroxylase; the others are filled neurons, as with GFP."""
    filled_per_mm3: Range = (30.0, 3000.0)
    """Filled neurons per mm3 (sparse labelling by virus or genes); our judgement."""
    immunolabel_per_mm3: Range = (1e3, 1.5e4)
    """Immunolabelled neurons per mm3; our judgement."""
    least: int = 1
    """Fewest neurons whose soma lies in the volume, where neurons are what is stained."""
    soma_um: Range = (8.0, 20.0)
    """Median diameter of the somata of a volume, um; our judgement."""
    soma_spread: Range = (0.05, 0.2)
    """Standard deviation of the logarithm of the soma's diameter; our judgement."""
    pyramidal_share: Range = (0.0, 1.0)
    """Share of pyramidal neurons: elongated soma, apical dendrite; our judgement."""
    dendrites: Range = (4.0, 8.0)
    """Dendrites of a neuron, the apical one not counted; our judgement."""
    dendrite_radius_um: Range = (0.5, 1.2)
    """Radius of dendrites where they leave the soma, um; our judgement."""
    apical_radius_um: Range = (1.0, 2.2)
    """Radius of apical dendrites where they leave the soma, um; our judgement."""
    dendrite_length_um: Range = (60.0, 200.0)
    """Length of dendrites from soma to tip, um; our judgement."""
    apical_length_um: Range = (150.0, 450.0)
    """Length of apical dendrites from soma to tip, um; our judgement."""
    branch_every_um: Range = (25.0, 70.0)
    """Mean length between forks of dendrites, um; our judgement."""
    persistence_um: Range = (40.0, 250.0)
    """Length over which processes forget their direction, um; our judgement."""
    axon_radius_um: Range = (0.15, 0.5)
    """Radius of axons, um; our judgement."""
    axon_length_um: Range = (200.0, 600.0)
    """Length of the axon that is drawn, um: real ones go on for millimetres; our judgement."""
    axon_branch_every_um: Range = (100.0, 400.0)
    """Mean length between branches of axons, um; our judgement."""
    spiny: float = 0.5
    """Share of volumes whose dendrites carry spines."""
    spines_per_um: Range = (0.3, 1.5)
    """Spines along dendrites; our judgement."""
    spine_um3: Range = (0.02, 0.3)
    """Volume of a spine, um3, within those of Harris and Stevens, J. Neurosci. 9, 2982 (1989)."""
    weak_processes: Range = (0.05, 0.5)
    """Dye in the processes of immunolabelled neurons over that in their somata; our judgement."""
    nucleus_share: Range = (0.55, 0.78)
    """Diameter of an immunolabelled soma's dark nucleus over its own; our judgement."""
    nucleus_density: Range = (0.03, 0.4)
    """Dye in that nucleus over that around it; our judgement."""
    brightness_spread: Range = (0.1, 0.6)
    """Standard deviation of the logarithm of brightness between neurons; our judgement."""
