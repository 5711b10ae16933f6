"""Speed compared with the usual way of doing the same, measured side by side in one run.

    python -m benchmarks         # prints a table, writes runs/bench.json

Each measurement is the median over ROUNDS rounds; in each round the two ways run one after the other, so that a slow
phase of the machine affects both.
"""

import json
import platform
import statistics
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from PIL import Image
from skimage.metrics import structural_similarity
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import ToTensor
from tqdm import tqdm

import grade
import inference
from benchmarks import class_grading, explore, sweep
from data_utils import MNISTDataset, batches, load_split
from lab.cli import ROOT, run_command
from lab.codes import decode_codes, encode_pictures
from lab.contract import build_model, load_submission
from lab.diagnostics import diagnose
from lab.files import write_json
from lab.losses import make_loss
from lab.output import read_output
from lab.tasks import TASKS
from model import VAE
from trainer import Trainer

ROUNDS = 5
REFERENCE = ROOT / "ta" / "reference" / "submission.py"


class UsualDataset(Dataset):
    """Loads picture by picture through PIL and ToTensor, like torchvision's MNIST."""

    def __init__(self, images, labels):
        self.images, self.labels, self.transform = images, labels, ToTensor()

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.transform(Image.fromarray(self.images[index])), int(self.labels[index])


def usual_epoch(split, batch_size):
    """Return the seconds for one epoch of the usual loop: DataLoader, default Adam, summed BCE plus KL."""
    model = VAE()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    loader = DataLoader(UsualDataset(*split), batch_size=batch_size, shuffle=True)
    total = 0
    start = time.perf_counter()
    model.train()
    for x, _ in loader:
        optimizer.zero_grad()
        x = x.view(-1, 28, 28)
        recon, mu, log_var = model(x)
        bce = torch.nn.functional.binary_cross_entropy(recon, x, reduction="sum")
        loss = bce - 0.5 * torch.sum(1 + log_var - mu.pow(2) - log_var.exp())
        loss.backward()
        total += loss.item()
        optimizer.step()
    return time.perf_counter() - start


def lab_epoch(split, batch_size, bf16=False):
    """Return the seconds for one epoch of the Trainer, including validation."""
    dataset = MNISTDataset(*split)
    loss = make_loss(load_submission(REFERENCE), "VAEwolabel", var=0.5)
    trainer = Trainer(VAE(), loss, dataset, dataset, epochs=10, batch_size=batch_size, bf16=bf16)
    start = time.perf_counter()
    trainer.train_epoch(tqdm(disable=True))
    return time.perf_counter() - start


def exhaust(loader):
    start = time.perf_counter()
    for _ in loader:
        pass
    return time.perf_counter() - start


def usual_metrics(real, recon):
    """Return MSE and SSIM, computed picture by picture with scikit-image."""
    pairs = list(zip(real, recon, strict=True))
    values = [(np.mean((a / 255 - b / 255) ** 2), structural_similarity(a, b, data_range=255)) for a, b in pairs]
    return np.mean(values, axis=0)


def timed(function, *args):
    start = time.perf_counter()
    result = function(*args)
    return time.perf_counter() - start, result


def median_ratio(usual, ours):
    """Return the median over the rounds of usual() / ours(), each a function that returns seconds."""
    return statistics.median([usual() / ours() for _ in tqdm(range(ROUNDS), leave=False)])


def measurement(name, value, bar, at_least=True):
    """Return one measurement; `bar` is the value to reach."""
    return {"name": name, "value": float(value), "bar": bar, "passed": bool(value >= bar if at_least else value <= bar)}


def bench_training(split):
    has_bf16 = Path("/proc/cpuinfo").is_file() and "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    for batch_size, bar, bar_bf16 in ((128, 1.9, 3.0), (1024, 1.8, 4.0)):
        name = f"epoch of the demo MLP, batch {batch_size}, times faster than the usual loop"
        usual, ours = partial(usual_epoch, split, batch_size), partial(lab_epoch, split, batch_size)
        yield measurement(name, median_ratio(usual, ours), bar)
        if has_bf16:
            yield measurement(f"{name}, bf16", median_ratio(usual, partial(ours, bf16=True)), bar_bf16)


def bench_loader(split):
    usual = DataLoader(UsualDataset(*split), batch_size=128, shuffle=True)
    ours = batches(MNISTDataset(*split), 128, torch.Generator())
    ratio = median_ratio(partial(exhaust, usual), partial(exhaust, ours))
    yield measurement("loader alone, times faster than the usual one", ratio, 10)


