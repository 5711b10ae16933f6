"""After a regrade: who changed, by how many points, in what and why; a shell can ask whether anybody lost points."""

import csv
import shutil

import numpy as np
import pytest
from graded_class import make_class

from grade import bonus, score_terms
from lab.files import read_sealed, write_sealed
from lab.tasks import TASKS


@pytest.fixture
def books(tmp_path):
    """Two gradebooks, old and new, of the same class of eight; books(id, change) calls change(result) on a result of
    the new one."""
    images = np.zeros((20, 28, 28), np.uint8)
    make_class(tmp_path / "old", images, 8, roster="id,name\n" + "".join(f"s000{n},Name {n}\n" for n in range(9)))
    for path in (tmp_path / "old" / "results").glob("*.json"):
        result = read_sealed(path) | {"files": {"submission.py": "a" * 64, "VAEwolabel.pth": "b" * 64}}
        result |= {
            "student": {"key": f"folder {path.stem}"},
            "content": "c" * 64,
            "test_set": "one",
            "grader_version": "first",
            "versions": {"torch": "2.14"},
        }
        write_sealed(path, result | {"limits": {"timeout": 120, "memory": 2**32}})
    shutil.copytree(tmp_path / "old", tmp_path / "new")

    def edit(student, change):
        path = tmp_path / "new" / "results" / f"{student}.json"
        result = read_sealed(path)
        change(result)
        write_sealed(path, result)

    return edit


def score(figures, task, **metrics):
    """Give a task other metrics, and the score that follows from them."""
    figures |= metrics
    figures["bonus"] = bonus(figures["latent_dim"])
    figures["raw"] = sum(points for points, _ in score_terms(figures, TASKS[task]).values()) * figures["bonus"]
    figures["score"] = max(0.0, min(figures["raw"], TASKS[task].cap))


def read(path):
    with open(path, newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file))


