"""The figures of the score against their definitions, and the errors of grade.py."""

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import ROOT, is_read_or_refused
from skimage.metrics import structural_similarity

import grade
from data_utils import load_split
from lab import diagnostics
from lab.output import read_output, run_of, write_output
from lab.tasks import TASKS


@pytest.fixture(scope="module")
def real():
    images, labels = load_split(ROOT / "dataset" / "valid.npz")
    return images[:1_003], labels[:1_003]


@pytest.fixture(scope="module")
def recon(real):
    noise = np.random.default_rng(0).integers(-60, 61, real[0].shape)
    return (real[0] + noise).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def generated(real):
    """1,000 pictures of each digit: real ones, drawn with repetition, a little darker."""
    random = np.random.default_rng(1)
    images = [random.choice(real[0][real[1] == digit], grade.GEN_NUM) for digit in range(10)]
    return (np.stack(images) * 0.9).astype(np.uint8)


def test_mse_and_ssim_equal_those_of_one_picture_at_a_time(real, recon):
    images = real[0]
    squared = [np.mean((a / 255 - b / 255) ** 2) for a, b in zip(images, recon, strict=True)]
    similar = [structural_similarity(a, b, data_range=255) for a, b in zip(images, recon, strict=True)]
    assert grade.mse(images, recon) == pytest.approx(np.mean(squared), abs=1e-10)
    assert grade.ssim(images, recon) == pytest.approx(np.mean(similar), abs=1e-10)
    assert grade.ssim(images, images) == pytest.approx(1)


def test_fid_follows_its_formula(real, generated):
    images, labels = real
    expected = []
    for digit in range(10):
        r, g = images[labels == digit] / 255, generated[digit] / 255
        expected.append(((r.mean(0) - g.mean(0)) ** 2).sum() + ((r.std(0) - g.std(0)) ** 2).sum())
    assert grade.fid_diagonal(images, labels, generated) == pytest.approx(np.mean(expected), rel=1e-9)


def test_full_frechet_distance_follows_its_formula(real, generated):
    flat = [images.reshape(-1, 784) / 255 for images in (real[0], generated)]
    (mean_r, cov_r), (mean_g, cov_g) = ((x.mean(0), np.cov(x, rowvar=False, bias=True)) for x in flat)
    root_trace = np.sqrt(np.linalg.eigvals(cov_r @ cov_g).real.clip(min=0)).sum()
    expected = ((mean_r - mean_g) ** 2).sum() + np.trace(cov_r + cov_g) - 2 * root_trace
    assert diagnostics.fid_full(real[0], generated) == pytest.approx(expected, rel=1e-3)


def test_near_copies_are_found(real, generated):
    images, labels = real
    generated = generated // 2
    assert diagnostics.near_copies(generated, images, labels) == 0
    generated[:, :50] = [images[labels == digit][:50] for digit in range(10)]
    assert diagnostics.near_copies(generated, images, labels) == 0.5


def test_scores_are_those_of_the_handout(real, recon, generated):
    codes = np.zeros((len(recon), 20), np.float16)
    vae = grade.score_task(TASKS["VAEwolabel"], *real, recon, codes)
    bonus = 0.2 + (1 - 20 / 784)
    assert vae["raw"] == pytest.approx((vae["ssim"] * 5 + max(0.1 - vae["mse"], 0) * 50) * bonus)
    assert vae["score"] == min(vae["raw"], 10)
    gen = grade.score_task(TASKS["Genwithlabel"], *real, real[0], codes, generated)
    assert gen["raw"] == pytest.approx((10 + 10 + max(10 - gen["fid"], 0)) * bonus)
    assert gen["raw"] > 30
    assert gen["score"] == 30
    assert gen["digit_accuracy"] > 0.95


def test_the_accuracy_gate_scales_the_points_for_fid(real, recon, generated):
    codes = np.zeros((len(recon), 20), np.float16)
    mixed = generated[[0, 1, 2, 5, 9, 3, 6, 7, 8, 4]]  # six of ten are the digit that was asked for
    task = TASKS["Genwithlabel"]
    ungated, gated = (grade.score_task(task, *real, recon, codes, mixed, gate) for gate in (None, 0.8))
    assert 0.55 < gated["digit_accuracy"] < 0.65 and ungated["fid"] < 10
    points, gated_points = (grade.score_terms(metrics, task) for metrics in (ungated, gated))
    assert gated_points["FID"][0] == pytest.approx((10 - ungated["fid"]) * gated["digit_accuracy"] / 0.8)
    assert gated["raw"] < ungated["raw"]
    assert {name: gated_points[name] for name in ("SSIM", "MSE")} == {name: points[name] for name in ("SSIM", "MSE")}
    legible = gated | {"digit_accuracy": 0.9}
    assert grade.score_terms(legible, task) == points


