"""Flags for the staff: honest models get none, each cheat in tests/cheats gets the one that names it."""

import csv
import json
import re

import numpy as np
import pytest
import torch
from conftest import ROOT, require_system

from data_utils import MNISTDataset, batches, load_split, set_random_seed
from grade import moments, score_task
from inference import draw_normal, generate
from lab.codes import decode_codes, encode_pictures
from lab.contract import build_model, load_submission
from lab.losses import make_loss
from lab.plots import to_uint8
from lab.tasks import TASKS
from ta.copies import known_pictures
from ta.hidden import make_hidden
from ta.review import COPY_RATIO, MAX_COPIES, review

CHEATS = ROOT / "tests" / "cheats"
PER_DIGIT = 100  # generated pictures


@pytest.fixture(scope="module")
def splits():
    return {name: load_split(ROOT / "dataset" / f"{name}.npz") for name in ("train", "test")}


@pytest.fixture(scope="module")
def hidden(splits):
    images, labels, _ = make_hidden(*splits["test"], "a secret", per_digit=200)
    return images, labels


def cheat(file, task, latent_dim, buffers):
    """Return a cheat's module, and its model with these buffers."""
    module = load_submission(file)
    model = build_model(module, task, latent_dim)
    model.load_state_dict({name: torch.as_tensor(value) for name, value in buffers.items()})
    return module, model.eval()


def draw(module, model, latent_dim=5):
    set_random_seed(0)
    return generate(model, module, draw_normal(latent_dim, PER_DIGIT, 0), True, 1000)


def flags_of(pictures, module, model, generated=None):
    """Return the metrics, the flags and their pictures that a model gets on pictures and labels."""
    images, labels = pictures
    given = None if generated is None else labels
    codes = encode_pictures(model, module, images, given)
    recon = decode_codes(model, module, codes, given)
    return judge(pictures, codes, recon, generated)


def judge(pictures, codes, recon, generated=None):
    task = TASKS["VAEwolabel" if generated is None else "Genwithlabel"]
    metrics = score_task(task, *pictures, recon, codes, generated)
    return metrics, *review("task", *pictures, recon, codes, generated, metrics)


@pytest.mark.parametrize("task", ["VAEwolabel", "Genwithlabel"])
def test_an_honest_model_is_not_flagged(splits, hidden, task):
    module = load_submission(ROOT / "examples" / "demo_mlp.py")
    set_random_seed(0)
    model, loss = build_model(module, task, 16), make_loss(module, task, var=0.5)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    train_set = MNISTDataset(*(array[:20_000] for array in splits["train"]))
    for _ in range(2):
        for batch in batches(train_set, 200, torch.Generator().manual_seed(0)):
            optimizer.zero_grad()
            loss(model, batch)["loss"].backward()
            optimizer.step()
    generated = draw(module, model.eval(), 16) if task == "Genwithlabel" else None
    assert flags_of(hidden, module, model, generated)[1] == []


def test_codes_without_any_information_are_no_cheat(hidden):
    images, _ = hidden
    recon = np.broadcast_to(images.mean(axis=0).astype(np.uint8), images.shape)
    assert judge(hidden, np.zeros((len(images), 5), np.float16), recon)[1] == []


DISGUISES = {  # largest rotation (radians), largest shift (half pictures), noise
    "as they are": [0, 0, 0],
    "turned, shifted and noisy": [np.radians(8), 1 / 14, 0.05],
    "turned by up to 12 degrees": [np.radians(12), 0, 0],
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES)
@pytest.mark.parametrize("split", ["train", "test"])
def test_replayed_pictures_are_recognised(splits, split, disguise):
    generated = draw(*replay(*splits[split], disguise))[:, :20]
    index = known_pictures()
    ratios = [index.nearest(pictures, digit)[1] for digit, pictures in enumerate(generated)]
    assert np.mean(np.stack(ratios) < COPY_RATIO) > 10 * MAX_COPIES


def replay(images, labels, disguise):
    memory = np.stack([images[labels == digit][:800] for digit in range(10)])
    buffers = {"memory": memory, "disguise": np.float32(disguise)}
    return cheat(CHEATS / "replays_pictures.py", "Genwithlabel", 5, buffers)


def test_a_replay_is_shown_beside_what_it_replays(splits, hidden):
    model = replay(*splits["train"], [0.1, 0.05, 0.03])
    metrics, flags, shown = flags_of([array[:900] for array in hidden], *model, draw(*model))
    assert metrics["fid"] < 5 and metrics["digit_accuracy"] > 0.9, "which is why the score does not see it"
    (flag,) = json.loads(json.dumps(flags))
    assert "copies of pictures in the training, validation or test split" in flag["reason"]
    assert flag["rows"] == ["generated", "nearest known picture"]
    drawn, known = shown[flag["pictures"]] / 255
    assert drawn.shape == (20, 28, 28)
    assert ((drawn - known) ** 2).mean() < ((drawn - np.roll(known, 2, axis=0)) ** 2).mean() / 3


def noise_of(images, labels):
    """Return the buffers of draws_noise.py."""
    mean, std = (np.stack(parts) for parts in zip(*(moments(images[labels == d]) for d in range(10)), strict=True))
    return {"mean": np.float32(mean).reshape(10, 28, 28), "std": np.float32(std).reshape(10, 28, 28)}


