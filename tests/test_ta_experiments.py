"""The experiments as their reader runs them, made small, and the formulas behind their metrics."""

import hashlib
import importlib
import json
import math
import os
import pickle
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence
from torchvision.datasets import CIFAR10

from experiments.cifar import data as cifar_data
from experiments.elbo import binarise, fixed_bits
from experiments.elbo.recipes import (
    RECIPES,
    BernoulliVAE,
    WeightAverage,
    bernoulli_rec,
    iwae_bounds,
    linear_layers,
    log_weights,
    sample_gaussian,
)
from experiments.runs import train_once
from lab.cli import run_command
from trainer import Diverged

SOLVED = ("--submission", ROOT / "ta" / "reference" / "autoencoders" / "submission.py")
DATA = [f"--{split}_data={ROOT / 'dataset' / split}.npz" for split in ("train", "valid", "test")]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipes_model_gives_back_the_shape_of_its_pictures(recipe):
    model, x = RECIPES[recipe]["model"](5), binarise(torch.rand(3, 784))
    assert [term.shape for term in model.negative_elbo_bound(x)] == [()] * 3
    model = getattr(model, "model", model)
    m, v = model.encode(x)
    assert m.shape == v.shape == (3, 5) and (v > 0).all()
    assert model.decode(m).shape == x.shape == model.sample(3).shape


def test_sample_gaussian_takes_a_variance_and_lets_gradients_through():
    m = torch.full((200_000,), 3.0, requires_grad=True)
    v = torch.full((200_000,), 4.0, requires_grad=True)
    z = sample_gaussian(m, v)
    assert z.mean().item() == pytest.approx(3, abs=0.03)
    assert z.var().item() == pytest.approx(4, abs=0.06)
    z.sum().backward()
    assert torch.equal(m.grad, torch.ones_like(m))
    assert torch.allclose(v.grad, (z.detach() - 3) / 2 / (2 * 2), atol=1e-6)  # dz/dv = eps / (2 sqrt(v))


def test_the_bound_is_kl_plus_rec_as_torch_distributions_has_them():
    torch.manual_seed(0)
    model, x = BernoulliVAE(5, linear_layers).eval(), binarise(torch.rand(6, 784))
    m, v = model.encode(x)
    posterior = Independent(Normal(m, v.sqrt()), 1)
    prior = Independent(Normal(torch.zeros(5), torch.ones(5)), 1)
    torch.manual_seed(1)
    nelbo, kl, rec = model.negative_elbo_bound(x)
    torch.manual_seed(1)
    logits = model.decode(sample_gaussian(m, v))
    likelihood = Independent(Bernoulli(logits=logits), 1)
    assert torch.allclose(kl, kl_divergence(posterior, prior).mean(), rtol=1e-5)
    assert torch.allclose(rec, -likelihood.log_prob(x).mean(), rtol=1e-5)
    assert torch.allclose(nelbo, kl + rec)
    assert model.negative_elbo_bound(x)[2] != rec, "a new sample in eval mode too"


@pytest.mark.parametrize("components", [0, 3])
def test_importance_weights_are_the_ratio_of_densities_and_do_not_depend_on_the_chunks(monkeypatch, components):
    torch.manual_seed(0)
    model, x = BernoulliVAE(2, linear_layers, components).eval(), binarise(torch.rand(3, 784))
    with torch.no_grad():
        # E_q[w] = p(x), which a grid over the two dimensions of z gives without sampling.
        axis = torch.linspace(-6, 6, 241)
        z = torch.cartesian_prod(axis, axis)
        if components:
            model.prior_weights.copy_(torch.tensor([0.0, 1.0, -1.0]))
            model.prior_log_vars.copy_(torch.tensor([[0.5, 0.0], [0.0, -0.5], [0.0, 0.0]]))
            parts = [Normal(model.prior_means[k], model.prior_log_vars[k].exp().sqrt()) for k in range(components)]
            each = torch.stack([part.log_prob(z).sum(dim=1) for part in parts])
            density = (each + model.prior_weights.log_softmax(0)[:, None]).logsumexp(0)
        else:
            density = Normal(0, 1).log_prob(z).sum(dim=1)
        log_prior = density + 2 * math.log(axis[1] - axis[0])
        logits = model.decode(z)
        exact = [torch.logsumexp(log_prior - bernoulli_rec(logits, x_i.expand_as(logits)), 0) for x_i in x]
        estimates = log_weights(model, x, 20_000).logsumexp(dim=1) - math.log(20_000)
        assert torch.allclose(estimates.float(), torch.stack(exact), atol=0.02)
        monkeypatch.setattr("experiments.elbo.recipes.DECODE_AT_ONCE", 7)
        assert log_weights(model, x, 20).shape == (3, 20)


