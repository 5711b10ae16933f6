"""A lab as check.py, the release and the tests know it: sections with points, and for each a probe and an evaluator."""

import importlib
from dataclasses import dataclass, field

import torch

from checks.evidence import Evidence
from checks.recorder import Recorder
from lab.cli import ROOT


@dataclass(frozen=True)
class Lab:
    """name: of its folder in experiments/, or "" for the main lab
    make_inputs: seed → a flat dict of plain arrays that all probes and evaluators get
    parts: {number: (Section, (probe, evaluator))} in the handout's order; a Section's `checks` is the prefix of its
    arrays, and inputs["x"] a batch of pictures
    aliases: {another number that -k understands: number}
    """

    name: str
    make_inputs: object
    parts: dict
    aliases: dict = field(default_factory=dict)

    def sections(self):
        """Return {number: (Section, what its checks need)} in the handout's order."""
        return self.parts

    @property
    def folder(self):
        return ROOT / "experiments" / self.name if self.name else ROOT

    def probe(self, module, inputs, wanted, arrays):
        """Call probe(module, inputs, Recorder) of each wanted section; `arrays` gets what they record."""
        for section, (probe, _) in wanted:
            out = Recorder(section.checks, arrays)
            torch.manual_seed(int(inputs["seed"]))
            with out.step("run", module, section.title, batch=len(inputs["x"])):
                probe(module, inputs, out)

    def judge(self, inputs, arrays, section, functions):
        """Return the notes of the section's evaluator(inputs, Evidence); it raises WrongError for a mistake."""
        evidence = Evidence(arrays, section.checks, section.title)
        evidence.raise_for("run")
        note = functions[1](inputs, evidence)
        return [note] if note else []

    def find(self, word):
        """Return the numbers of the sections for a word: a number (2.2 stands for 2.2.1 to 2.2.4) or part of a name."""
        word = self.aliases.get(word, word)
        titles = {number: section.title for number, (section, _) in self.sections().items()}
        chosen = [number for number in titles if number == word or number.startswith(f"{word}.")]
        return chosen or [number for number, title in titles.items() if word and word.lower() in title.lower()]

    def describe(self):
        """Return all sections in one line: "2.3 (vae_loss), 3 (GenModel)"."""
        return ", ".join(f"{number} ({section.title})" for number, (section, _) in self.sections().items())


def lab_names():
    """Return the names of the labs beside the main one: the folders of experiments/ that have checks."""
    return sorted(path.parent.name for path in (ROOT / "experiments").glob("*/checks.py"))


def load_lab(name):
    """Return the Lab of experiments/NAME."""
    return importlib.import_module(f"experiments.{name}.checks").LAB
