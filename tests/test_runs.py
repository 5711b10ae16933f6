"""A run's folder: what is in it, and what happens to damaged files."""

from argparse import Namespace

import numpy as np
import pytest
import torch
from conftest import ROOT, is_read_or_refused

import train
from data_utils import MNISTDataset
from lab.checkpoints import find_latent_dim, load_checkpoint, load_weights
from lab.compare import best_first, table
from lab.handin import code_of
from lab.resume import read_arguments
from lab.run import Run, find_runs
from trainer import Trainer


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A run of one epoch of a model with six parameters, its Trainer, and the folder runs/ around it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT)
    random = np.random.default_rng(0)
    pictures = MNISTDataset(random.integers(0, 256, (20, 28, 28), np.uint8), np.arange(20, dtype=np.uint8) % 10)

    def loss_function(model, batch):
        x, _ = batch
        return {"loss": (model(x.mean(dim=1)[:, :3]) - x.mean(dim=(1, 2))[:, None]).square().mean()}

    extra = {"task": "VAEwolabel", "latent_dim": 1, "var": 0.5}
    trainer = Trainer(torch.nn.Linear(3, 1), loss_function, pictures, pictures, epochs=1, extra=extra)
    (tmp_path / "submission.py").write_text("class VAE:\n    pass\n")
    settings = {"latent_dim": 1, "var": 0.5, "lr": 0.01, "batch_size": 2, "epochs": 1, "seed": 0}
    args = Namespace(task="VAEwolabel", save_dir=None, submission=tmp_path / "submission.py", **settings)
    run = Run.create(args, b"class VAE:\n    pass\n")
    arguments = {
        "task": "VAEwolabel",
        "submission": "submission.py",
        "epochs": 1,
        "latent_dim": 1,
        "lr": 0.001,
        "var": 0.5,
    }
    arguments |= {"train_data": "dataset/train.npz", "valid_data": "dataset/valid.npz", "bf16": False}
    run.write_config({"arguments": arguments, "device": "cpu", "versions": {}, "parameters": 4})
    trainer.train(run.folder)
    figures = {"score": 5.0, "raw": 5.0, "output_dir": str(run.output), "run": str(run)}
    run.write_result({"tasks": {"VAEwolabel": figures}})
    return run, trainer


def test_flipped_bits_in_a_run_are_told_and_never_a_traceback(run):
    run, trainer = run
    assert load_checkpoint(run.best).keys() == {"task", "latent_dim", "var", "epoch", "valid_loss", "model_state_dict"}

    def use_best():
        checkpoint = load_checkpoint(run.best)
        find_latent_dim(checkpoint, run.best, task="VAEwolabel", latent_dim=None)
        load_weights(trainer.model, checkpoint, run.best)

    def resume():
        trainer.load(load_checkpoint(run.epoch_path(1)))
        trainer.run.write_history(trainer.history)

    def open_config():
        read_arguments(Run.open(run.folder), train.make_parser(), "VAEwolabel")

    def show():
        table(best_first(find_runs()))

    assert is_read_or_refused(use_best, run.best) > 500
    assert is_read_or_refused(resume, run.epoch_path(1)) > 500
    assert is_read_or_refused(open_config, run.config_path) > 300
    assert is_read_or_refused(lambda: code_of("VAEwolabel", run.submission), run.submission) > 100
    for path in (run.config_path, run.history_path, run.result_path):
        assert is_read_or_refused(show, path) == 0
    assert "5.0000" in table([run])[1]
