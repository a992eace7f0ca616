"""The training loop. It knows no task: a `Problem` gives it batches, a loss and measures."""

from __future__ import annotations

import copy
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from .budget import ENOUGH_STEPS, Plan, Speed, clock, measure
from .devices import Devices
from .optimisers import PLATEAU, Pace, Paced, averaged, learning_rate, optimiser
from .options import OptionError, TrainingOptions
from .tensors import DamagedFile

IN_A_ROW = 10  # steps that were not finite, after which training stops
CHECKPOINT_SECONDS = 60.0


_ADVICE = (
    f"the loss or its gradient was not finite in {IN_A_ROW} steps in a row, the last of them {{step}}; the weights are "
    "those of before, and were saved. A lower learning_rate, a smaller clip or a longer warm_up usually helps: change "
    "it in config.toml and resume, or begin anew. If it happens at step 1, look for infinite or missing values in the "
    "data."
)


class Loss(NamedTuple):
    """What a batch gives.

    Attributes:
        value: what is differentiated, a mean.
        shown: what is reported, a mean over the same: the loss without penalties.
        carry: what the next batch of the epoch starts from.
    """

    value: Tensor
    shown: Tensor
    carry: Sequence[Tensor]


class Problem(Protocol):
    """What is trained, as the loop sees it."""

    @property
    def objective(self) -> str:
        """The measure of `evaluate` that is to become small."""

    def epoch(self, number: int) -> Sequence[Any]:
        """The batches of an epoch, by position: the same ones whenever it is asked."""

    def carry(self) -> Sequence[Tensor]:
        """What the first batch of an epoch starts from."""

    def loss(self, model: nn.Module, batch: Any, carry: Sequence[Tensor]) -> Loss:
        """The loss of a batch, by a model that the loop has put into training mode."""

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        """The measures on validation data, of a model that the loop has put into evaluation mode."""


class Keeper(Protocol):
    """Where a run is written to."""

    def log(self, line: Mapping[str, Any]) -> None:
        """Keep what a step gave."""

    def fixed(self, steps: int, evaluations: int) -> None:
        """The numbers of steps and evaluations are known now."""

    def best(self, model: nn.Module, step: int, measures: Mapping[str, float]) -> None:
        """Keep the best model so far."""

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Keep all that is needed to go on from here."""


class Nowhere:
    """A keeper that keeps nothing: that of every process but the first."""

    def log(self, line: Mapping[str, Any]) -> None:
        """Nothing."""

    def fixed(self, steps: int, evaluations: int) -> None:
        """Nothing."""

    def best(self, model: nn.Module, step: int, measures: Mapping[str, float]) -> None:
        """Nothing."""

    def checkpoint(self, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Nothing."""


class Watcher(Protocol):
    """Who is told what happens."""

    def step(self, position: Position, loss: float, units: int, seconds: float) -> None:
        """A step has been made, over so many units of data (tokens, frames …), in so many seconds of training."""

    def evaluated(self, position: Position, measures: Mapping[str, float], better: bool) -> None:
        """The model has been evaluated."""

    def skipped(self, position: Position, what: str) -> None:
        """A step was left out because something in it was not finite."""

    def busy(self, what: str) -> None:
        """Something beside the steps is being done, which may take long."""


class Quiet:
    """A watcher that says nothing."""

    def step(self, position: Position, loss: float, units: int, seconds: float) -> None:
        """Nothing."""

    def evaluated(self, position: Position, measures: Mapping[str, float], better: bool) -> None:
        """Nothing."""

    def skipped(self, position: Position, what: str) -> None:
        """Nothing."""

    def busy(self, what: str) -> None:
        """Nothing."""


class Diverged(RuntimeError):
    """Too many steps in a row were not finite."""


class Interrupted(RuntimeError):
    """The user stopped the training; it has been saved."""


