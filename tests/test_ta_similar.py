"""Copies are found under whatever disguise, and honest work is left alone: code, weights, and the page."""

import ast
import csv
import itertools
import random
import re
import shutil

import pytest
import torch
from conftest import ROOT
from hostile import RunsCode

from data_utils import load_split
from ta.fingerprint import decode, read_code
from ta.sandbox.weights import compare_weights, sketch_weights
from ta.similar import NEAR, SAME_CODE

HONEST = {path.stem: path.read_text() for path in sorted((ROOT / "tests" / "correct").glob("*.py"))}
ORIGINAL = '''"""A deep MLP."""
import torch
import torch.nn as nn
import torch.nn.functional as F


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=300, classes=0):
        super().__init__()
        widths = [784 + classes, hidden_dim, hidden_dim // 2]
        self.classes = classes
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for one, two in zip(widths, widths[1:]):
            self.down.append(nn.Linear(one, two))
            self.up.insert(0, nn.Linear(two, one - classes if one > 784 else one))
        self.heads = nn.Linear(widths[-1], 2 * latent_dim)
        self.first = nn.Linear(latent_dim + classes, widths[-1])

    def encode(self, x, labels=None):
        h = self.beside(x.flatten(1), labels)
        for layer in self.down:
            h = F.gelu(layer(h))
        mu, log_var = self.heads(h).chunk(2, dim=1)
        return mu, log_var.clamp(-8, 8)

    def beside(self, values, labels):
        """Put the label beside something."""
        if not self.classes:
            return values
        return torch.cat([values, F.one_hot(labels, self.classes).to(values)], dim=1)

    def reparameterize(self, mu, log_var):
        if not self.training:
            return mu
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def decode(self, z, labels=None):
        h = F.gelu(self.first(self.beside(z, labels)))
        for layer in self.up[:-1]:
            h = F.gelu(layer(h))
        return self.up[-1](h).sigmoid().unflatten(1, (28, 28))

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x, labels)
        return self.decode(self.reparameterize(mu, log_var), labels), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    total = 0
    for picture, target, m, v in zip(recon_x, x, mu, log_var):
        total = total + (picture - target).square().sum() / (2 * var) + (v.exp() + m**2 - 1 - v).sum() / 2
    return total / len(x)


class GenModel(VAE):
    def __init__(self, latent_dim=20):
        super().__init__(latent_dim, classes=10)
'''
LOOPS = {  # of ORIGINAL → written in another way
    "        for one, two in zip(widths, widths[1:]):\n": "        i = 0\n        while i < len(widths) - 1:\n"
    "            one, two = widths[i], widths[i + 1]\n            i += 1\n",
    "        for layer in self.down:\n            h": "        for i in range(len(self.down)):\n"
    "            layer = self.down[i]\n            h",
    "    for picture, target, m, v in zip(recon_x, x, mu, log_var):\n": "    for i in range(len(x)):\n"
    "        picture, target, m, v = recon_x[i], x[i], mu[i], log_var[i]\n",
    "        total = total +": "        total +=",
}
DEAD = """
        unused = [i * i for i in range(7)]
        if len(unused) > 100:
            raise RuntimeError("never")
        for key, value in sorted({"a": 1, "b": sum(unused)}.items()):
            unused.append(len(key) * value)
"""
# The same idea by another hand: a deep MLP with its layers in lists, the label beside the picture and the code.
ANEW = """
import torch
from torch import nn


def stack(sizes):
    parts = []
    for n_in, n_out in zip(sizes[:-1], sizes[1:]):
        parts += [nn.Linear(n_in, n_out), nn.GELU()]
    return nn.Sequential(*parts)


class VAE(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=300):
        super().__init__()
        self.enc = stack([784, hidden_dim, hidden_dim // 2])
        self.to_mu = nn.Linear(hidden_dim // 2, latent_dim)
        self.to_log_var = nn.Linear(hidden_dim // 2, latent_dim)
        self.dec = stack([latent_dim, hidden_dim // 2, hidden_dim])
        self.out = nn.Linear(hidden_dim, 784)

    def encode(self, x):
        h = self.enc(x.reshape(-1, 784))
        return self.to_mu(h), self.to_log_var(h)

    def reparameterize(self, mu, log_var):
        if not self.training:
            return mu
        return mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)

    def decode(self, z, labels=None):
        return torch.sigmoid(self.out(self.dec(z))).reshape(-1, 28, 28)

    def forward(self, x, labels=None):
        mu, log_var = self.encode(x)
        return self.decode(self.reparameterize(mu, log_var)), mu, log_var


def vae_loss(recon_x, x, mu, log_var, var=0.5):
    distance = ((recon_x - x) ** 2).flatten(1).sum(dim=1)
    kl = 0.5 * torch.sum(torch.exp(log_var) + mu**2 - 1.0 - log_var, dim=1)
    return torch.mean(distance / (2 * var) + kl)


class GenModel(nn.Module):
    def __init__(self, latent_dim=20, hidden_dim=300):
        super().__init__()
        self.enc = stack([794, hidden_dim, hidden_dim // 2])
        self.to_both = nn.Linear(hidden_dim // 2, latent_dim * 2)
        self.dec = stack([latent_dim + 10, hidden_dim // 2, hidden_dim])
        self.out = nn.Linear(hidden_dim, 784)

    def decode(self, z, labels):
        onehot = torch.eye(10)[labels]
        return torch.sigmoid(self.out(self.dec(torch.cat((z, onehot), 1)))).reshape(-1, 28, 28)

    def forward(self, x, labels):
        onehot = torch.eye(10)[labels]
        mu, log_var = self.to_both(self.enc(torch.cat((x.reshape(-1, 784), onehot), 1))).chunk(2, dim=-1)
        z = mu + torch.randn_like(mu) * (log_var / 2).exp() if self.training else mu
        return self.decode(z, labels), mu, log_var
"""


