"""One fine-tuning run from recipe to weights: draw, read, start, adapt, train, blend, calibrate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..configs.errors import InputError
from ..configs.run_folder import lock_run, write_metrics, write_recipe
from ..data.draws import keyed_rng
from ..data.manifest import read_dataset
from ..data.row import Row
from ..models.adapt import adapt, merge_lora, trained_share
from ..models.dense import HeadConfig, RestoreConfig
from ..predict.task_weights import TaskConfig, TaskWeights
from .blend import blend_towards, weights_of
from .examples import Example, label_values_of, load_support, need_objects
from .few_shot import draw_shots
from .loop import Outcome, Told, train
from .naming import TEXT_WIDTH, learnt_structures, named
from .outcome import learning_metrics, write_outcome
from .recipe import FinetuneRecipe
from .replay import common_size, replay_stock, replayed, simulated_name
from .start import Start, starting_model
from .sub_crops import Batch, SubCrops
from .tasks.classify import HEAD as CLASSIFY_HEAD
from .tasks.classify import ClassifyTask, class_names, classify_head
from .tasks.restore import HEAD as RESTORE_HEAD
from .tasks.restore import RestoreTask, first_guess
from .tasks.segment import SegmentTask, are_tubes, segment_head

if TYPE_CHECKING:
    from accelerate import Accelerator

Runnable = SegmentTask | RestoreTask | ClassifyTask


def finetune(
    recipe: FinetuneRecipe,
    support: Sequence[Row] | None = None,
    examples: Sequence[Example] | None = None,
    told: Told = lambda step, steps: None,
) -> dict[str, Any]:
    """Run a recipe to its end.

    Args:
        recipe: the whole plan; `out` receives recipe.yaml, history.jsonl, metrics.json,
            support.npz and weights/.
        support: rows to learn from; None draws them from `data`. A benchmark gives its own.
        examples: what stands for these rows, in place of reading them: cut, or with noise added.
        told: of every step of the loop; what it raises ends the run.

    Returns:
        What stands in metrics.json.

    Raises:
        InputError: data, weights or output folder are not as needed.
    """
    run = Path(recipe.out)
    if (run / "weights").exists():
        raise InputError(
            f"{run}: holds a finished run; give another out=FOLDER, or remove this one"
        )
    rows = _rows(recipe) if support is None else tuple(support)
    accelerator = _accelerator(recipe)
    main = accelerator.is_main_process
    lock = lock_run(run) if main else None
    if main:
        write_recipe(run, recipe)
    accelerator.wait_for_everyone()
    accelerator.init_trackers("luxvox")
    if examples is None:
        examples = load_support(rows, recipe.task, classes=recipe.labels == "classes")
    metrics = _learn(recipe, rows, list(examples), accelerator, told)
    if main:
        write_metrics(run, metrics)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    if lock is not None:
        lock.close()
    return metrics


def _rows(recipe: FinetuneRecipe) -> tuple[Row, ...]:
    dataset = read_dataset(recipe.data, restore=recipe.task == "restore")
    return draw_shots(dataset.rows, recipe.shots, recipe.seed, recipe.task == "classify")


def _accelerator(recipe: FinetuneRecipe) -> Accelerator:
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    if recipe.threads is not None:
        torch.set_num_threads(recipe.threads)
    if (logs := recipe.tracker) == "tensorboard" and find_spec("tensorboard") is None:
        if "tracker" in recipe.model_fields_set:
            raise InputError(
                "tracker=tensorboard: it is not installed; run pip install tensorboard, or set "
                "tracker=none"
            )
        logs = "none"
    return Accelerator(
        cpu=recipe.device == "cpu",
        log_with=None if logs == "none" else logs,
        project_dir=str(Path(recipe.out) / "logs"),
        # Not every step asks for every part: the vector that says nothing, the other heads.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )


def _learn(
    recipe: FinetuneRecipe,
    rows: Sequence[Row],
    examples: list[Example],
    accelerator: Accelerator,
    told: Told,
) -> dict[str, Any]:
    """Everything between reading and writing metrics.json; writes weights and support."""
    values = label_values_of(rows) if recipe.task == "segment" and _many(recipe) else ()
    structures: tuple[str, ...] = ()
    if recipe.objects:
        need_objects(rows, examples)
    if recipe.task == "segment":
        structures = learnt_structures(examples, recipe.structure)
    structure = structures[0] if len(structures) == 1 else None
    condition = named(structures, recipe.text_folder, recipe.weights)
    head, config = _head(recipe, examples, values)
    width = TEXT_WIDTH if condition is None else condition.shape[1]
    start = starting_model(recipe, head, config, width)
    model = start.model.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    untouched = weights_of(model)
    plan = recipe.plan(start.begins, _shots(recipe, examples), start.new_head)
    groups = adapt(model, plan.how, head, plan.layer_decay, recipe.lora_rank)
    share = trained_share(model, groups)
    task = _task(recipe, start, head, examples)
    model.to(accelerator.device)
    task.to(accelerator.device)
    tubes = recipe.task == "segment" and _tubes(recipe, structure, examples)
    crops = SubCrops(
        examples, recipe.crop, model.encoder.config.patch, recipe.augment, recipe.seed, tubes,
        recipe.objects,
    )  # fmt: skip
    if accelerator.is_main_process:
        print(
            f"{recipe.task}: {len(examples)} rows, {start.where}, adapt={plan.how}: {share:.1%} of "
            f"{sum(p.numel() for p in model.parameters()):,} parameters learn"
        )
    if isinstance(task, ClassifyTask) and recipe.classify.method in ("linear", "knn"):
        device = accelerator.device
        task.fit_probe(
            lambda step: crops.of_each(step).to(device),
            recipe.classify.views,
            recipe.classify.penalty,
        )
        outcome = Outcome(recipe.classify.views, 0, 0.0)
    else:
        with _draws(recipe, crops, condition, structures, examples, accelerator) as draw:
            outcome = train(task, groups, draw, recipe, plan, accelerator, start.new_head, told)
    merge_lora(model)
    if plan.blend < 1:
        blend_towards(model, untouched, plan.blend)
    model.requires_grad_(False).eval()
    described = TaskConfig(
        task=recipe.task,
        head=head,
        structure=structure,
        structures=structures if len(structures) > 1 else (),
        classes=_class_names(recipe, examples, values),
        label_values=values,
        foreground_label=rows[0].foreground_label if recipe.task == "segment" else None,
        tile=crops.crop,
        voxel_size_um=common_size([example.voxel_size_um for example in examples]),
    )
    metrics = learning_metrics(recipe, rows, start, plan, outcome, share, accelerator)
    if accelerator.is_main_process:
        metrics |= write_outcome(
            recipe, rows, TaskWeights(model, described, recipe.out, condition), examples
        )
    return metrics


def _many(recipe: FinetuneRecipe) -> bool:
    return recipe.labels == "classes"


def _shots(recipe: FinetuneRecipe, examples: Sequence[Example]) -> int:
    """K: rows, or rows of the rarest class."""
    if recipe.task != "classify":
        return len(examples)
    names = [example.class_name for example in examples]
    return min(names.count(name) for name in names)


def _head(
    recipe: FinetuneRecipe, examples: Sequence[Example], values: Sequence[int]
) -> tuple[str, HeadConfig]:
    if recipe.task == "segment":
        return segment_head(values, recipe.objects)
    if recipe.task == "restore":
        guess = first_guess(examples) if recipe.first_guess else None
        return RESTORE_HEAD, RestoreConfig(first_guess=guess)
    classes = len(class_names(examples))
    return CLASSIFY_HEAD, classify_head(recipe.classify, classes, len(examples))


def _task(recipe: FinetuneRecipe, start: Start, head: str, examples: Sequence[Example]) -> Runnable:
    if recipe.task == "segment":
        return SegmentTask(start.model, head)
    if recipe.task == "restore":
        return RestoreTask(start.model, head)
    return ClassifyTask(start.model, head, examples)


def _tubes(recipe: FinetuneRecipe, structure: str | None, examples: Sequence[Example]) -> bool:
    if recipe.tubes != "auto":
        return recipe.tubes
    return are_tubes([structure or example.structure for example in examples])


def _class_names(
    recipe: FinetuneRecipe, examples: Sequence[Example], values: Sequence[int]
) -> tuple[str, ...]:
    if recipe.task == "classify":
        return class_names(examples)
    return tuple("background" if value == 0 else f"label {value}" for value in values)


@contextmanager
def _draws(
    recipe: FinetuneRecipe,
    crops: SubCrops,
    condition: Tensor | None,
    structures: Sequence[str],
    examples: Sequence[Example],
    accelerator: Accelerator,
) -> Iterator[Callable[[int], Batch]]:
    """The batch of a step on this rank: real crops, and simulated ones where replay is wanted."""
    rank, world = accelerator.process_index, accelerator.num_processes
    size = recipe.batch_size
    # Which row of `condition` each example is named by.
    several = len(structures) > 1
    meant = torch.tensor([structures.index(str(e.structure)) if several else 0 for e in examples])
    with ExitStack() as stack:
        name, stock = "", None
        if recipe.replay and len(structures) > 1:
            print("note: replay knows one structure at a time, and is left out")
        elif recipe.replay:
            name = simulated_name(structures[0] if structures else examples[0].structure)
            spacing = common_size([example.voxel_size_um for example in examples])
            stock = stack.enter_context(
                replay_stock(name, crops.crop, spacing, recipe.seed + rank, str(accelerator.device))
            )

        def draw(step: int) -> Batch:
            if (
                stock is not None
                and keyed_rng("replay", recipe.seed, step).random() < recipe.replay
            ):
                restore = recipe.task == "restore"
                simulated = condition if condition is None else condition.to(stock.device)
                return replayed(stock, step, size, name, simulated, restore)
            batch = crops.batch(step * world + rank, size)
            if condition is None:
                return batch
            return replace(batch, condition=condition[meant[batch.example]])

        yield draw