def test_a_mixture_that_is_one_standard_gaussian_has_the_kl_of_a_standard_gaussian():
    torch.manual_seed(0)
    model, x = BernoulliVAE(5, linear_layers, components=2), binarise(torch.rand(4000, 784))
    torch.nn.init.zeros_(model.prior_means)
    estimate = model.negative_elbo_bound(x)[1].item()
    model.components = 0
    assert estimate == pytest.approx(model.negative_elbo_bound(x)[1].item(), abs=0.02)
    model.components = 2
    assert not model.sample(2).equal(model.sample(2))
    model.negative_elbo_bound(x)[0].backward()
    assert model.prior_means.grad.abs().sum() > 0, "the prior is trained"


def test_averaged_weights_follow_the_trained_ones_and_stand_in_for_them_in_eval_mode():
    class Weight(torch.nn.Linear):
        def negative_elbo_bound(self, x):
            return self.weight.item()

    model = WeightAverage(Weight(1, 1), decay=0.5)
    for weight in (0.0, 4.0, 8.0):
        torch.nn.init.constant_(model.model.weight, weight)
        assert model.train().negative_elbo_bound(None) == weight
    assert model.eval().negative_elbo_bound(None) == 5  # (0/2 + 4/2)/2 + 8/2
    assert model.negative_elbo_bound(None) == 5, "evaluating moves nothing"
    assert model.model.weight.item() == 8


def test_bounds_rise_with_k_and_k_of_1_is_the_elbo():
    torch.manual_seed(0)
    model = BernoulliVAE(5, linear_layers).eval()
    images = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)
    dataset = fixed_bits(images, np.zeros(40, np.uint8), "cpu")
    bounds = iwae_bounds(model, dataset, [1, 10, 100, 1000])
    assert list(bounds.values()) == sorted(bounds.values())
    x, _ = dataset.__getitems__(range(40))
    elbo = -np.mean([model.negative_elbo_bound(x.flatten(1))[0].item() for _ in range(50)])
    assert bounds[1] == pytest.approx(elbo, abs=0.2)


def test_binarisation_is_new_in_each_batch_and_fixed_for_the_test():
    grey = torch.full((100, 28, 28), 0.3)
    first, second = binarise(grey), binarise(grey)
    assert set(first.unique().tolist()) == {0, 1}
    assert first.mean().item() == pytest.approx(0.3, abs=0.01)
    assert not torch.equal(first, second)
    assert torch.equal(binarise(first), first), "black stays black and white stays white"
    images, labels = np.full((100, 28, 28), 77, np.uint8), np.zeros(100, np.uint8)
    x, again = (fixed_bits(images, labels, "cpu").__getitems__(range(100))[0] for _ in range(2))
    assert torch.equal(x, again)
    assert x.mean().item() == pytest.approx(77 / 255, abs=0.01)