def rename(text):
    """Give everything that a file defines another name, but for the contract's."""
    kept = {"VAE", "GenModel", "vae_loss", "encode", "decode", "forward", "reparameterize", "loss", "latent_dim", "var"}
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.alias):
            kept.add(node.name)
        names |= {getattr(node, "name", None), getattr(node, "arg", None)}
        if isinstance(getattr(node, "ctx", None), ast.Store):
            names |= {getattr(node, "id", None), getattr(node, "attr", None)}
    names = {name: f"v{number}" for number, name in enumerate(sorted(names - kept - {None})) if name[:2] != "__"}
    return re.sub(r"[A-Za-z_]\w*", lambda match: names.get(match[0], match[0]), text)


def reorder(text):
    """Shuffle the functions of each class, and turn the file around."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            random.Random(0).shuffle(node.body)
    tree.body.reverse()
    return ast.unparse(tree)


def comment(text):
    """Other docstrings, a comment on each line, and annotations."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body.insert(0, ast.Expr(ast.Constant(f"My own {node.name}.")))
            node.returns = ast.Name("object")
    return re.sub(r"(?<=[^\"])$", "  # mine", ast.unparse(ast.fix_missing_locations(tree)), flags=re.MULTILINE)


def reformat(text):
    """Break lines wherever brackets allow it, with tabs, redundant brackets and Windows line ends."""
    text = re.sub(r"return (.+)", r"return (\1)", ast.unparse(ast.parse(text)))
    return re.sub(r"([(,])(?=[^()\n]*\))", "\\1\n\t\t", text).replace("    ", "\t").replace("\n", "\r\n")


def split(text):
    """Give each inner expression of a return or an assignment a line and a name of its own."""
    number = itertools.count()

    def hoist(node, lines):
        for name, inner in ast.iter_fields(node):
            for place, one in enumerate(inner if isinstance(inner, list) else [inner]):
                if isinstance(one, ast.Call | ast.BinOp):
                    hoist(one, lines)
                    variable = f"part{next(number)}"
                    lines.append(ast.Assign([ast.Name(variable, ast.Store())], one))
                    load = ast.Name(variable, ast.Load())
                    if isinstance(inner, list):
                        inner[place] = load
                    else:
                        setattr(node, name, load)
                elif isinstance(one, ast.Tuple | ast.List):
                    hoist(one, lines)

    tree = ast.parse(text)
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        body = []
        for statement in function.body:
            if isinstance(statement, ast.Return | ast.Assign):
                hoist(statement, body)
            body.append(statement)
        function.body = body
    return ast.unparse(ast.fix_missing_locations(tree))


def replace(pairs):
    def edit(text):
        for before, after in pairs.items():
            assert before in text, before
            text = text.replace(before, after)
        return text

    return edit


def pad(text):
    """Add code that does nothing to each method, and a class."""
    text = re.sub(r"(\n    def .+:)", lambda match: match[1] + DEAD.rstrip(), text)
    return text + "\n\nclass Meter:\n    def __init__(self):\n        self.total, self.count = 0.0, 0\n"


def all_of_it(text):
    return reformat(comment(pad(split(reorder(rename(text))))))


