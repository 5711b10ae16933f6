"""Hostile submissions, and a class made of them.

Each file is what is appended to honest.py; its first line says the status that each task must get. `honest`: ok, with
exactly the figures of honest.py; `no better`: any status, with at most its score; `fault`: any status but ok and
infra_error. What no Python file can be (a zip bomb, a link, a name) is built by a function below.
"""

import json
import os
import shutil
import struct
import zipfile
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
HONEST = (HERE / "honest.py").read_text()
TASKS = ("VAEwolabel", "Genwithlabel")
# What tries to get out and then behaves: one submission does it all, as "together".
TOGETHER = (
    *("fills_the_disk", "kills_everything", "leaves_a_daemon", "leaves_a_thread", "raises_its_limits"),
    *("reaches_through_the_kernel", "reads_everything", "reads_its_job", "uses_the_network", "writes_everywhere"),
)
FILES = sorted(path for path in HERE.glob("*.py") if path.stem not in ("__init__", "honest"))


def together():
    """Return the text of the hostile files that go together."""
    texts = [(HERE / f"{name}.py").read_text() for name in TOGETHER]
    assert {tuple(expected(text).items()) for text in texts} == {tuple(expected(texts[0]).items())}
    return "\n".join(texts)


def expected(text):
    """Return {task: expectation} of a hostile file's text."""
    pairs = text.partition("\n")[0].removeprefix("# ").split("; ")
    return dict(pair.split(": ") for pair in pairs)


