"""Our layers inside software that others wrote give what PyTorch's give there."""

from __future__ import annotations

import copy
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import holdfast
from tests.clients import parallel
from tests.clients.section import names_of


def close(got: Any, expected: Any, tolerance: float = 1e-4) -> None:
    """Whether all numbers are the same up to what float32 loses over some training."""
    np.testing.assert_allclose(np.asarray(got), np.asarray(expected), rtol=tolerance, atol=tolerance)


def test_recurrent_ppo_takes_the_same_actions_and_learns_the_same_weights() -> None:
    from sb3_contrib import RecurrentPPO

    runs = []
    for swap in (False, True):
        agent = RecurrentPPO("MlpLstmPolicy", "CartPole-v1", n_steps=128, batch_size=64, seed=0, device="cpu")
        if swap:
            holdfast.convert(agent.policy, quiet=True)
            assert type(agent.policy.lstm_actor) is holdfast.LSTM
        agent.learn(256)
        weights = {name: p.detach().numpy() for name, p in agent.policy.named_parameters()}
        runs.append((agent.rollout_buffer.actions.copy(), weights))
    (expected_actions, expected), (actions, got) = runs
    assert np.array_equal(actions, expected_actions)
    assert list(got) == list(expected)
    for name in got:
        close(got[name], expected[name])


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "TFT"])
def test_neuralforecast_has_the_same_losses(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pandas as pd
    from neuralforecast import NeuralForecast, models

    monkeypatch.chdir(tmp_path)
    time = np.arange(120)
    table = pd.DataFrame({"unique_id": "a", "ds": time, "y": np.sin(time / 5) + 0.1 * np.cos(time)})
    sizes = {"hidden_size": 8} if kind == "TFT" else {"encoder_hidden_size": 8, "decoder_hidden_size": 8}
    losses, forecasts = [], []
    for swap in (False, True):
        options = {"accelerator": "cpu", "enable_progress_bar": False, "logger": False, "random_seed": 1}
        model = getattr(models, kind)(h=4, input_size=12, max_steps=15, enable_checkpointing=False, **sizes, **options)
        if swap:
            holdfast.convert(model, quiet=True)
        forecast = NeuralForecast(models=[model], freq=1)
        forecast.fit(table)
        ours = [m for m in forecast.models[0].modules() if isinstance(m, holdfast.Recurrent)]
        assert bool(ours) == swap
        losses.append([loss for _, loss in forecast.models[0].train_trajectories])
        forecasts.append(forecast.predict()[kind].to_numpy())
    assert len(losses[0]) > 0
    close(losses[1], losses[0])
    close(forecasts[1], forecasts[0], 1e-3)


@pytest.mark.parametrize("method", ["IntegratedGradients", "Saliency", "DeepLift", "ShapleyValueSampling"])
def test_captum_attributes_the_same(method: str) -> None:
    from captum import attr

    theirs = nn.LSTM(3, 5, 2, batch_first=True)
    ours = holdfast.convert(copy.deepcopy(theirs), quiet=True)
    x = torch.randn(2, 7, 3)

    class Last(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x)[0][:, -1].sum(1)

    found = []
    for layer in (theirs, ours):
        torch.manual_seed(0)
        found.append(getattr(attr, method)(Last(layer)).attribute(x.clone()).detach().numpy())
    assert found[0].any()
    close(found[1], found[0], 1e-5)


def test_lightning_fits_the_same_weights(tmp_path: Path) -> None:
    import lightning

    model = names_of("Lightning")["Model"]()
    twin = copy.deepcopy(model)
    holdfast.convert(twin, to="torch", quiet=True)
    start = {name: p.detach().clone().numpy() for name, p in model.named_parameters()}
    batches = torch.utils.data.DataLoader(torch.randn(12, 7, 3), batch_size=4)
    for one in (model, twin):
        quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
        lightning.Trainer(
            max_epochs=2, accelerator="cpu", enable_model_summary=False, default_root_dir=tmp_path, **quiet
        ).fit(one, batches)
    assert type(twin.layer) is nn.LSTM
    for (name, got), expected in zip(model.named_parameters(), twin.parameters(), strict=True):
        close(got.detach(), expected.detach())
        assert not np.array_equal(got.detach().numpy(), start[name])


def test_skorch_fits_and_scikit_learn_searches_over_clones() -> None:
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV

    net = names_of("skorch")["net"]
    x = np.random.default_rng(0).standard_normal((24, 7, 3)).astype(np.float32)
    y = x[:, -1].sum(1, keepdims=True)
    fitted = clone(net).set_params(max_epochs=40).fit(x, y)
    assert fitted.history[-1, "train_loss"] < 0.9 * fitted.history[0, "train_loss"]
    search = GridSearchCV(net, {"module__hidden_size": [4, 6]}, cv=2, scoring="neg_mean_squared_error").fit(x, y)
    assert search.best_estimator_.module_.layer.hidden_size == search.best_params_["module__hidden_size"]
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_torchrl_with_the_subclass_resets_as_pytorchs_layer_does() -> None:
    import torchrl.modules
    from tensordict import TensorDict

    module = names_of("torchrl")["module"]
    theirs = torchrl.modules.LSTMModule(lstm=copy.deepcopy(module.lstm), in_key="x", out_key="y")
    holdfast.convert(theirs, to="torch", quiet=True)
    is_init = torch.zeros(2, 9, 1, dtype=torch.bool)
    is_init[:, 0], is_init[0, 4], is_init[1, 7] = True, True, True
    hidden = torch.zeros(2, 9, 1, 5)
    states = {"recurrent_state_h": hidden, "recurrent_state_c": hidden}
    batch = TensorDict({"x": torch.randn(2, 9, 3), "is_init": is_init, **states}, [2, 9])
    with torchrl.modules.set_recurrent_mode(True):
        got, expected = (one(batch.clone()) for one in (module, theirs))
        cut = theirs(batch.clone().set("is_init", torch.zeros_like(is_init)))
    assert not torch.allclose(expected["y"], cut["y"])  # the resets do something
    close(got["y"].detach(), expected["y"].detach(), 1e-5)
    for name in ("recurrent_state_h", "recurrent_state_c"):
        close(got["next", name][:, -1].detach(), expected["next", name][:, -1].detach(), 1e-5)
    steps = TensorDict({"x": torch.randn(2, 3), "is_init": is_init[:, 0]}, [2])
    close(module(steps.clone())["y"].detach(), theirs(steps.clone())["y"].detach(), 1e-5)


def test_convert_warns_of_torchrls_modules_and_not_of_the_subclass() -> None:
    import torchrl.modules

    model = nn.Sequential(torchrl.modules.LSTMModule(input_size=3, hidden_size=5, in_key="x", out_key="y"))
    with pytest.warns(UserWarning, match=r"^0: LSTMModule of torchrl calls any layer but PyTorch's with mask="):
        holdfast.convert(model, quiet=True)
    gru = torchrl.modules.GRUModule(input_size=3, hidden_size=5, in_key="x", out_key="y")
    with pytest.warns(UserWarning, match="GRUModule of torchrl"):
        holdfast.convert(gru, quiet=True)
    kind = names_of("torchrl")["LSTMModule"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        holdfast.convert(kind(lstm=nn.LSTM(3, 5, batch_first=True), in_key="x", out_key="y"), quiet=True)


@pytest.mark.parametrize("kind", ["ddp", "fsdp2"])
def test_two_processes_train_as_one(kind: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.clients.parallel", kind, str(port), str(tmp_path)]
    workers = [subprocess.Popen([*command, str(rank)]) for rank in range(2)]
    try:
        assert [worker.wait(timeout=180) for worker in workers] == [0, 0]
    finally:
        for worker in workers:
            worker.kill()
    model, batches = parallel.model_and_batches()
    expected = parallel.train(model, model, batches)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        close(found["weights"], torch.cat([p.detach().flatten() for p in model.parameters()]), 1e-9)
    losses = [torch.load(tmp_path / f"{rank}.pt")["losses"] for rank in range(2)]
    close(np.mean(losses, 0), expected, 1e-9)