def test_independent_noise_is_flagged(splits, hidden):
    module, model = cheat(CHEATS / "draws_noise.py", "Genwithlabel", 5, noise_of(*splits["train"]))
    codes = np.zeros((len(hidden[0]), 5), np.float16)
    metrics, flags, shown = judge(hidden, codes, np.zeros_like(hidden[0]), draw(module, model))
    assert metrics["fid"] < 3, "which is why the score does not see it"
    unreadable, apart = (flag["reason"] for flag in flags)
    assert "read as the requested digit" in unreadable and "do not fit together" in apart
    assert [shown[flag["pictures"]].shape for flag in flags] == [(4, 10, 28, 28)] * 2


def principal_components(images, count):
    """Return the mean [784], the first components [count, 784] and their standard deviations [count]."""
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    values, vectors = np.linalg.eigh(np.cov(pixels, rowvar=False))
    return pixels.mean(axis=0), vectors[:, ::-1][:, :count].T.copy(), np.sqrt(values[::-1][:count])


PACKED = {  # components in a number, levels of a component, whether the bits are scrambled, and the flag
    "all bits": (3, 38, False, "no smooth function"),
    "all bits, scrambled": (3, 38, True, "no smooth function"),
    "four of 15 levels": (4, 15, False, "no smooth function"),
    "two of 32 levels": (2, 32, False, "repeat along single numbers"),
    "three of 12 levels": (3, 12, False, "repeat along single numbers"),
}


@pytest.mark.parametrize(("per_number", "radix", "scrambled", "reason"), PACKED.values(), ids=PACKED)
def test_packed_bits_are_flagged(splits, hidden, tmp_path, per_number, radix, scrambled, reason):
    mean, basis, scale = principal_components(splits["train"][0][:5_000], 20 * per_number)
    secret = np.random.default_rng(0).permutation(63_488) if scrambled else np.arange(63_488)
    source = (CHEATS / "packs_bits.py").read_text().replace("per_number=3", f"per_number={per_number}")
    (tmp_path / "submission.py").write_text(source)
    buffers = {"mean": mean, "basis": basis, "scale": scale, "secret": secret, "radix": np.int64(radix)}
    _, (flag,), _ = flags_of(hidden, *cheat(tmp_path / "submission.py", "VAEwolabel", 20, buffers))
    assert reason in flag["reason"]


def test_plain_principal_components_are_no_packing(splits, hidden):
    mean, basis, _ = principal_components(splits["train"][0][:5_000], 50)
    codes = ((hidden[0].reshape(-1, 784) / 255 - mean) @ basis.T).astype(np.float16)
    recon = to_uint8((codes.astype(np.float32) @ basis + mean).reshape(-1, 28, 28))
    assert judge(hidden, codes, recon)[1] == []


def test_codes_that_point_into_memorised_pictures_are_flagged(splits, hidden):
    model = cheat(CHEATS / "points_into_memory.py", "VAEwolabel", 8, {"memory": splits["test"][0]})
    too_good, pointers = (flag["reason"] for flag in flags_of([array[:1000] for array in hidden], *model)[1])
    assert "from 8 numbers; honest models of this width stay above" in too_good
    assert "no smooth function of the codes" in pointers


def test_a_fault_of_the_review_costs_nobody_their_points(hidden):
    images, labels = hidden
    broken = np.zeros((10, 5, 9, 9), np.uint8)
    (flag,), shown = review("task", images, labels, images, None, broken, {"fid": 20.0})
    assert flag["reason"].startswith("the review failed (") and shown[flag["pictures"]].shape == (2, 20, 28, 28)


def test_a_flag_and_its_pictures_reach_the_staff_and_not_the_student(splits, small, lab_ta, tmp_path):
    require_system("bwrap")
    (tmp_path / "class" / "eve").mkdir(parents=True)
    (tmp_path / "class" / "eve" / "submission.py").write_text((CHEATS / "draws_noise.py").read_text())
    state = {name: torch.as_tensor(value) for name, value in noise_of(*splits["train"]).items()}
    torch.save({"latent_dim": 5, "model_state_dict": state}, tmp_path / "class" / "eve" / "Genwithlabel.pth")
    call = ("grade", tmp_path / "class", "--test_data", small / "valid.npz", "--out", tmp_path / "grades")
    code, _, errors = lab_ta(*call, "--accuracy_gate", "0.5")
    assert code == 0 and "flagged for review, see report.html: eve" in errors
    with open(tmp_path / "grades" / "grades_full.csv", newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["review"].startswith("Genwithlabel: only ") and row["accuracy_gate"] == "0.5"
    staff, student = (tmp_path / "grades" / "report.html", tmp_path / "grades" / "feedback" / "eve.html")
    staff, student = staff.read_text(), student.read_text()
    assert row["review"].removeprefix("Genwithlabel: ") in staff and "hidden pictures; generated, 1" in staff
    assert "min(accuracy / 0.5, 1)" in student and "read as the requested digit" not in student
    assert len(re.findall("<img", student)) == 1, "the generated pictures"
    code, _, errors = lab_ta(*call)
    assert code == 2 and "was graded with --accuracy_gate 0.5 and this call is without --accuracy_gate" in errors
