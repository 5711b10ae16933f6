"""Generate what students get from what the TA keeps."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = ROOT / "ta" / "reference" / "submission.py"
SOLUTION = re.compile(r"^( *)# BEGIN SOLUTION(?: (\S+))?\n.*?^ *# END SOLUTION\n", re.MULTILINE | re.DOTALL)


def student_version(reference):
    """Return the student's submission.py: the reference's text without what stands between its markers.

    `# BEGIN SOLUTION 2.3` ... `# END SOLUTION` becomes a raise that names section 2.3; without a section the block
    just disappears.
    """

    def blank(match):
        indent, section = match.groups()
        if section is None:
            return ""
        where = f"see section {section} of the handout; python check.py -k {section} checks it"
        return f'{indent}raise NotImplementedError(\n{indent}    "{section} is not filled in yet: {where}"\n{indent})\n'

    text = SOLUTION.sub(blank, reference)
    return re.sub(r"\n{3,}(?= )", "\n\n", text)  # two blank lines where a block between methods disappeared
