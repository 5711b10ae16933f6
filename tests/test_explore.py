"""The page of explore.py without a browser: who gets an answer, drawings, the model's errors, the exported file."""

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT

from data_utils import load_split
from explorer.answers import Explorer
from explorer.drawing import normalise_drawing
from explorer.server import MOST_BYTES, start_server
from model import VAE

SUBMISSION = "import model\n\n\nclass VAE(model.VAE):\n    pass\n"


def write_run(folder, latent_dim):
    """Write what explore.py needs of a run: an untrained demo model, best.pth and epoch_1.pth. Return best.pth."""
    torch.manual_seed(0)
    weights = VAE(latent_dim).state_dict()
    for name in ("best", "epoch_1"):
        content = {"model_state_dict": weights, "task": "VAEwolabel", "latent_dim": latent_dim, "epoch": 1}
        torch.save(content, folder / f"{name}.pth")
    (folder / "submission.py").write_text(SUBMISSION)
    return folder / "best.pth"


@pytest.fixture
def explorer(tmp_path, small):
    args = Namespace(task="VAEwolabel", device="cpu")
    paths = Namespace(checkpoint_path=write_run(tmp_path, 3), submission=tmp_path / "submission.py")
    return Explorer(Namespace(**vars(args), **vars(paths), data=small / "valid.npz"))


