"""`python -m benchmarks.learning`: whether what is learned in bfloat16 is what is learned in float32.

The adding problem is learned at a lag of 200 by an LSTM of 64 units, once in float32 and once under autocast, from the
same weights and on the same sequences; the mean squared errors on fresh sequences are compared, over several seeds.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import statistics
import time

import torch
from torch import Generator, nn
from torch.nn import functional as F

import holdfast
from holdfast.lab.arithmetic import Adding

LAG, UNITS, BATCH, RATE = 200, 64, 32, 5e-3
TESTED = 80  # batches


class Model(nn.Module):
    """An LSTM, and a sum that is read from its last output in float32."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = holdfast.LSTM(2, UNITS, layer_norm=True, forget_bias=math.log(10 * LAG))  # as in the lab
        self.head = nn.Linear(UNITS, 1)

    def forward(self, x: torch.Tensor, half: bool) -> torch.Tensor:
        """The answers, (B,)."""
        with torch.autocast("cpu", dtype=torch.bfloat16) if half else contextlib.nullcontext():
            output, _ = self.layer(x)
        answer: torch.Tensor = self.head(output[-1].float())
        return answer.squeeze(-1)


def learn(seed: int, steps: int, half: bool) -> float:
    """The mean squared error on fresh sequences after so many steps."""
    torch.manual_seed(seed)
    model, problem = Model(), Adding(lag=LAG)
    drawn = Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for _ in range(steps):
        x, target, _ = problem.batch(BATCH, drawn)
        loss = F.mse_loss(model(x, half), target)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rate.step()
    fresh = Generator().manual_seed(1_000_000 + seed)
    with torch.no_grad():
        errors = [
            F.mse_loss(model(x, half), target) for x, target, _ in (problem.batch(BATCH, fresh) for _ in range(TESTED))
        ]
    return torch.stack(errors).mean().item()


def main() -> None:
    """Learn with each seed in both, and print the errors."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.learning", description=__doc__)
    parser.add_argument("--steps", type=int, default=2000, help="of the optimiser (default 2,000)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default 3)")
    parser.add_argument("--threads", type=int, default=2, help="PyTorch's threads (default 2)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found: dict[bool, list[float]] = {False: [], True: []}
    for seed in range(options.seeds):
        for half in (False, True):
            begin = time.perf_counter()
            found[half].append(learn(seed, options.steps, half))
            name = "bfloat16" if half else "float32"
            print(f"seed {seed}, {name}: {found[half][-1]:.3e} in {time.perf_counter() - begin:.0f} s", flush=True)
    exact, half_precision = (statistics.fmean(found[half]) for half in (False, True))
    print(f"mean: float32 {exact:.3e}, bfloat16 {half_precision:.3e}, {half_precision / exact - 1:+.1%}")


if __name__ == "__main__":
    main()
