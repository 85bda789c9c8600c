"""A recipe refuses what could not be trained, before anything is opened."""

from __future__ import annotations

import pytest

from luxvox.configs.errors import InputError
from luxvox.configs.load import load_recipe
from luxvox.pretrain.recipe import PretrainRecipe


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("optim.betas=[0.9,1.5]", "optim.betas.1"),
        ("optim.betas=[-0.1,0.9]", "optim.betas.0"),
        ("optim.lr=.inf", "optim.lr"),
        ("objective.masked=.nan", "objective.masked"),
        ("optim.clip=.inf", "optim.clip"),
        ("optim.ema=1", "optim.ema"),
        ("data.crop.voxel_size_um=[.inf,1,1]", "data.crop.voxel_size_um"),
        ("data.augment.noise=.nan", "data.augment.noise"),
        ("seed=-1", "seed"),
        ("seed=99999999999999999999", "seed"),
        ("data.crop.shape=[8,8,8]", "data.crop.shape"),
        ("data.crop.shape=[17,16,16]", "data.crop"),
        ("masking.queries=0.9", "masking.queries"),
        ("decoder.heads=5", "decoder"),
        ("batch_size=0", "batch_size"),
        ("steps=0", "steps"),
    ],
)
def test_impossible_values_are_named(override: str, named: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe("demo", PretrainRecipe, ["data=list.csv", override])
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
