"""Make the students' package: everything except the TA's part, with a blank submission.py.

python -m ta release --out dist/                      # writes dist/vae-lab.zip
python -m ta release --lab autoencoders --out dist/   # writes dist/autoencoders-lab.zip: one of experiments/ alone
"""

import re
import zipfile
from pathlib import Path

from checks.lab import lab_names
from lab.cli import ROOT, LabError
from lab.files import write_whole

REFERENCE = ROOT / "ta" / "reference" / "submission.py"
SOLUTION = re.compile(r"^( *)# BEGIN SOLUTION(?: (\S+))?\n(.*?)^ *# END SOLUTION\n", re.MULTILINE | re.DOTALL)

NAME = "vae-lab"
SHIPPED = (
    *("*.py", "*.md", "*.sh", "*.txt", "*.toml", "*.ipynb", "Makefile", ".gitignore"),
    *("lab/*.py", "checks/**/*.py", "explorer/*.py", "explorer/pages/*", "sweep/*.py"),
    *("dataset/*", "figs/*", "tests/conftest.py", "tests/test_*.py"),
    # results that the handout links to; the code would give section 3 away
    *("experiments/README.md", "experiments/figs/*"),
)
SHIPPED_WITH_A_LAB = (
    *("check.py", "data_utils.py", "trainer.py", "grade.py", "requirements.txt", "LICENSE.md", ".gitignore"),
    *("lab/*.py", "checks/**/*.py", "dataset/*", "experiments/__init__.py", "experiments/runs.py"),
)
LAB_README = """# {title}

The lab's text, in English and Chinese: [experiments/{lab}/README.md](experiments/{lab}/README.md),
[experiments/{lab}/README.zh.md](experiments/{lab}/README.zh.md). Yours to fill in: `experiments/{lab}/submission.py`.

    python -m venv .venv
    . .venv/bin/activate                             # Windows: .venv\\Scripts\\activate
    pip install -r requirements.txt
    python check.py --lab {lab}
"""
OWN_STEP = re.compile(r'(    def step\(self, batch\):\n        """.*?"""\n)(?: {8}.*\n)+')
KEPT_BACK = ("dataset/test.npz", "tests/test_ta_*.py", "experiments/elbo/recipes.py")
TELLING = 13  # letters, digits and _ that a line needs to give an answer away: @torch.no_grad() has 12


def student_version(reference, lab=""):
    """Return the student's submission.py: the reference's text without what stands between its markers.

    `# BEGIN SOLUTION 2.3` ... `# END SOLUTION` becomes a raise that names task 2.3; without a section the block
    just disappears. lab: "" is the main one.
    """

    def blank(match):
        indent, section, _ = match.groups()
        if section is None:
            return ""
        if lab:
            text = f"task {section} is not filled in yet: see section {section} of the handout"
            return f'{indent}raise NotImplementedError("{text}")\n'
        number = {"3": "3.1"}.get(section, section)  # the handout's number of the task
        what = f"task {number}" if number >= "2" else number
        where = f"see section {number} of the handout; python check.py -k {section} checks it"
        return f'{indent}raise NotImplementedError(\n{indent}    "{what} is not filled in yet: {where}"\n{indent})\n'

    text = SOLUTION.sub(blank, reference)
    return re.sub(r"\n{3,}(?= )", "\n\n", text)  # two blank lines where a block between methods disappeared


def references(root, lab):
    """Return {name in the package: text} of the references of the lab's files to fill in."""
    folder = f"experiments/{lab}/" if lab else ""
    paths = sorted((root / "ta" / "reference" / lab).glob("*.py"))
    return {f"{folder}{path.name}": path.read_text() for path in paths}


def answer_lines(root=ROOT, lab=""):
    """Return the lines that must not reach students: the telling ones of the references' solutions, stripped.

    Lines of model.py are no secret, because the handout lets students copy it, nor are those of the blank file.
    """
    lines, open_lines = set(), set(stripped(root / "model.py"))
    for text in references(root, lab).values():
        open_lines |= {line.strip() for line in student_version(text, lab).splitlines()}
        for _, _, solution in SOLUTION.findall(text):
            lines |= {line.strip() for line in solution.splitlines()}
    return {line for line in lines - open_lines if len(re.findall(r"\w", line)) >= TELLING}


