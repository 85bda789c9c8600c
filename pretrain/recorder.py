"""Between steps: saves, evaluates, and writes down; at the end, what the run leaves behind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..configs.run_folder import write_metrics
from ..report.pretrain import write_pretrain_report
from .corpus import Corpus
from .history import History
from .judge import Judge
from .loop import Learner, StepReport
from .outcome import write_weights
from .recipe import PretrainRecipe
from .state import BEST, Position, folder_name, gather_state, prune, write_checkpoint
from .step_line import StepLine
from .stop import StopRequests


class Recorder:
    """Saves, evaluates and reports between steps."""

    def __init__(
        self,
        recipe: PretrainRecipe,
        run: Path,
        learner: Learner,
        corpus: Corpus,
        architecture: dict[str, Any],
        start: Position,
    ) -> None:
        """Prepare the files of the run; `start` is where this session begins."""
        self.recipe, self.run, self.learner = recipe, run, learner
        self.corpus, self.architecture, self.start = corpus, architecture, start
        self.accelerator = learner.accelerator
        self.main = self.accelerator.is_main_process
        self.judge = Judge(recipe, corpus)
        self.history = History(run / "history.jsonl", start.step) if self.main else None
        self.stops = StopRequests(recipe.checkpoint.every_minutes)
        self.line: StepLine | None = None
        self.best_error = start.best_error
        self.saved_step = start.step
        self.judged_step = -1
        self.last_judged: dict[str, float] = {}
        self.crops = self.seconds = self.waited = 0.0
        self.last_values: dict[str, float] = {}

    def after_step(self, position: Position, report: StepReport) -> None:
        """Called by the loop after every step."""
        self.crops += report.crops
        self.seconds += report.seconds
        self.waited += report.waited
        entry = {
            "step": position.step,
            "time_s": position.seconds,
            "lr": report.lr,
            "grad_norm": report.grad_norm,
            "distinct_captions": report.distinct_captions,
            "crops_per_second": report.crops / report.seconds,
            "data_wait_fraction": report.waited / report.seconds,
            **report.terms,
        }
        if self._is_due(position.step, self.recipe.evaluate.every_steps) and self.judge.ready:
            entry |= self._evaluate(position)
        self._record(entry)
        if self._wants_checkpoint(position):
            self.save(position)

    def save(self, position: Position, name: str | None = None) -> None:
        """Write a checkpoint; every rank calls this."""
        state = gather_state(self.learner.model, self.learner.optimizer, self.learner.ema)
        if self.main:
            checkpoints = self.run / "checkpoints"
            position = replace(position, best_error=self.best_error)
            write_checkpoint(
                checkpoints / (name or folder_name(position.step)),
                state,
                position,
                self.architecture,
            )
            prune(checkpoints, self.recipe.checkpoint.keep)
        self.accelerator.wait_for_everyone()
        if name is None:
            self.saved_step = position.step
        self.stops.saved()

    def finish(self, position: Position) -> dict[str, float | int]:
        """Last checkpoint, last evaluation, weights, metrics and report."""
        stopped = position.step < self.recipe.steps
        if position.step > self.saved_step:
            self.save(position)
        # A run that was told to stop may have seconds to live: what must not be lost is saved
        # above.
        judged: dict[str, float] = {}
        if self.judge.ready and not stopped:
            fresh = self.judged_step == position.step
            judged = self.last_judged if fresh else self._evaluate(position)
            if self.history is not None and not fresh:
                self.history.append({"step": position.step, **judged})
        metrics: dict[str, float | int] = {
            **{f"train/{name}": value for name, value in self.last_values.items()},
            **judged,
            "steps": position.step,
            "resumed_from_step": self.start.step,
            "num_processes": self.accelerator.num_processes,
            "skipped_steps": position.skipped_steps,
            "seconds": position.seconds,
            "crops_per_second": self.crops / self.seconds if self.seconds else 0.0,
            "data_wait_fraction": self.waited / self.seconds if self.seconds else 0.0,
            "skipped_volumes": len(self.corpus.skipped),
        }
        state = gather_state(self.learner.model, self.learner.optimizer, self.learner.ema)
        if self.main:
            write_metrics(self.run, metrics)
            write_weights(
                self.run,
                state["ema"],
                self.recipe,
                self.architecture,
                self.corpus.summary(),
                metrics,
            )
            write_pretrain_report(self.run)
        self.accelerator.wait_for_everyone()
        return metrics

    def _evaluate(self, position: Position) -> dict[str, float]:
        metrics = self.judge.evaluate(self.learner, self.run)
        self.judged_step, self.last_judged = position.step, metrics
        error = metrics["val/masked_error"]
        if self.best_error is None or error < self.best_error:
            self.best_error = error
            self.save(position, BEST)
        return metrics

    def _record(self, entry: dict[str, float]) -> None:
        step = int(entry["step"])
        self.last_values = {
            name: value
            for name, value in entry.items()
            if not name.startswith("val/") and name not in ("step", "time_s")
        }
        self.accelerator.log({k: v for k, v in entry.items() if k != "step"}, step=step)
        if self.history is not None:
            self.history.append(entry)
        if self.line is not None:
            rate, waiting = self.crops / self.seconds, self.waited / self.seconds
            numbers = f"loss {entry['loss']:.3f}  {rate:.1f} crops/s  waiting {waiting:.0%}"
            self.line.update(step, numbers)

    def _wants_checkpoint(self, position: Position) -> bool:
        """By steps, before the decay, by the clock, or asked for; the same answer on every rank."""
        due = self._is_due(position.step, self.recipe.checkpoint.every_steps)
        return self.stops.save or due or position.step == self.recipe.decay_start

    @staticmethod
    def _is_due(step: int, every: int | None) -> bool:
        return every is not None and step % every == 0