COPIES = {
    "renamed": rename,
    "reordered": reorder,
    "comments": comment,
    "formatting": reformat,
    "split": split,
    "dead code": pad,
    "loops": replace(LOOPS),
    "taken from elsewhere": replace(
        {"import torch\nimport": "import", "import torch.nn as nn\n": "import torch\nfrom torch import nn as layers\n"}
        | {"import torch.nn.functional as F\n": "from torch.nn.functional import gelu as act, one_hot\n"}
        | {"F.gelu": "act", "F.one_hot": "one_hot", "nn.Linear": "torch.nn.Linear", "nn.Mod": "layers.Mod"}
        | {", dim=1)": ", 1)"}
    ),
    "other numbers": replace({"300": "512", "// 2]": "// 4]", "-8, 8": "-10.0, 10.0", "dim=20": "dim=16"}),
    "on one line": replace({"        return mu +": "        pass;return mu +", ":\n            return v": ":return v"}),
    "renamed loops": lambda text: rename(replace(LOOPS)(text)),
    "everything": all_of_it,
}  # fmt: skip


@pytest.fixture
def similar(lab_ta, tmp_path):
    """similar({folder: {student: {file: content}}}, ...) runs the command on these submissions, the first folder being
    this year's; it returns {(one, other): row of the CSV} and the page."""

    def run(years, *arguments):
        for year, students in years.items():
            for student, files in students.items():
                (tmp_path / year / student).mkdir(parents=True)
                for name, content in files.items():
                    (tmp_path / year / student / name).write_bytes(content)
        this, *previous = years
        arguments = [*arguments, *itertools.chain(*(("--previous", tmp_path / year) for year in previous))]
        code, _, errors = lab_ta("similar", tmp_path / this, "--out", tmp_path / "similar.html", *arguments)
        assert code == 0, errors
        with open(tmp_path / "similar.csv", newline="", encoding="utf-8-sig") as file:
            rows = {tuple(sorted((row["one"], row["other"]))): row for row in csv.DictReader(file)}
        return rows, (tmp_path / "similar.html").read_text()

    return run


def code(text):
    return {"submission.py": text.encode()}


def test_copies_are_found_under_every_disguise_and_honest_work_is_not(similar):
    for name, disguise in COPIES.items():
        assert ast.parse(decode(disguise(ORIGINAL).encode())), f"{name} is no Python"
    honest = {name: code(text) for name, text in (HONEST | {"anew": ANEW}).items()}
    blank, demo = ((ROOT / name).read_text() for name in ("submission.py", "examples/demo_mlp.py"))
    given = {"blank": code(blank), "blank too": code(blank + "\n"), "demo": code(demo), "demo too": code(demo)}
    old = {f"copy, {name}": code(disguise(ORIGINAL)) for name, disguise in COPIES.items()}
    old["deep"] = code(all_of_it(HONEST["residual"]))
    rows, _ = similar({"class": {"original": code(ORIGINAL)} | honest | given, "2024": old}, "--code_only")
    told = {pair for pair, row in rows.items() if row["findings"]}
    assert told == {tuple(sorted(("original", name))) for name in old if name != "deep"} | {("deep", "residual")}
    shares = {name: float(rows[tuple(sorted(("original", f"copy, {name}")))]["code"]) for name in COPIES}
    assert min(shares.values()) >= SAME_CODE + 0.1, shares
    honest_shares = [float(row["code"]) for pair, row in rows.items() if not {*pair} & {"original", *old}]
    assert max(honest_shares) <= SAME_CODE - 0.1 and ("anew", "original") not in rows
    order = [float(row["code"]) for row in rows.values()]
    assert order == sorted(order, reverse=True)
    assert {row["from"] for row in rows.values()} <= {"", "2024", "ta/reference"}


def test_the_page_shows_both_files_and_runs_nothing(similar):
    markup = '# </pre><script>pwned = 1</script><img src="http://example.com/x">\x1b[31m\u202e\n'
    students = {"<b>one": code(markup + ORIGINAL), "two": code(rename(ORIGINAL) + "\nraise SystemExit\n"), "three": {},
                "four": code("def f(:\n    x = (1\n"), "five": code("a = a + 1\n" * 50_000)}  # fmt: skip
    rows, page = similar({"class": students}, "--code_only")
    assert [row["findings"] for row in rows.values()] == ["100 % of the code"]
    assert "default-src 'none'" in page and "<script" not in page and "<img" not in page and "<b>" not in page
    assert "\x1b" not in page and "\u202e" not in page and "&lt;script&gt;pwned" in page
    assert page.count("<mark>h = F.gelu(") == 0 and page.count("<mark>") > 40 and page.count("<pre>") == 2
    assert "there is no submission.py" in page and "only up to the first syntax error" in page and "very long" in page
    shown = "".join(re.findall(r"<mark>(.*?)</mark>", page, re.DOTALL))
    assert "log_var.clamp(-8, 8)" in shown and "torch.randn_like" not in shown, "the course gave reparameterize"