def bench_metrics(real, recon):
    ratios, differences = [], []
    for _ in tqdm(range(ROUNDS), leave=False):
        usual_seconds, usual = timed(usual_metrics, real, recon)
        seconds, ours = timed(lambda: (grade.mse(real, recon), grade.ssim(real, recon)))
        ratios.append(usual_seconds / seconds)
        differences.append(np.abs(usual - ours).max())
    name = "SSIM + MSE of 10,000 pictures, times faster than picture by picture"
    yield measurement(name, statistics.median(ratios), 2)
    yield measurement("SSIM + MSE, largest difference from picture by picture", max(differences), 1e-10, at_least=False)


def usual_save(model, real, folder):
    """Reconstruct and generate picture by picture, each saved as PNG."""
    (folder / "recon").mkdir(parents=True)
    model.eval()
    with torch.no_grad():
        for index, image in enumerate(real):
            recon = model(torch.as_tensor(image)[None].float() / 255)[0]
            Image.fromarray((recon[0] * 255).round().byte().numpy()).save(folder / "recon" / f"recon_{index}.png")
        for digit in range(10):
            (folder / "gen" / str(digit)).mkdir(parents=True)
            for index in range(1000):
                recon = model.decode(torch.randn(1, 20))
                path = folder / "gen" / str(digit) / f"{index}.png"
                Image.fromarray((recon[0] * 255).round().byte().numpy()).save(path)


def lab_save(model, module, real, folder):
    """Do the same as inference.py, without its sheets."""
    folder.mkdir(parents=True)
    codes = encode_pictures(model, module, real, None)
    np.savez_compressed(folder / "recon.npz", images=decode_codes(model, module, codes, None), codes=codes)
    generated = inference.generate(model, module, inference.draw_normal(20, 1000, 0), False, 1000)
    np.savez_compressed(folder / "gen.npz", images=generated)


def usual_grading(real, labels, folder):
    """Grade both tasks: read one PNG per picture, compute MSE and SSIM picture by picture, the rest like grade.py."""
    for task in TASKS:
        paths = [folder / "recon" / f"recon_{index}.png" for index in range(len(real))]
        usual_metrics(real, np.stack([np.asarray(Image.open(path)) for path in paths]))
        if TASKS[task].generates:
            paths = [folder / "gen" / str(digit) / f"{index}.png" for digit in range(10) for index in range(1000)]
            generated = np.stack([np.asarray(Image.open(path)) for path in paths]).reshape(10, 1000, 28, 28)
            grade.fid_diagonal(real, labels, generated)
            diagnose(real, generated, load_split("dataset/train.npz"))


def lab_grading(real, labels, folder):
    for task in TASKS:
        (folder / "meta.json").write_text(json.dumps({"task": task, "latent_dim": 20}))
        grade.score_task(TASKS[task], real, labels, *read_output(folder, task, len(real), grade.GEN_NUM))


def bench_inference_and_grading(real, labels):
    module = load_submission(REFERENCE)
    model = build_model(module, "VAEwolabel", 20)
    inference_ratios, grading_ratios = [], []
    with TemporaryDirectory() as temporary:
        for number in tqdm(range(ROUNDS), leave=False):
            usual_folder, folder = (Path(temporary) / f"{kind}{number}" for kind in ("usual", "ours"))
            usual_seconds, _ = timed(usual_save, model, real, usual_folder)
            seconds, _ = timed(lab_save, model, module, real, folder)
            inference_ratios.append(usual_seconds / seconds)
            usual_seconds, _ = timed(usual_grading, real, labels, usual_folder)
            seconds, _ = timed(lab_grading, real, labels, folder)
            grading_ratios.append(usual_seconds / seconds)
    name = "inference, 10,000 reconstructions + 10,000 generated, times faster than PNG by PNG"
    yield measurement(name, statistics.median(inference_ratios), 5)
    name = "grading both tasks from npz, times faster than from PNG and picture by picture"
    yield measurement(name, statistics.median(grading_ratios), 2)


def main():
    split = load_split("dataset/train.npz")
    real, labels = load_split("dataset/valid.npz")
    noise = np.random.default_rng(0).integers(-20, 21, real.shape)
    recon = (real + noise).clip(0, 255).astype(np.uint8)
    rows = []
    for part in (
        bench_training(split),
        bench_loader(split),
        bench_metrics(real, recon),
        bench_inference_and_grading(real, labels),
        class_grading.bench(),
        sweep.bench(),
        explore.bench(),
    ):
        for row in part:
            rows.append(row)
            print(f"{row['name']:<88}{row['value']:>10.3g}{row['bar']:>10.3g}  {'ok' if row['passed'] else 'MISSED'}")
    result = {"measurements": rows, "cpu": platform.processor() or platform.machine()}
    Path("runs").mkdir(exist_ok=True)
    write_json("runs/bench.json", result | {"threads": torch.get_num_threads()})
    print("wrote runs/bench.json")


if __name__ == "__main__":
    run_command(main)