@pytest.fixture
def output(tmp_path, real, recon, generated):
    """An output folder as inference.py leaves it, and the split that it belongs to."""
    np.savez(tmp_path / "split.npz", images=real[0], labels=real[1])
    folder = tmp_path / "output"
    folder.mkdir()
    np.savez(folder / "recon.npz", images=recon, codes=np.zeros((len(recon), 20), np.float16))
    np.savez(folder / "gen.npz", images=generated)
    (folder / "meta.json").write_text(json.dumps({"task": "Genwithlabel", "latent_dim": 20}))
    return folder, ("--test_data_path", tmp_path / "split.npz", "--Genwithlabel_output_dir", folder)


def test_grade_prints_the_table_and_writes_the_result(lab, output):
    code, printed, _ = lab("grade.py", *output[1], "--gen_cap", "10", "--out", "deep/result.json")
    assert code == 0
    result = json.loads(Path("deep/result.json").read_text())
    figures = result["tasks"]["Genwithlabel"]
    assert result["status"] == "ok"
    assert figures["score"] == 10 < figures["raw"]
    assert f"{figures['fid']:.4f}" in printed
    assert "at its cap" in printed
    assert result["accuracy_gate"] is None and "gate" not in printed


def test_the_accuracy_gate_is_recorded_and_printed(lab, output):
    code, printed, _ = lab("grade.py", *output[1], "--accuracy_gate", "0.9")
    assert code == 0
    result = json.loads(Path("runs/grade_result.json").read_text())
    assert result["accuracy_gate"] == result["tasks"]["Genwithlabel"]["accuracy_gate"] == 0.9
    assert "accuracy gate on the points for FID" in printed
    for wrong in ("50", "0", "nan"):
        code, _, error = lab("grade.py", *output[1], "--accuracy_gate", wrong)
        assert code == 2 and f"expected a number above 0 and below 1, got {wrong}" in error


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder, recon: (folder / "meta.json").unlink(), "meta.json is missing or damaged"),
        (lambda folder, recon: (folder / "gen.npz").write_bytes(b"PK"), "gen.npz is not a readable npz"),
        (lambda folder, recon: np.savez(folder / "recon.npz", images=recon), "recon.npz has no array codes"),
        (lambda folder, recon: save(folder, recon[:-1], 20), "expected images uint8 [1003, 28, 28], got uint8 [1002"),
        (lambda folder, recon: save(folder, recon / 255, 20), "got float64 [1003, 28, 28]"),
        (lambda folder, recon: save(folder, recon[:, :14], 20), "got uint8 [1003, 14, 28]"),
        (lambda folder, recon: save(folder, recon, 20, np.nan), "codes contain NaN"),
        (lambda folder, recon: save(folder, recon, 20, dtype=np.float32), "got float32 [1003, 20]"),
        (
            lambda folder, recon: np.savez(folder / "gen.npz", images=np.zeros((10, 9, 28, 28), np.uint8)),
            "at least 1000",
        ),
        (lambda folder, recon: (folder / "recon.npz").unlink(), "recon_0.png is missing or not a picture"),
    ],
)
def test_a_bad_output_is_told_what_is_wrong(lab, output, recon, damage, message):
    folder, arguments = output
    damage(folder, recon)
    code, _, error = lab("grade.py", *arguments)
    assert code == 2
    assert message in error
    assert "Traceback" not in error


def save(folder, images, latent_dim, fill=0.0, dtype=np.float16):
    np.savez(folder / "recon.npz", images=images, codes=np.full((len(images), latent_dim), fill, dtype))


def test_flipped_bits_in_an_output_are_told_and_never_a_traceback(tmp_path, real):
    folder = tmp_path / "output"
    folder.mkdir()
    meta = {"task": "Genwithlabel", "latent_dim": 20, "checkpoint": "runs/x/best.pth", "checkpoint_sha256": "0" * 64}
    generated = real[0][:20].reshape(10, 2, 28, 28)
    write_output(folder, real[0][:3], np.zeros((3, 20), np.float16), generated, meta, png=True)

    def read():
        read_output(folder, "Genwithlabel", 3, 2)
        run_of(folder, "Genwithlabel")

    assert is_read_or_refused(read, folder / "recon.npz") > 500
    assert is_read_or_refused(read, folder / "gen.npz") > 500
    assert is_read_or_refused(read, folder / "meta.json") > 100
    (folder / "recon.npz").unlink()
    assert is_read_or_refused(read, folder / "recon" / "recon_1.png") > 100


def test_outputs_of_the_other_task_are_refused(lab, output):
    folder, arguments = output
    code, _, error = lab("grade.py", *arguments[:2], "--VAEwolabel_output_dir", folder)
    assert code == 2
    assert "is an output of Genwithlabel, expected VAEwolabel" in error


def test_nothing_to_grade_says_what_to_run(lab):
    code, _, error = lab("grade.py", "--test_data_path", ROOT / "dataset" / "valid.npz")
    assert code == 2
    assert "run inference.py first" in error