@pytest.fixture
def experiment(monkeypatch, run_here, tmp_path):
    """experiment("elbo", "--steps", ...) runs `python -m experiments.elbo --steps ...` in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(name, *arguments):
        main = importlib.import_module(f"experiments.{name}.__main__").main
        return run_here(lambda: run_command(main), name, *arguments)

    return run


@pytest.mark.parametrize("name", ["elbo", "autoencoders", "cifar"])
def test_an_experiment_that_is_run_as_a_file_says_how_to_run_it(name):
    path = ROOT / "experiments" / name / "__main__.py"
    done = subprocess.run([sys.executable, path], capture_output=True, text=True)
    assert done.returncode == 2
    assert f"python -m experiments.{name}" in done.stderr and "Traceback" not in done.stderr


def pictures_of(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.png") if Image.open(path).size > (100, 50))


ELBO = ("--steps", 10, "--train_num", 1000, "--test_num", 60, "--iwae", 1, 4, *DATA)


def test_elbo_measures_its_recipes_and_does_not_repeat_itself(experiment):
    solved = ("--submission", ROOT / "ta" / "reference" / "elbo" / "submission.py")
    recipes = ("classic", "submission", "mixture", "best", "classic")  # one of them twice, which changes nothing
    arguments = (*ELBO, *solved, "--recipe", *recipes, "--runs", 2, "--out", "out")
    code, printed, error = experiment("elbo", *arguments)
    assert code == 0, error
    assert "step" not in error, "no progress bar where there is no terminal"
    result = json.loads(Path("out/elbo.json").read_text())
    for summary in result["recipes"].values():
        for figures in summary["runs"]:
            assert figures["nelbo"] == pytest.approx(figures["kl"] + figures["rec"], rel=1e-5)
        pair = [figures["nelbo"] for figures in summary["runs"]]
        assert len(pair) == 2 and summary["nelbo"] == pytest.approx(np.mean(pair))
        assert summary["nelbo_se"] == pytest.approx(abs(pair[0] - pair[1]) / 2)
        assert summary["runs"][0]["iwae"]["1"] < summary["runs"][0]["iwae"]["4"]
    assert re.search(r"^mixture: trained in \d+\.\d\d times the time of classic$", printed, re.M)
    assert "(4 importance samples, the first 60 test pictures)" in printed
    pictures = pictures_of(Path("out"))
    assert {"samples_classic.png", "samples_mixture.png", "means_best.png", "mixture/run_1/loss_curve.png"} <= set(
        pictures
    )

    changed = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.pth")}
    assert experiment("elbo", *arguments)[0] == 0
    assert json.loads(Path("out/elbo.json").read_text()) == result
    assert changed == {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.pth")}
    code, _, error = experiment("elbo", *arguments, "--seed", 5)
    assert code == 2
    assert "out/classic/run_0 was started with seed 0, you asked for 5: choose another --out" in error
    code, _, error = experiment("elbo", *arguments, "--steps", 20, "--train_data", "nowhere.npz")
    assert code == 2
    assert "out/classic/run_0 was started with steps 10, you asked for 20" in error, "before data is looked for"
    assert {"train_num", "test_num", "train_data", "test_data"} <= result["settings"].keys()


def test_elbo_goes_on_where_it_was_killed(experiment, tmp_path):
    arguments = ("--recipe", "fast", "--steps", 30, "--train_num", 1000, "--test_num", 50, *DATA)
    assert experiment("elbo", *arguments, "--out", "whole")[0] == 0
    kill = (
        "import os, runpy, sys; from trainer import Trainer; train_epoch = Trainer.train_epoch\n"
        "def stop(self, bar): os.kill(os.getpid(), 9) if self.epoch == 3 else train_epoch(self, bar)\n"
        "Trainer.train_epoch = stop; sys.argv.pop(0); runpy.run_module('experiments.elbo', run_name='__main__')"
    )
    command = [sys.executable, "-c", kill, "elbo", *map(str, arguments), "--out", "killed"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    stopped = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert stopped.returncode == -signal.SIGKILL, stopped.stderr
    assert not Path("killed/fast/run_0/epoch_4.pth").exists()
    code, printed, error = experiment("elbo", *arguments, "--out", "killed")
    assert code == 0, error
    assert "killed/fast/run_0: resumes after epoch 3 of 6" in printed
    whole, killed = (json.loads(Path(run, "elbo.json").read_text())["recipes"]["fast"] for run in ("whole", "killed"))
    assert whole["nelbo"] == killed["nelbo"]


def test_autoencoders_stand_side_by_side(experiment):
    small = ("--epochs", 2, "--train_num", 1000, "--test_num", 200, "--gen_num", 20)
    arguments = (*small, *SOLVED, *DATA, "--out", "out")
    code, printed, error = experiment("autoencoders", *arguments)
    assert code == 0, error
    kinds = json.loads(Path("out/autoencoders.json").read_text())["kinds"]
    settings = json.loads(Path("out/autoencoders.json").read_text())["settings"]
    told = {"train_num": 1000, "test_num": 200, "gen_num": 20, "lr": 2e-3, "batch_size": 200, "epochs": 2, "seed": 0}
    assert told.items() <= settings.items() and {"train_data", "valid_data", "test_data"} <= settings.keys()
    assert list(kinds) == ["AE", "VAE", "CVAE"]
    assert kinds["AE"]["kl"] is None and kinds["VAE"]["kl"] > 0
    for figures in kinds.values():
        assert 0 < figures["mse"] < 0.15
        assert figures["fid"] > 0
    assert {"side_by_side.png", "samples_AE.png", "CVAE/loss_curve.png"} <= set(pictures_of(Path("out")))
    assert "fid_per_digit" in printed
    before = Path("out/autoencoders.json").read_text()
    assert experiment("autoencoders", *arguments)[0] == 0
    assert Path("out/autoencoders.json").read_text() == before


def test_results_are_of_the_pictures_that_are_there_and_a_kind_that_diverges_is_one_of_them(experiment, monkeypatch):
    make_loss = importlib.import_module("experiments.autoencoders.__main__").make_loss

    def make_broken_loss(module, kind, args):
        loss_function = make_loss(module, kind, args)
        if kind != "VAE":
            return loss_function
        return lambda model, batch: {name: value * math.nan for name, value in loss_function(model, batch).items()}

    monkeypatch.setattr("experiments.autoencoders.__main__.make_loss", make_broken_loss)
    images, labels = (np.load(ROOT / "dataset" / "valid.npz")[name] for name in ("images", "labels"))
    for name, part in {"train": slice(300), "valid": slice(300, 400), "test": slice(400, 460)}.items():
        np.savez(f"{name}.npz", images=images[part], labels=labels[part])
    data = [word for split in ("train", "valid", "test") for word in (f"--{split}_data", f"{split}.npz")]
    arguments = ("--epochs", 1, "--gen_num", 10, *SOLVED, *data, "--out", "out")
    code, printed, error = experiment("autoencoders", *arguments)
    assert code == 0, error
    before = json.loads(Path("out/autoencoders.json").read_text())
    assert {kind: metrics["status"] for kind, metrics in before["kinds"].items()} == {
        "AE": "ok",
        "VAE": "diverged",
        "CVAE": "ok",
    }
    assert "VAE diverged: the loss became NaN or infinite: try a lower --lr" in printed
    assert Path("out/side_by_side.png").exists()

    np.savez("test.npz", images=images[500:560], labels=labels[500:560])  # as many, but others
    code, _, error = experiment("autoencoders", *arguments)
    assert code == 0, error
    after = json.loads(Path("out/autoencoders.json").read_text())
    assert after["kinds"]["AE"]["mse"] != before["kinds"]["AE"]["mse"]
    assert after["settings"]["test_data"] != before["settings"]["test_data"]
    np.savez("train.npz", images=images[600:900], labels=labels[600:900])
    code, _, error = experiment("autoencoders", *arguments)
    assert code == 2
    assert "out/AE was started with another train_data: choose another --out" in error


def test_a_loss_that_diverges_where_it_is_measured_is_a_result_too(tmp_path, monkeypatch):
    def measure():
        raise Diverged("the loss became NaN")

    monkeypatch.setattr("experiments.runs.train", lambda *_: None)
    wanted = {"status": "diverged", "reason": "the loss became NaN"}
    assert train_once(None, tmp_path, {"lr": 1}, measure, 10) == wanted
    assert train_once(None, tmp_path, {"lr": 1}, None, 10) == wanted, "it is kept"


@pytest.fixture
def cifar_root(tmp_path, monkeypatch):
    """A small file set in CIFAR-10's own layout, two flat colours with some noise a class; torchvision is told its
    checksums, which stand in the class, in place of the real ones."""
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)

    def write(name, content):
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    colours = random.integers(0, 256, (10, 3, 2, 1))

    def batch(name):
        labels = random.permutation(np.arange(60) % 10)
        images = np.repeat(colours[labels], 16, axis=2) + random.integers(-20, 21, (60, 3, 32, 32))
        return write(name, {"data": images.clip(0, 255).astype(np.uint8).reshape(60, 3072), "labels": labels.tolist()})

    monkeypatch.setattr(CIFAR10, "train_list", [batch(f"data_batch_{number}") for number in range(1, 6)])
    monkeypatch.setattr(CIFAR10, "test_list", [batch("test_batch")])
    name, md5 = write("batches.meta", {"label_names": list("abcdefghij")})
    monkeypatch.setattr(CIFAR10, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return folder.parent


CIFAR = ("--submission", ROOT / "ta" / "reference" / "cifar" / "submission.py", "--batch_size", 20, "--out", "out")


def test_cifar_compares_backbones_and_reports_what_diverged(experiment, cifar_root, monkeypatch):
    monkeypatch.setattr("experiments.cifar.__main__.GEN_NUM", 200)
    arguments = (*CIFAR, "--data_root", cifar_root, "--epochs", 3, "--show_epochs", 1, 3, "--lr", 3e-3, 30)
    code, printed, error = experiment("cifar", *arguments)
    assert code == 0, error
    assert "step" not in error, "no progress bar where there is no terminal"
    result = json.loads(Path("out/cifar.json").read_text())
    told = {"train_num": 270, "test_num": 60, "gen_num": 200, "batch_size": 20, "epochs": 3, "latent_dim": 20}
    assert told.items() <= result["settings"].items()
    assert {"submission", "train_data", "valid_data", "test_data"} <= result["settings"].keys()
    status = {name: metrics["status"] for name, metrics in result["runs"].items()}
    assert status == {
        "linear_rec1_lr0.003": "ok",
        "linear_rec1_lr30": "diverged",
        "conv_rec1_lr0.003": "ok",
        "conv_rec1_lr30": "diverged",
    }
    assert printed.count(" diverged: ") == 2
    pictures = set(pictures_of(Path("out")))
    assert {f"linear_rec1_lr0.003/{name}.png" for name in ("reconstructions", "samples", "loss_curve")} <= pictures
    assert np.load("out/conv_rec1_lr0.003/recon_epoch_003.npy").shape == (10, 3, 32, 32)
    assert experiment("cifar", *arguments)[0] == 0
    assert json.loads(Path("out/cifar.json").read_text())["runs"] == result["runs"]
    code, _, error = experiment("cifar", *arguments, "--data_root", "nowhere", "--latent_dim", 5)
    assert code == 2
    assert "was started with latent_dim 20, you asked for 5" in error, "before data is looked for"


def test_cifar_trains_on_one_group_of_patches_and_weights_the_reconstruction(experiment):
    arguments = ("--patches", "--epochs", 1, "--rec_weight", 1, 3, "--backbone", "linear")
    code, _, error = experiment("cifar", *CIFAR, *arguments, "--class_label", 1, "--train_num", 100, "--test_num", 50)
    assert code == 0, error
    for name, metrics in json.loads(Path("out/cifar.json").read_text())["runs"].items():
        assert name == f"linear_rec{metrics['rec_weight']:g}_lr0.001"
        assert metrics["loss"] == pytest.approx(metrics["kl"] + metrics["rec_weight"] * metrics["recon_loss"], rel=1e-5)
    code, _, error = experiment("cifar", *CIFAR, *arguments, "--class_label", 3)
    assert code == 2 and "with --patches, choose from 0 to 2" in error


def test_a_patch_for_testing_is_of_no_photograph_to_train_on(monkeypatch):
    """Photographs that have a number for each pixel, in red and green, and one for themselves in blue."""
    numbers = {}

    def photograph(name):
        numbers.setdefault(name, len(numbers))
        rows, columns = np.indices((120, 256), dtype=np.uint8)
        return np.stack([rows, columns, np.full_like(rows, numbers[name])], axis=-1)

    for group in cifar_data.GROUPS.values():
        for name in (*group[0], group[1]):
            monkeypatch.setattr(cifar_data.skimage.data, name, partial(photograph, name))
    monkeypatch.setattr(cifar_data, "PER_PHOTOGRAPH", {"train": 40, "valid": 20, "test": 30})
    (train, train_labels), (valid, _), (test, test_labels) = cifar_data.cut_patches()
    assert (len(train), len(valid), len(test)) == (160, 80, 90)
    assert np.bincount(train_labels).tolist() == [80, 40, 40] and np.bincount(test_labels).tolist() == [30, 30, 30]
    pixels = [set(map(tuple, np.moveaxis(split, 1, -1).reshape(-1, 3))) for split in (train, valid, test)]
    assert not pixels[0] & pixels[1] and not pixels[0] & pixels[2] and not pixels[1] & pixels[2]


def test_cifar_says_whether_its_data_are_damaged_or_not_there(experiment, cifar_root, monkeypatch):
    batch = cifar_root / "cifar-10-batches-py" / "data_batch_2"
    with open(batch, "ab") as file:
        file.write(b"!")
    code, _, error = experiment("cifar", *CIFAR, "--data_root", cifar_root)
    assert code == 2
    assert f"{batch} is damaged (its checksum is wrong): get cifar-10-python.tar.gz, unpack it" in error
    batch.unlink()
    code, _, error = experiment("cifar", *CIFAR, "--data_root", cifar_root)
    assert code == 2
    assert f"there is no {batch}: get cifar-10-python.tar.gz, unpack it" in error and "use --patches" in error
    monkeypatch.setattr(CIFAR10, "url", "http://127.0.0.1:9/cifar-10-python.tar.gz")
    code, _, error = experiment("cifar", *CIFAR)
    assert code == 2
    assert "and http://127.0.0.1:9/cifar-10-python.tar.gz cannot be reached" in error
    assert "Traceback" not in error and "download=True" not in error