def contents(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_what_changed_and_why_is_told_and_adds_up(books, lab_ta, tmp_path):
    def other_code(result):
        result["files"]["submission.py"], result["content"] = "d" * 64, "e" * 64
        score(result["tasks"]["VAEwolabel"], "VAEwolabel", mse=0.05, ssim=0.5, latent_dim=300)
        score(result["tasks"]["Genwithlabel"], "Genwithlabel", fid=9.5)

    def lost_a_check(result):
        result["grader_version"], result["limits"] = "second", {"timeout": 60, "memory": 2**32}
        result["versions"] = {"torch": "2.15"}
        check = result["tasks"]["VAEwolabel"]["checks"][-1]
        check |= {"status": "wrong", "points": 0}
        result["tasks"]["VAEwolabel"]["completion"] -= 15

    def recovered(result):
        result["tasks"]["Genwithlabel"] = dict(
            read_sealed(tmp_path / "old/results/s0002.json")["tasks"]["Genwithlabel"]
        )

    def unknown(result):
        result["tasks"]["VAEwolabel"] |= {"status": "infra_error", "score": None, "completion": None, "checks": []}
        result["status"] = "infra_error"

    for student, change in zip(("s0003", "s0004", "s0000", "s0005"), (other_code, lost_a_check, recovered, unknown),
                               strict=True):  # fmt: skip
        books(student, change)
    (tmp_path / "new" / "overrides.csv").write_text("id,column,value,reason\ns0006,penalty,2.5,late\n")
    memory = read_sealed(tmp_path / "new" / "gradebook.json")
    memory["students"]["folder s0009"] = memory["students"].pop("folder s0007") | {
        "key": "folder s0009", "id": "s0009", "name": "s0009"}  # fmt: skip
    write_sealed(tmp_path / "new" / "gradebook.json", memory)
    (tmp_path / "new" / "results" / "s0007.json").rename(tmp_path / "new" / "results" / "s0009.json")
    shutil.move(tmp_path / "new", tmp_path / "moved")
    before = contents(tmp_path)

    code, printed, errors = lab_ta("diff", tmp_path / "old", tmp_path / "moved", "--out", tmp_path / "d.csv")
    assert code == 1 and not errors
    assert {path: before[path] for path in before} == {p: c for p, c in contents(tmp_path).items() if p.name != "d.csv"}
    rows = {}
    for row in read(tmp_path / "d.csv"):
        rows.setdefault(row["id"], []).append(row)
    assert rows.keys() == {"s0000", "s0003", "s0004", "s0005", "s0006", "s0007", "s0009"}
    changed = {one: [row for row in some if row["change"]] for one, some in rows.items()}
    for one in ("s0000", "s0003", "s0004", "s0006"):
        assert sum(float(row["points"]) for row in changed[one]) == pytest.approx(
            float(changed[one][0]["change"]), abs=0.02
        )
    parts = {one: {row["part"] for row in some} for one, some in rows.items()}
    assert {"VAEwolabel mse", "VAEwolabel ssim", "VAEwolabel bonus (latent_dim)"} < parts["s0003"]
    assert "Genwithlabel fid" in parts["s0003"] and parts["s0004"] == {"check_2.3"} and parts["s0006"] == {"penalty"}
    assert parts["s0000"] == {"Genwithlabel status"} and parts["s0005"] == {
        "VAEwolabel status",
        "VAEwolabel_completion",
    }
    why = {one: some[0]["why"] for one, some in rows.items()}
    assert "different submission: submission.py (cccccccc → eeeeeeee)" in why["s0003"]
    for reason in (
        "different grader version: first → second",
        "limit: timeout: 120 → 60",
        "version of torch: 2.14 → 2.15",
    ):
        assert reason in why["s0004"]
    assert (
        why["s0006"] == "overrides.csv: none → penalty 2.5 (late)"
        and why["s0000"] == "Genwithlabel: crash (it failed) → ok"
    )
    assert why["s0007"] == "ok → missing: nothing was handed in"
    assert rows["s0009"][0]["kind"] == "new"

    lines = [line for line in printed.splitlines() if line[:8].strip() and line.startswith(" ")]
    sizes = [abs(float(line.split()[0])) for line in lines if line.split()[0][0] in "+-"]
    assert sizes == sorted(sizes, reverse=True) and len(sizes) >= 4
    assert "-15.00  check_2.3: 15 → 0" in printed and "a score fell, became unknown or is gone: " in printed
    printed = lab_ta("diff", tmp_path / "moved", tmp_path / "old")[1]
    assert "    gone  s0009\n" in printed and "is not in the new gradebook" in printed


def test_a_regrade_in_which_nobody_loses_ends_well(books, lab_ta, tmp_path):
    code, printed, _ = lab_ta("diff", tmp_path / "old", tmp_path / "new" / "results")
    assert code == 0 and "9 people: 0 changed, 9 same, 0 new, 0 gone" in printed and "nobody" in printed

    def better(result):
        result["test_set"] = "two"
        score(result["tasks"]["VAEwolabel"], "VAEwolabel", mse=0.001, ssim=0.99, latent_dim=2)

    for student in ("s0001", "s0002"):
        books(student, better)
    code, printed, _ = lab_ta("diff", tmp_path / "old", tmp_path / "new", "--top", "1")
    assert code == 0 and "everybody who changed: different test set: one → two" in printed and "and 1 more" in printed
    assert lab_ta("diff", tmp_path / "new", tmp_path / "old")[0] == 1, "the other way round, two scores fall"


def test_what_cannot_be_compared_is_one_error(books, lab_ta, tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ((tmp_path / "empty", tmp_path / "new"), "is not a gradebook"),
        ((tmp_path / "nowhere", tmp_path / "new"), "is not a gradebook"),
        ((tmp_path / "old", tmp_path / "old" / "results"), "the same gradebook"),
        ((tmp_path / "old", tmp_path / "new", "--out", tmp_path / "new" / "grades.csv"), "is inside a gradebook"),
    ):
        code, _, errors = lab_ta("diff", *arguments)
        assert code == 2 and message in errors and "Traceback" not in errors