def train(state, seed, steps, model=None):
    """Return the state dict of a small VAE after some steps; state: where it begins, None for a new one."""
    from examples.demo_mlp import VAE, vae_loss

    torch.manual_seed(seed)
    vae = VAE(latent_dim=8, hidden_dim=48)
    vae.load_state_dict(state or vae.state_dict())
    pictures = torch.as_tensor(load_split(ROOT / "dataset" / "valid.npz")[0][:2000]).float() / 255
    optimizer = torch.optim.Adam(vae.parameters(), 1e-3)
    for _ in range(steps):
        x = pictures[torch.randint(len(pictures), (64,))]
        recon, mu, log_var = vae(x)
        optimizer.zero_grad()
        vae_loss(recon, x, mu, log_var).backward()
        optimizer.step()
    return {name: tensor.detach().clone() for name, tensor in vae.state_dict().items()}


@pytest.fixture(scope="module")
def weights():
    first = train(None, 1, 150)
    return {"first": first, "trained on": train(first, 2, 150), "other seed": train(None, 3, 150)}


def test_weights_are_told_whatever_they_are_called_and_however_they_lie(weights):
    first, order = weights["first"], torch.randperm(48)
    disguised = {
        "trained on": weights["trained on"],
        "names": {f"layer{number}": tensor for number, tensor in enumerate(reversed([*first.values()]))},
        "scale": {name: -3.5 * tensor for name, tensor in first.items()} | {"more": torch.ones(2)},
        "half": {name: tensor.half() for name, tensor in first.items()},
        "noise": {name: tensor + 0.2 * tensor.std() * torch.randn_like(tensor) for name, tensor in first.items()},
        "transposed": {name: tensor.t().contiguous() for name, tensor in first.items()},
        "permuted": {name: tensor[order] if tensor.shape[0] == 48 else tensor[:, order] if tensor.shape[-1] == 48
                     else tensor for name, tensor in first.items()},
    }  # fmt: skip
    alike = {name: compare_weights(sketch_weights(first), sketch_weights(state)) for name, state in disguised.items()}
    assert min(alike.values()) > NEAR, alike
    assert abs(compare_weights(sketch_weights(first), sketch_weights(weights["other seed"]))) < 0.15
    nothing = sketch_weights({"a": torch.zeros(3), "b": torch.full((64, 64), torch.nan), "c": 7})
    ones = sketch_weights({"a": torch.ones(64, 64)})
    huge = sketch_weights({"a": torch.zeros(1).expand(2**20, 2**20)})
    assert compare_weights(nothing, nothing) == compare_weights(ones, ones) == compare_weights(huge, huge) == 0.0


def test_equal_and_trained_on_checkpoints_are_told_and_no_pickle_runs(similar, weights, tmp_path):
    def saved(state, **more):
        torch.save({"model_state_dict": state, "task": "VAEwolabel", **more}, tmp_path / "saved.pth")
        return {"VAEwolabel.pth": (tmp_path / "saved.pth").read_bytes()}

    students = {
        "first": code(ORIGINAL) | saved(weights["first"]),
        "equal": code(ANEW) | saved(weights["first"], epoch=9),
        "hostile": code("raise SystemExit\n") | saved({"a": RunsCode(tmp_path / "ran")}),
        "other seed": code(HONEST["plain"]) | saved(weights["other seed"]),
    }
    rows, page = similar({"class": students, "2025": {"trained on": saved(weights["trained on"])}}, "--jobs", "2")
    told = {
        pair: row["findings"].split(" (")[0] + row["findings"].partition(")")[2]
        for pair, row in rows.items()
        if row["findings"]
    }
    assert told == {("equal", "first"): "equal weights of VAEwolabel, as in 1 more"} | {
        (one, "trained on"): "nearly equal weights of VAEwolabel, as in 1 more" for one in ("equal", "first")
    }
    assert (
        not (tmp_path / "ran").exists()
        and "hostile</strong>: <span" in page
        and "weights of VAEwolabel not compared" in page
    )


def test_what_cannot_be_done_is_one_error(lab_ta, tmp_path):
    shutil.copytree(ROOT / "tests" / "correct", tmp_path / "class" / "one")
    for arguments, message in (
        ((tmp_path / "class", "--out", tmp_path / "similar"), "ends in .html"),
        ((tmp_path / "class", "--previous", tmp_path / "class"), "given twice"),
        ((tmp_path / "class", "--previous", tmp_path / "nowhere"), "is not a folder"),
        ((tmp_path / "class", "--given", tmp_path / "nowhere.py"), "expected a readable file"),
    ):
        exit_code, _, errors = lab_ta("similar", *arguments, "--code_only")
        assert exit_code == 2 and message in errors and "Traceback" not in errors


def test_a_file_is_read_as_python_reads_it():
    one = read_code("def f(a, b):\n    return (a.pow(2) + b, )\n").functions
    other = read_code('def g(x, y):\n    "doc"\n    s = x.pow(3)\n    return s + y\n').functions
    assert [[token.symbol for token in function] for function in one] == [
        [token.symbol for token in function] for function in other
    ]