def stripped(path):
    return [line.strip() for line in path.read_text().splitlines()]


def student_makefile(text):
    """Return the Makefile without the targets that call the TA's tools; its demo runs the student's own file."""
    text = re.sub(r"^REFERENCE =.*$", "REFERENCE =", text, flags=re.MULTILINE)
    text = text.replace("the reference solution on", "your submission.py on").replace(": make system", "")
    for paragraph in text.split("\n\n"):
        if re.search(r"-m (ta|benchmarks)\b|\Asystem:", paragraph):
            target = paragraph.partition(":")[0]
            text = text.replace(f"{paragraph}\n\n", "")
            text = re.sub(rf"^# make {target} .*\n", "", text, flags=re.MULTILINE)
            text = re.sub(rf"^(\.PHONY:.*) {target}\b", r"\1", text, flags=re.MULTILINE)
    return text


def student_text(text):
    """Return a Markdown text without its parts for the staff, and with the parts for students.

    It leaves out what is between `<!-- BEGIN STAFF -->` and `<!-- END STAFF -->` and table rows with `<!-- STAFF -->`,
    and puts in the content of `<!-- STUDENTS ... -->`.
    """
    text = re.sub(r"^<!-- BEGIN STAFF -->\n.*?^<!-- END STAFF -->\n", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^.*<!-- STAFF -->.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^<!-- STUDENTS\n(.*?)^-->\n", r"\1", text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\n{3,}", "\n\n", text)


def collect(root=ROOT, lab=""):
    """Return the students' files as {path in the package: bytes}; lab: of experiments/, "" is the main one.

    Raises LabError if any of them contains a line of a solution.
    """
    shipped = (*SHIPPED_WITH_A_LAB, f"experiments/{lab}/*.*", f"experiments/{lab}/figs/*") if lab else SHIPPED
    kept_back = {path for pattern in KEPT_BACK for path in root.glob(pattern)}
    paths = sorted({path for pattern in shipped for path in root.glob(pattern) if path.is_file()} - kept_back)
    package = {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}
    for name, text in references(root, lab).items():
        package[name] = student_version(text, lab).encode()
    if any("def train_step(" in text for text in references(root, lab).values()):  # the lab asks for a step of its own
        package["trainer.py"] = OWN_STEP.sub(
            r"\1        raise NotImplementedError\n", package["trainer.py"].decode()
        ).encode()
    if lab:
        title = package[f"experiments/{lab}/README.md"].decode().partition("\n")[0].removeprefix("# ")
        package["README.md"] = LAB_README.format(lab=lab, title=title).encode()
    else:
        package["Makefile"] = student_makefile(package["Makefile"].decode()).encode()
    texts = [name for name in package if name.endswith(".md") and ("/" not in name or lab)]
    package |= {name: student_text(package[name].decode()).encode() for name in texts}
    answers = sorted(answer_lines(root, lab))
    leaks = [f"{name}: {line}" for name, content in package.items() for line in answers if line.encode() in content]
    if leaks:
        raise LabError("nothing is packed, because these files contain lines of the solution:\n" + "\n".join(leaks))
    return package


def write_zip(path, package):
    """Write {name: bytes} as a zip with executable shell scripts; the same files always give the same zip."""
    with write_whole(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in package.items():
            entry = zipfile.ZipInfo(name)  # without a date
            is_script = name.endswith(".sh") or content.startswith(b"#!/usr/bin/env bash\n")
            entry.external_attr = (0o755 if is_script else 0o644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)


def add_arguments(parser):
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="the folder in which to write the zip")
    parser.add_argument("--lab", choices=lab_names(), default="", help="one of experiments/ (default: the main lab)")


def main(args):
    package, name = collect(lab=args.lab), f"{args.lab}-lab" if args.lab else NAME
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{name}.zip"
    write_zip(path, {f"{name}/{file}": content for file, content in package.items()})
    print(f"{path} ({path.stat().st_size / 2**20:.1f} MB): {len(package)} files")