@dataclass
class Position:
    """Where a training stands; all of it is part of a checkpoint.

    Attributes:
        step: how many steps were made.
        total: how many there will be; 0 before the minutes have become a number.
        evaluations: how many there will be; 0: as many as the options say.
        epoch, batch: the number of the epoch, and the next batch in it.
        seconds: how long it has trained.
        best: the best value of the objective.
        stale: how many evaluations since then brought no progress.
        factor: what plateaus have made of the learning rate.
        skipped: how many steps were not finite.
        in_a_row: how many of them came last, one after the other.
    """

    step: int = 0
    total: int = 0
    evaluations: int = 0
    epoch: int = 0
    batch: int = 0
    seconds: float = 0.0
    best: float = math.inf
    stale: int = 0
    factor: float = 1.0
    skipped: int = 0
    in_a_row: int = 0


class _Objective(nn.Module):
    """A problem's loss as a module, so that DistributedDataParallel sees the whole of it."""

    def __init__(self, problem: Problem, model: nn.Module) -> None:
        super().__init__()
        self.problem, self.model = problem, model

    def forward(self, batch: Any, carry: Sequence[Tensor]) -> Loss:
        return self.problem.loss(self.model, batch, carry)


class Training:
    """A training, from its first step or from a checkpoint.

    Args:
        problem: what is trained.
        model: the model, on its device.
        options: how.
        place: this process among those that train together.
        keeper: where it is written to.
        watcher: who is told.
    """

    def __init__(
        self,
        problem: Problem,
        model: nn.Module,
        options: TrainingOptions,
        place: Devices,
        keeper: Keeper,
        watcher: Watcher,
    ) -> None:
        self.problem, self.model, self.options, self.place = problem, model, options, place
        self.keeper, self.watcher = keeper, watcher
        self.position = Position(total=options.steps)
        paces = problem.paces(model) if isinstance(problem, Paced) else [Pace(model.parameters())]
        self.optimiser = optimiser(paces, options)
        self.average = averaged(model, options)
        self.learned = [p for p in model.parameters() if p.requires_grad]
        self.carry: Sequence[Tensor] = ()
        self.stop = False

    # The loop.

    def run(self) -> Position:
        """Train to the end.

        Raises:
            Interrupted: the user stopped it, by Ctrl-C or SIGTERM.
            Diverged: ten steps in a row were not finite.
        """
        now = self.position
        if not now.total:
            self.fix_total()
        with self.stopping():
            for _ in self.turns():
                if self.place.agreed(self.stop):
                    self.save()
                    raise Interrupted
        self.save()
        return now

    def is_over(self) -> bool:
        """Whether all steps were made, or there has been no progress for too long."""
        now, patience = self.position, self.options.patience
        return now.step >= now.total or bool(patience and now.stale >= patience)

    def turns(self) -> Iterator[None]:
        """Step after step, each with what is to be done after it: evaluation, log, checkpoint."""
        now = self.position
        started = time.perf_counter() - now.seconds
        saved = time.perf_counter()
        self.model.train()
        batches = self.batches()
        objective = self.place.wrapped(_Objective(self.problem, self.model))  # not kept: it must end before its group
        while not self.is_over():
            line = self.step(objective, batches)
            now.seconds = time.perf_counter() - started
            if self.is_due():
                line |= self.evaluate()
            self.keeper.log(line)
            given_up = now.in_a_row >= IN_A_ROW
            if given_up or self.checkpoint_is_due(time.perf_counter() - saved):
                self.save()
                saved = time.perf_counter()
            if given_up:
                raise Diverged(_ADVICE.format(step=now.step))
            yield

    def batches(self) -> Iterator[Any]:
        """Batch after batch, epoch after epoch, from the current position on."""
        now = self.position
        while True:
            epoch = self.problem.epoch(now.epoch)
            while now.batch < len(epoch):
                if now.batch == 0:
                    self.carry = self.problem.carry()
                batch = epoch[now.batch]
                now.batch += 1
                yield batch
            now.epoch, now.batch = now.epoch + 1, 0

    def step(self, objective: nn.Module, batches: Iterator[Any]) -> dict[str, Any]:
        """One step of the optimiser; what there is to log of it."""
        now, options = self.position, self.options
        begun = time.perf_counter()
        now.step += 1
        shown: list[Tensor] = []
        units = 0
        for number in range(options.accumulate):
            batch = next(batches)
            units += _units(batch)
            with self.place.averaging(objective, number == options.accumulate - 1):
                with self.place.autocast():
                    loss = objective(batch, self.carry)
                (loss.value / options.accumulate).backward()
            self.carry = [t.detach() for t in loss.carry]
            shown.append(loss.shown.detach())
        mean = self.place.mean(torch.stack(shown).mean()).item()
        norm = nn.utils.clip_grad_norm_(self.learned, options.clip or math.inf, foreach=True).item()
        rate = learning_rate(options, now.step, now.total, now.factor)
        if math.isfinite(mean) and math.isfinite(norm):
            for group in self.optimiser.param_groups:
                learns = not group["begins"] or now.step > group["begins"] * now.total
                group["lr"] = rate if learns else 0.0
            self.optimiser.step()
            if self.average is not None:
                self.average.update_parameters(self.model)
            now.in_a_row = 0
        else:
            self.skip("loss" if not math.isfinite(mean) else "gradient")
        self.optimiser.zero_grad(set_to_none=True)
        self.watcher.step(now, mean, units * self.place.size, time.perf_counter() - begun)
        return {"step": now.step, "loss": mean, "norm": norm, "rate": rate}

    def skip(self, what: str) -> None:
        """Leave the weights as they are after a step that was not finite."""
        now = self.position
        now.skipped += 1
        now.in_a_row += 1
        self.carry = self.problem.carry()  # the state may be what is not finite
        self.watcher.skipped(now, what)

    # How long.

    def speed(self, needed: int = 0) -> Speed:
        """How fast this model learns; it stays as it is, and so do the random numbers.

        Args:
            needed: steps that must fit into the minutes; where they clearly do not, little is measured.
        """
        cuda = self.place.device.type == "cuda"
        with torch.random.fork_rng([self.place.device] if cuda else []):
            model = copy.deepcopy(self.model)
            return Training(self.problem, model, self.options, self.place, Nowhere(), Quiet())._rehearsed(needed)

    def _rehearsed(self, needed: int) -> Speed:
        """Make steps and an evaluation in order to time them."""
        self.position.total = ENOUGH_STEPS  # by which the learning rate rises
        self.model.train()
        batches = self.batches()
        objective = self.place.wrapped(_Objective(self.problem, self.model))
        return measure(
            lambda: self.step(objective, batches),
            lambda: self.measures(self.model),
            self.options.minutes * 60,
            self.options.epochs * len(self.problem.epoch(0)) // self.options.accumulate or math.inf,
            lambda: self.place.told(clock()),
            needed,
        )

    def fix_total(self) -> None:
        """Turn minutes into a number of steps."""
        now, limit = self.position, self.options.minutes * 60
        self.watcher.busy("measuring how long a step takes")
        plan = Plan.of(self.speed(), limit, self.options.evaluations)
        now.total, now.evaluations = plan.steps, plan.evaluations
        self.keeper.fixed(plan.steps, plan.evaluations)

    # Evaluation.

    def is_due(self) -> bool:
        """Whether the model is to be evaluated after this step."""
        now = self.position
        count = now.evaluations or self.options.evaluations
        return now.step * count // now.total > (now.step - 1) * count // now.total

    def evaluate(self) -> dict[str, float]:
        """Measure, keep the best, and let the learning rate fall where there is no progress."""
        now = self.position
        judged = self.model if self.average is None else self.average.module
        measures = self.measures(judged)
        self.model.train()
        value = self.place.told(measures[self.problem.objective])  # so that all processes decide alike
        better = value < now.best
        if better:
            now.best, now.stale = value, 0
            self.keeper.best(judged, now.step, measures)
        else:
            now.stale += 1
            now.factor *= PLATEAU
        self.watcher.evaluated(now, measures, better)
        return {f"valid_{name}": number for name, number in measures.items()}

    def measures(self, judged: nn.Module) -> dict[str, float]:
        """What a problem measures of a model, which has no dropout meanwhile."""
        judged.eval()
        with torch.no_grad():
            return dict(self.problem.evaluate(judged))

    # Checkpoints.

    def checkpoint_is_due(self, seconds: float) -> bool:
        """Whether to save after this step, so many seconds after the last time."""
        every = self.options.checkpoint_every
        if every:
            return self.position.step % every == 0
        return self.place.agreed(seconds >= CHECKPOINT_SECONDS)

    def save(self) -> None:
        """Write a checkpoint."""
        tensors: dict[str, Tensor] = {f"model.{n}": t for n, t in self.model.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{n}": t for n, t in self.average.state_dict().items()}
        state = self.optimiser.state_dict()
        for number, values in state["state"].items():
            tensors |= {f"optimiser.{number}.{n}": t for n, t in values.items() if isinstance(t, Tensor)}
        for number, tensor in enumerate(self.carry):
            tensors |= {f"carry.{number}.{rank}": t for rank, t in enumerate(self.place.gathered(tensor))}
        random = torch.get_rng_state().to(self.place.device)
        tensors |= {f"random.{rank}": t for rank, t in enumerate(self.place.gathered(random))}
        if self.place.device.type == "cuda":
            own = torch.cuda.get_rng_state(self.place.device).to(self.place.device)
            tensors |= {f"random_cuda.{rank}": t for rank, t in enumerate(self.place.gathered(own))}
        facts = {"position": asdict(self.position), "processes": self.place.size, "carried": len(self.carry)}
        self.keeper.checkpoint(self.position.step, tensors, facts)

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on from a checkpoint, for as many steps as the options say now.

        Raises:
            OptionError: it was written by another number of processes.
            DamagedFile: it does not belong to this model.
        """
        try:
            self._restore(tensors, facts)
        except (KeyError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise DamagedFile(f"the checkpoint does not fit the run's configuration: {reason}") from None

    def _restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        if facts["processes"] != self.place.size:
            raise OptionError(f"the run was trained by {facts['processes']} processes and goes on by as many only")
        self.position = now = Position(**facts["position"])
        if self.options.steps:
            now.total = self.options.steps
        if now.in_a_row >= IN_A_ROW:  # it had been given up, and whoever resumes it has changed something
            now.in_a_row = 0
        device, rank = self.place.device, self.place.rank
        self.model.load_state_dict(_part(tensors, "model."))
        if self.average is not None:
            self.average.load_state_dict(_part(tensors, "average."))
        state = self.optimiser.state_dict()
        found: dict[int, dict[str, Tensor]] = {}
        for name, tensor in _part(tensors, "optimiser.").items():
            number, _, key = name.partition(".")
            found.setdefault(int(number), {})[key] = tensor
        self.optimiser.load_state_dict({"state": found, "param_groups": state["param_groups"]})
        self.carry = [tensors[f"carry.{k}.{rank}"].to(device) for k in range(facts["carried"])]
        torch.set_rng_state(tensors[f"random.{rank}"].cpu())
        if device.type == "cuda":
            torch.cuda.set_rng_state(tensors[f"random_cuda.{rank}"].cpu(), device)

    @contextmanager
    def stopping(self) -> Iterator[None]:
        """Let Ctrl-C and SIGTERM end the training after the current step; a second Ctrl-C ends it at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {}

        def asked(number: int, frame: Any) -> None:
            if self.stop and number == signal.SIGINT:
                raise KeyboardInterrupt
            self.stop = True

        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, asked)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those tensors whose names begin so, without the beginning."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _units(batch: Any) -> int:
    """How many units of data a batch holds: the places along the first two axes of its first tensor, time and batch."""
    while isinstance(batch, (tuple, list)):
        batch = batch[0]
    return batch.shape[:2].numel() if isinstance(batch, Tensor) else 0