@pytest.fixture
def server(explorer):
    server = start_server(explorer, 0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(10)


def ask(server, method="POST", name="decode", body=None, token=None, **headers):
    """Send one request; return its status, its headers and its content."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    body = json.dumps(body) if isinstance(body, dict | list) else body
    sent = {"Content-Type": "application/json"} if method == "POST" else {}
    sent |= {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, f"/{server.token if token is None else token}/{name}", body, sent)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, response.headers, content


def test_only_the_page_itself_gets_an_answer_and_a_bad_request_does_no_harm(server):
    good = {"z": [[0.0, 1.0, 2.0]], "labels": [0]}
    status, headers, page = ask(server, "GET", "")
    assert status == 200 and b"script.js" in page
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert server.server_address[0] == "127.0.0.1" and len(server.token) >= 32

    for refused in (
        {"token": "x" * 32},
        {"token": ""},
        {"Host": "evil.example"},
        {"Host": f"evil.example:{server.server_port}"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ):
        assert ask(server, body=good, **refused)[0] == 403, refused
        assert ask(server, "GET", "", **refused)[0] == 403, refused
    for name in ("../server.py", "%2e%2e/server.py", "export.html", "pages/style.css", "style.css/"):
        assert ask(server, "GET", name)[0] == 404, name

    bad = [None, "", "{", "[" * 100_000, "5", "[]", b"\xff\xfe\x00"]
    bad += [{}, good | {"z": [[0.0, 1.0]]}, good | {"z": "x"}, good | {"z": [[1, 2, [3]]]}, good | {"z": []}]
    bad += [good | {"z": [[float("nan"), 0, 0]]}, good | {"z": [[1e300, 0, 0]]}, good | {"z": [[10**400, 0, 0]]}]
    bad += [good | {"labels": labels} for labels in ([10], [-1], [True], ["0"], 0, [], [0] * 1000)]
    for body in bad:
        assert ask(server, body=body)[0] == 400, str(body)[:60]
    plane = {"u": [1, 0, 0], "v": [0, 1, 0]}
    for body in ({}, {"drawing": "?"}, {"drawing": "AAAA"}, {"index": -1}, {"index": 10**9}, {"index": 0, "seed": "x"}):
        assert ask(server, name="encode", body=plane | body)[0] == 400, body
    assert ask(server, name="nothing", body={})[0] == 400
    assert ask(server, body=json.dumps(good), Content_Type="text/plain")[0] == 400
    assert ask(server, body=b"x", Content_Length=str(MOST_BYTES + 1))[0] == 400
    assert ask(server, "PUT", "decode", "{}")[0] == 501

    for body in (good | {"checkpoint": "../best"}, good | {"checkpoint": "epoch_9"}, good | {"checkpoint": [1]}):
        assert b"no longer exists" in ask(server, body=body)[2]
    status, _, content = ask(server, body=good, Origin=f"http://127.0.0.1:{server.server_port}")
    assert status == 200 and len(json.loads(content)["pictures"]) == 1048  # 784 bytes in base64


def test_a_drawing_is_scaled_and_centred_as_mnist_was():
    images = load_split(ROOT / "dataset" / "valid.npz")[0][:200]
    for image in images:
        drawing = np.zeros((280, 280), np.uint8)
        drawing[100:240, 20:160] = image.repeat(5, axis=0).repeat(5, axis=1)  # half the size, in a corner
        picture = normalise_drawing(drawing)
        assert np.abs(picture.astype(float) - image).mean() < 1, "MNIST is so already"
        mass = picture / picture.sum()
        assert abs((mass.sum(axis=0) * np.arange(28)).sum() - 14) < 0.51
        assert abs((mass.sum(axis=1) * np.arange(28)).sum() - 14) < 0.51
    assert normalise_drawing(np.zeros((280, 280), np.uint8)) is None
    line = np.zeros((280, 280), np.uint8)
    line[3:277, 270:280] = 255
    assert (normalise_drawing(line).max(axis=1) > 0).sum() == 20, "the proportions are kept"


FAULTS = {
    "raise ValueError('my fault')": "VAE.decode failed (submission.py, line 6, in decode): ValueError: my fault",
    "return super().decode(z) * float('nan')": "decode should be finite, got NaN or infinity",
    "return super().decode(z)[:, :5]": "must return pictures [",
    "return super().decode(z) * 2 - 1": "decode should return pictures [B, 28, 28] in [0, 1]",
}


def test_a_models_error_is_what_check_py_says_and_is_gone_when_it_is_fixed(explorer):
    assert explorer.answer("open", {})["latent_dim"] == 3
    path = explorer.args.submission
    for fault, message in FAULTS.items():
        method = f"    def decode(self, z, labels=None):\n        {fault}\n"
        path.write_text(SUBMISSION.replace("    pass\n", method))
        assert message in explorer.answer("open", {})["error"]
    path.write_text("def f(:\n")
    assert "is not valid Python" in explorer.answer("open", {})["error"]
    path.write_text(SUBMISSION + "# fixed\n")
    assert explorer.answer("open", {})["checkpoints"] == ["best", "epoch_1"]


@pytest.mark.parametrize("latent_dim", [1, 40])
def test_the_exported_page_is_one_small_file_that_fetches_nothing(lab, small, tmp_path, latent_dim):
    best = write_run(tmp_path, latent_dim)
    data = ("--data", small / "valid.npz")
    code, out, _ = lab("explore.py", "--checkpoint_path", best, *data, "--html", "page.html")
    assert code == 0 and "page.html" in out
    page = Path("page.html").read_text(encoding="utf-8")
    assert len(page) <= 4_000_000 and "{{" not in page.partition("<style>")[0]
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)|url\(|@import|fetch\(", page)
    code, _, errors = lab("explore.py", "--checkpoint_path", best, *data, "--html", tmp_path / "no" / "page.html")
    assert code == 2 and "expected the path of a file in an existing folder" in errors


def test_what_the_command_cannot_show_it_says(lab, tmp_path):
    code, _, errors = lab("explore.py")
    assert code == 2 and "there is no trained run in" in errors and "next: " in errors
    best = write_run(tmp_path, 3)
    code, _, errors = lab("explore.py", "--checkpoint_path", best, "--task", "Genwithlabel")
    assert code == 2 and "was trained with --task VAEwolabel, but you asked for Genwithlabel" in errors
    code, _, errors = lab("explore.py", "--checkpoint_path", best, "--submission", "mine.py")
    assert code == 2 and "there is no submission at" in errors
    best.write_bytes(b"PK")
    code, _, errors = lab("explore.py", "--checkpoint_path", best)
    assert code == 2 and "cannot be read as a checkpoint" in errors


def test_the_command_takes_the_next_free_port_and_ends_at_ctrl_c(server, small, tmp_path):
    command = [sys.executable, ROOT / "explore.py", "--checkpoint_path", tmp_path / "best.pth", "--no_browser"]
    command += ["--data", small / "valid.npz", "--port", str(server.server_port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    try:
        lines = []
        while "Ctrl-C" not in (line := process.stdout.readline()) and line:
            lines.append(line)
        text = "".join(lines)
        assert "submission.py" in text and f"port {server.server_port} is in use; using port" in text
        port, token = re.search(r"http://127\.0\.0\.1:(\d+)/(\S+)/", text).groups()
        other = Namespace(server_port=int(port), token=token)
        assert ask(other, "GET", "style.css")[0] == 200
        assert ask(other, "GET", "style.css", token=server.token)[0] == 403
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=20)
        assert (process.returncode, out, errors) == (0, "\nstopped\n", "")
    finally:
        process.kill()
