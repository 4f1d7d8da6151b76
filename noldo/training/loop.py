"""The loop: epochs of steps, validation, checkpoints. What is learnt, and from what, is told by a `Task`.

A run that is killed goes on from its last checkpoint to the same weights (bit for bit on a CPU): order, seasons, crops and
augmentation are functions of seed, epoch and id; so is dropout, by step. Everything else that changes is in the checkpoint.
"""

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from noldo.errors import CheckpointError, DivergedError, RunInterruptedError, StoreError
from noldo.training.curves import Curves
from noldo.training.prefetch import Prefetch, on_device
from noldo.training.recipe import Recipe
from noldo.training.run_folder import RunFolder
from noldo.training.sample_figure import MAX_SHOWN, write_sample_figure
from noldo.training.schedules import Rate, optimiser_of
from noldo.training.state import Pending, State
from noldo.training.task import Batch, Feed, Progress, Task, Validate
from noldo.training.wandb_curves import WandbCurves

if TYPE_CHECKING:
    pass

_LOG = logging.getLogger(__name__)

_DROPOUT = 4
"""Stream of random numbers; 0 to 3 are those of seasons, crops, augmentation and order."""


class Loop:
    """One run, from its last checkpoint to its last epoch."""

    def __init__(
        self,
        task: Task,
        *,
        feed: Feed,
        recipe: Recipe,
        folder: RunFolder,
        fabric: Fabric,
        progress: Progress | None = None,
        stop: Callable[[], bool] | None = None,
        wandb: str | None = None,
    ) -> None:
        """Set up optimiser, precision and ranks.

        Parameters
        ----------
        wandb
            Project of Weights & Biases that curves are written to, too.
        stop
            Asked now and then (every `log_steps`, by all ranks together) whether to save and end.
        """
        self._task = task
        self._feed = feed
        self._recipe = recipe
        self._folder = folder
        self._fabric = fabric
        self._progress = progress
        self._stop = stop
        self._state = State()
        self._pending = Pending()
        self._wandb = wandb
        self._curves: list[Curves | WandbCurves] = []
        self._to_show: Batch | None = None
        self._num_unlabelled = 0
        """Steps of this epoch, since this start, without any label on this rank."""
        self._early = getattr(recipe, "early_stopping", None)
        self._prefetch = Prefetch(fabric.device)
        task.network.to(fabric.device)  # before the optimiser, which asks where parameters are
        parameters = [one for one in task.network.parameters() if one.requires_grad]
        # A fused optimiser takes the scale off 16-bit gradients itself, so that they can't be clipped before.
        is_clipped = recipe.precision == "16-mixed" and recipe.optimiser.clip_norm is not None
        is_fused = fabric.device.type == "cuda" and not is_clipped
        optimiser = optimiser_of(parameters, recipe.optimiser, is_fused=is_fused)
        network = task.network
        if recipe.compile:
            network = cast(nn.Module, torch.compile(network))
        self._network, self._optimiser = fabric.setup(network, optimiser)
        self._rate = Rate(self._optimiser, recipe.schedule, initial=recipe.optimiser.lr)

    def run(self) -> State:
        """Train to the end.

        Raises
        ------
        DivergedError
            If the loss is no number; the last checkpoint is from before.
        RunInterruptedError
            If it was asked to stop; the state is saved.
        """
        self._resume()
        state = self._state
        if self._fabric.is_global_zero:
            self._curves = self._open_curves()
        try:
            self._epochs()
        finally:
            for curves in self._curves:
                curves.close()
            self._curves = []
        return state

    def _open_curves(self) -> list[Curves | WandbCurves]:
        found: list[Curves | WandbCurves] = []
        if self._wandb is not None:
            recipe = self._recipe.model_dump(mode="json")
            found.append(WandbCurves(self._folder.path, project=self._wandb, recipe=recipe))
        return [Curves(self._folder.path / "curves", after=self._state.num_steps), *found]

    def _epochs(self) -> None:
        state = self._state
        while state.epoch < self._recipe.epochs and not self._is_over():
            self._rate.start_epoch(state.epoch)
            self._train_epoch()
            if facts := self._task.end_epoch():
                self._log(facts)
            scores = self._validate()
            self._end_epoch(scores)

    def count(self, batches: Iterable[Batch], *, validate: Validate | None = None) -> None:
        """Count the predictions of the network as it is now; the task has the counts.

        Ranks may have no batch, so the network is called without the wrapper of ranks, which would wait for all.

        Parameters
        ----------
        validate
            How a batch is counted; default: as in each epoch.
        """
        validate = self._task.validate if validate is None else validate
        self._share_buffers()
        self._task.start_validation()
        network = self._task.network.eval()
        self._to_show = None
        with torch.no_grad(), self._fabric.autocast():
            for batch, moved in self._prefetch.batches(batches):
                if self._to_show is None and self._fabric.is_global_zero:
                    self._to_show = _first_of(batch, MAX_SHOWN)
                self._feed.check(batch)
                validate(network, moved)

    def draw(self, name: str) -> None:
        """A picture of the first samples that were counted last; the first rank alone."""
        if self._to_show is None:
            return
        network = self._task.network.eval()
        with torch.no_grad(), self._fabric.autocast():
            shown = self._task.shown(network, on_device(self._to_show, self._fabric.device))
        figure = self._feed.draw(shown)
        write_sample_figure(self._folder.path / "samples" / f"{name}.png", figure)
        for curves in self._curves:
            curves.show("samples", figure, step=self._state.num_steps)

    def _share_buffers(self) -> None:
        """Statistics of BatchNorm are those of the first rank, which a checkpoint holds too."""
        if self._fabric.world_size > 1:
            for buffer in self._task.network.buffers():
                torch.distributed.broadcast(buffer, src=0)

    def _is_over(self) -> bool:
        """Early stopping: nothing better for long enough."""
        state = self._state
        return (
            self._early is not None
            and state.best_epoch >= 0
            and state.epoch - state.best_epoch >= self._early
        )

    def _train_epoch(self) -> None:
        state, feed = self._state, self._feed
        feed.set_epoch(state.epoch)
        feed.order.epoch, feed.order.first_step = state.epoch, state.step
        self._task.set_training(self._network)
        self._prefetch.start_counting()
        for batch, moved in self._prefetch.batches(feed.train):
            self._train_step(batch, moved)
            state.step += 1
            state.num_steps += 1
            if state.step % self._recipe.log_steps == 0 or state.step == feed.steps_per_epoch:
                self._look()

    def _train_step(self, batch: Batch, moved: Batch) -> None:
        if not self._feed.check(batch):
            self._pending.unlabelled.append(batch["id"].tolist())
            self._num_unlabelled += 1
        self._seed_step()
        terms = self._task.losses(self._network, moved, epoch=self._state.epoch)
        self._fabric.backward(terms["loss"])
        if self._recipe.optimiser.clip_norm is not None:
            self._fabric.clip_gradients(
                self._network,
                self._optimiser,
                max_norm=self._recipe.optimiser.clip_norm,
                # What is no number is told with its locations by `_look`, and skipped by a scaler of gradients.
                error_if_nonfinite=False,
            )
        self._optimiser.step()
        self._optimiser.zero_grad()
        self._task.stepped()
        self._pending.add(terms, batch["id"].tolist())

    def _look(self) -> None:
        """Wait for the device, check the losses, and tell; all ranks decide together whether to go on."""
        means, broken = self._pending.take()
        state = self._state
        num_broken, num_asked = self._over_ranks(bool(broken), self._stop is not None and self._stop())
        if num_broken:
            raise self._diverged(broken)
        self._log({"train": means, "waited": round(self._prefetch.share_waited(), 4)})
        self._prefetch.start_counting()
        self._warn_of_unlabelled()
        self._tell(f"epoch {state.epoch}, loss {means['loss']:.4f}")
        if num_asked:
            self._save()
            raise RunInterruptedError(
                f"{self._folder.path}: stopped in epoch {state.epoch}, step {state.step}; the same command goes on"
            )

    def _warn_of_unlabelled(self) -> None:
        batches, self._pending.unlabelled = self._pending.unlabelled, []
        if batches:
            _LOG.warning(
                "%s: epoch %d: %d of the last steps had no labelled pixel, e.g. that of locations %s; they teach nothing",
                self._folder.path, self._state.epoch, len(batches), ", ".join(map(str, batches[0])),
            )  # fmt: skip

    def _log(self, numbers: Mapping[str, Any]) -> None:
        """A line of metrics, and a point of each curve; the first rank alone."""
        if not self._fabric.is_global_zero:
            return
        state = self._state
        record = {"step": state.num_steps, "epoch": state.epoch, "lr": self._rate.lr, **numbers}
        self._folder.log(record)
        for curves in self._curves:
            curves.add(record)

    def _tell(self, words: str) -> None:
        if self._progress is not None and self._fabric.is_global_zero:
            total = self._recipe.epochs * self._feed.steps_per_epoch
            self._progress(self._state.num_steps, total, words)

    def _over_ranks(self, *flags: bool) -> list[float]:
        """On how many ranks each of the flags is set."""
        told = torch.tensor([float(flag) for flag in flags], device=self._fabric.device)
        total = self._fabric.all_reduce(told, reduce_op="sum")
        return cast(torch.Tensor, total).tolist()

    def _diverged(self, broken: Sequence[Sequence[int]]) -> DivergedError:
        state = self._state
        at = f"locations {', '.join(map(str, broken[0]))}" if broken else "locations of another rank"
        return DivergedError(
            f"{self._folder.path}: the loss is no number in epoch {state.epoch}, step {state.step} or up to "
            f"{self._recipe.log_steps} before, at {at}; look at them with `noldo preview`, lower optimiser.lr, or set "
            "optimiser.clip_norm"
        )

    def _seed_step(self) -> None:
        """PyTorch's own generators (dropout) by seed, step and rank: there is no state of theirs to save."""
        words = [self._recipe.seed, self._state.num_steps, self._fabric.global_rank, _DROPOUT]
        torch.manual_seed(int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0] >> 1))

    def _validate(self) -> Mapping[str, float]:
        done, recipe = self._state.epoch + 1, self._recipe
        is_due = done % recipe.val_epochs == 0 or done == recipe.epochs
        if self._feed.val is None or not is_due:
            return {}
        self.count(self._feed.val)
        return self._task.scores()

    def _end_epoch(self, scores: Mapping[str, float]) -> None:
        state, recipe = self._state, self._recipe
        (num_labelled,) = self._over_ranks(self._num_unlabelled < self._feed.steps_per_epoch)
        if not num_labelled:
            raise StoreError(
                f"{self._folder.path}: no labelled pixel in a whole epoch of the train split of {recipe.data.where}; "
                "see `noldo info`, or choose another data.label_source"
            )
        if scores and math.isnan(scores["miou"]):
            raise StoreError(
                f"{self._folder.path}: no labelled pixel in the val split of {recipe.data.where}; "
                "see `noldo info`, or draw other splits"
            )
        if scores:
            self._log({"val": dict(scores)})
            self._tell(f"epoch {state.epoch}, val mIoU {scores['miou']:.4f}")
        self._rate.end_epoch(scores.get("loss"))
        state.epoch, state.step, self._num_unlabelled = state.epoch + 1, 0, 0
        state.scores = dict(scores) or state.scores
        if scores and scores["miou"] > state.best:
            state.best, state.best_epoch = scores["miou"], state.epoch
            if self._early is not None:
                self._save(name="best")
        is_kept = state.epoch % recipe.checkpoint_epochs == 0 or state.epoch == recipe.epochs
        self._save(name=f"epoch-{state.epoch:04d}" if is_kept else "last")
        if is_kept and scores:
            self.draw(f"epoch-{state.epoch:04d}")

    def _save(self, *, name: str = "last") -> None:
        """Only the first rank writes; the others wait. Weights that are no numbers are not written."""
        finite = torch.stack([one.isfinite().all() for one in self._task.network.parameters()]).all()
        if self._over_ranks(not bool(finite))[0]:
            raise self._diverged([])
        if self._fabric.is_global_zero:
            self._folder.save(self._snapshot(), name=name)
        self._fabric.barrier()

    def _snapshot(self) -> dict[str, Any]:
        return {
            "network": self._task.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "rate": self._rate.state(),
            "precision": self._fabric.strategy.precision.state_dict(),
            "state": dict(vars(self._state)),
            "task": self._task.state(),
            "shares": self._shares(),
        }

    def _shares(self) -> dict[str, int]:
        """How an epoch is dealt out; a run goes on in the same way only."""
        return {"num_ranks": self._fabric.world_size, "steps_per_epoch": self._feed.steps_per_epoch}

    def _resume(self) -> None:
        saved = self._folder.last()
        if saved is None:
            return
        if saved["shares"] != self._shares():
            raise CheckpointError(
                f"{self._folder.path}: was run with {saved['shares']}, now {self._shares()}; go on with as many devices, on the "
                "same store"
            )
        try:
            self._task.network.load_state_dict(saved["network"])
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise CheckpointError(
                f"{self._folder.path}: its checkpoint is of another network, e.g. of other classes ({reason:.160}); give "
                "another --out"
            ) from None
        self._fabric.strategy.precision.load_state_dict(saved["precision"])
        for group, built in zip(
            saved["optimiser"]["param_groups"], self._optimiser.param_groups, strict=True
        ):
            group["fused"] = built["fused"]  # what this device takes, not what the run began on
        self._optimiser.load_state_dict(saved["optimiser"])
        self._rate.load(saved["rate"])
        self._state = State(**saved["state"])
        self._task.load_state(saved.get("task", {}))
        if self._fabric.is_global_zero:
            self._folder.forget_after(self._state.num_steps)
        _LOG.info("%s: goes on in epoch %d, step %d", self._folder.path, self._state.epoch, self._state.step)


def _first_of(batch: Batch, count: int) -> Batch:
    """The first samples of a batch, without holding on to the others."""
    return {
        name: value[:count].clone() if isinstance(value, torch.Tensor) else value
        for name, value in batch.items()
    }