def train_honest(folder, images, labels):
    """Write an honest submission with checkpoints trained for two seconds into a folder."""
    folder.mkdir(parents=True)
    (folder / "submission.py").write_text(HONEST)
    space = {}
    exec(HONEST, space)
    x, labels = torch.tensor(images).float() / 255, torch.tensor(labels).long()
    for task, name in (("VAEwolabel", "VAE"), ("Genwithlabel", "GenModel")):
        torch.manual_seed(0)
        model = space[name](latent_dim=4)
        optimizer = torch.optim.Adam(model.parameters(), 5e-3)
        for _ in range(150):
            recon, mu, log_var = model(x, labels)
            loss = space["vae_loss"](recon, x, mu, log_var, var=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        torch.save({"latent_dim": 4, "model_state_dict": model.state_dict()}, folder / f"{task}.pth")


def build_files(folder, honest, targets, names=None):
    """Make a submission of each hostile file (or of those in `names`); targets: {name: value} that the files use.
    Returns {id: {task: expectation}}."""
    head = "".join(f"{name} = {value!r}\n" for name, value in targets.items())
    expectations = {}
    texts = {path.stem: path.read_text() for path in FILES if path.stem not in TOGETHER} | {"together": together()}
    for name, text in texts.items():
        if names is not None and name not in names:
            continue
        expectations[name] = expected(text)
        student = folder / name
        student.mkdir()
        (student / "submission.py").write_text(HONEST + head + text)
        for task, what in expectations[name].items():
            if what != "missing":
                shutil.copy(honest / f"{task}.pth", student)
    if "lies_about_latent_dim" in expectations:
        weights = torch.load(honest / "VAEwolabel.pth")["model_state_dict"]
        torch.save({"latent_dim": 1, "model_state_dict": weights}, folder / "lies_about_latent_dim" / "VAEwolabel.pth")
    return expectations


class RunsCode:
    """A pickle that writes a file where it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def zip_of(path, honest, extra=(), tasks=TASKS):
    """Pack an honest submission into a zip, with extra (ZipInfo or name, bytes) entries."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("submission.py", *(f"{task}.pth" for task in tasks)):
            archive.write(honest / name, name)
        for entry, content in extra:
            archive.writestr(entry, content)


def link_entry(name, target):
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info, target


def build_others(folder, honest, canary, test_data):
    """Make the submissions that are no Python file; return {id: {task: expectation}}. Nothing may appear in `canary`,
    an empty folder."""
    vae_only = {"VAEwolabel": "honest", "Genwithlabel": "missing"}
    nothing = {"VAEwolabel": "unusable", "Genwithlabel": "unusable"}
    broken_vae = {"VAEwolabel": "checkpoint_error", "Genwithlabel": "missing"}
    expectations = {}

    def student(name, what, files=("submission.py", "VAEwolabel.pth")):
        expectations[name] = what
        (folder / name).mkdir()
        for file in files:
            shutil.copy(honest / file, folder / name)
        return folder / name

    place = student("pickle_as_checkpoint", broken_vae)
    torch.save({"latent_dim": 4, "model_state_dict": {"a": RunsCode(canary / "pickle")}}, place / "VAEwolabel.pth")

    place = student("objects_as_checkpoint", broken_vae)
    np.savez(place / "weights.npz", np.array([RunsCode(canary / "npz")], object))
    (place / "weights.npz").rename(place / "VAEwolabel.pth")

    place = student("truncated_checkpoint", broken_vae)
    (place / "VAEwolabel.pth").write_bytes((honest / "VAEwolabel.pth").read_bytes()[:2000])

    place = student("zip_with_paths_upwards_in_a_folder", vae_only, [])
    up = "../" * 12 + str(canary)[1:]
    extra = [(f"{up}/slipped", "x"), (f"{canary}/absolute", "x"), link_entry("link", str(canary)), ("link/x", "x")]
    zip_of(place / "work.zip", honest, extra, ["VAEwolabel"])

    with zipfile.ZipFile(folder / "zip_with_a_link.zip", "w") as archive:
        archive.writestr(*link_entry("submission.py", "/etc/passwd"))
        archive.write(honest / "VAEwolabel.pth", "VAEwolabel.pth")
    expectations["zip_with_a_link"] = nothing

    with zipfile.ZipFile(folder / "zip_bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(honest / "submission.py", "submission.py")
        with archive.open("VAEwolabel.pth", "w") as file:
            for _ in range(300):
                file.write(bytes(2**20))
    expectations["zip_bomb"] = broken_vae

    with zipfile.ZipFile(folder / "zip_of_many_files.zip", "w") as archive:
        for number in range(25_000):
            archive.writestr(str(number), "")
    expectations["zip_of_many_files"] = nothing

    zip_of(folder / "zip_that_lies.zip", honest, tasks=["VAEwolabel"])
    content = bytearray((folder / "zip_that_lies.zip").read_bytes())
    for signature, offset in ((b"PK\1\2", 24), (b"PK\3\4", 22)):  # the size of submission.py, unpacked
        struct.pack_into("<L", content, content.index(signature) + offset, 10)
    (folder / "zip_that_lies.zip").write_bytes(content)
    expectations["zip_that_lies"] = nothing

    (folder / "no_zip.zip").write_bytes(os.urandom(1000))
    expectations["no_zip"] = nothing

    place = student("latin_1", {"VAEwolabel": "import_error", "Genwithlabel": "import_error"})
    (place / "submission.py").write_bytes(HONEST.encode() + "name = 'Zoë'\n".encode("latin-1"))

    place = student("=cmd('\n\"x\"');--é", vae_only)
    (place / "hw3" / "final version").mkdir(parents=True)
    for path in list(place.glob("*.*")):
        path.rename(place / "hw3" / "final version" / path.name)

    place = student("links_to_others", nothing, ["VAEwolabel.pth"])
    (place / "submission.py").symlink_to(honest / "submission.py")
    place = student("links_to_the_hidden_set", broken_vae, ["submission.py"])
    (place / "VAEwolabel.pth").symlink_to(test_data)
    place = student("pipe_as_checkpoint", broken_vae, ["submission.py"])
    os.mkfifo(place / "VAEwolabel.pth")
    (folder / "link_to_a_folder").symlink_to(honest)
    expectations["link_to_a_folder"] = nothing

    student("nothing", nothing, [])
    return expectations


def read_results(folder):
    """Return {submission's name: result} of a results folder."""
    results = [json.loads(path.read_text()) for path in folder.glob("*.json")]
    return {result["submission"].removesuffix(".zip"): result for result in results}
