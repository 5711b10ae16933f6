"""What two submissions have in common, however it was disguised: order-free fingerprints of simplified tokens.

The library copydetect 0.5 was tried first: it keeps the names of attributes and classes, so renamed copies scored 0.33
to 0.67, and honest MLPs up to 0.50. This module tokenizes files as winnowing does (Schleimer, Wilkerson and Aiken,
2003), but keeps every fingerprint, because submissions are short. No code is compiled or executed.
"""

import io
import keyword
import tokenize
from dataclasses import dataclass, field

import torch

from lab.tables import guess_encoding
from lab.tasks import TASKS

LENGTH = 12  # tokens of a fingerprint: longer ones miss retyped code, shorter ones occur in every submission
FEWEST = 100  # fingerprints: for a smaller amount of own code, a share says little
FAR = 30  # statements between a variable and its only use
LONGEST = 200  # tokens of an expression that a variable stands for
MOST = 50_000  # tokens of a file
SHOWN_LINES, SHOWN_COLUMNS = 2000, 300
LIBRARY = frozenset(name for part in (torch, torch.nn, torch.Tensor, torch.nn.functional) for name in dir(part))
METHODS = {"encode", "decode", "forward", "reparameterize", "loss", "training"}
CONTRACT = METHODS | {"vae_loss"} | {task.class_name for task in TASKS.values()}
MODULES = {"torch", "nn", "functional", "F"}
BLOCKS = {"if", "elif", "else", "for", "while", "with", "try", "except", "finally"}
IMPORTS = ("import", "from")
LAYOUT = {tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


@dataclass(frozen=True, slots=True)
class Token:
    """symbol: what is compared; name: of a variable, else None; start, end: (line, column) in the file."""

    symbol: str
    name: str | None
    start: tuple
    end: tuple


@dataclass
class Code:
    """A file to compare. functions: lists of Tokens; prints: {fingerprint: [(function, first token), ...]}; note: why
    the end of the file could not be read, or empty."""

    text: str = ""
    functions: list = field(default_factory=list)
    prints: dict = field(default_factory=dict)
    note: str = ""

    def tokens_of(self, prints):
        """Return the Tokens that belong to one of these fingerprints."""
        found = set()
        for one in prints & self.prints.keys():
            for function, first in self.prints[one]:
                found.update(self.functions[function][first : first + LENGTH])
        return found


def decode(content):
    """Return a file's text, whatever its encoding, with \\n as line ending."""
    text = content.decode(guess_encoding(content), errors="replace").removeprefix("\ufeff")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_code(text):
    """Return the Code of a file's text."""
    statements, note = read_statements(text)
    code, functions, me = Code(text, note=note), [[]], "self"
    imported = {}  # name → its name in its module
    for statement in statements:  # first, because they may come after their use
        imported |= read_import(statement) if statement[0].string in IMPORTS else {}
        if statement[0].string in ("def", "class") and len(statement) > 1:
            imported[statement[1].string] = ""  # its own definition, even if a library has the same name
    for statement in statements:
        first = statement[0].string
        if first in ("def", "class", "async"):
            functions.append([])
            names = [token.string for token in statement if token.type == tokenize.NAME and token.string != "async"]
            me = names[2] if first != "class" and statement[0].start[1] > 0 and len(names) > 2 else "self"
        elif first not in ("@", "pass", *IMPORTS) and any(token.type != tokenize.STRING for token in statement):
            functions[-1].append(simplify(statement, me, imported))
    for function in functions:
        tokens = [token for statement in put_in_place(function) for token in statement]
        for start in range(max(1, len(tokens) - LENGTH + 1) if tokens else 0):
            one = hash(tuple(token.symbol for token in tokens[start : start + LENGTH]))
            code.prints.setdefault(one, []).append((len(code.functions), start))
        code.functions.append(tokens)
    return code


def read_statements(text):
    """Return a file's statements, lists of tokens without comments and layout, up to a syntax error; and a note."""
    statements, line, depth, note = [], [], 0, ""

    def end():
        nonlocal line
        if line:
            statements.append(line)
        line = []

    try:
        for count, token in enumerate(tokenize.generate_tokens(io.StringIO(text).readline)):
            if count == MOST:
                note = f"compared only up to line {token.start[0]}, because the file is very long"
                break
            depth += (token.string in "([{") - (token.string in ")]}") if token.type == tokenize.OP else 0
            if token.type == tokenize.NEWLINE or (token.string == ";" and depth <= 0):
                end()
            elif token.type not in LAYOUT:
                line.append(token)
                # The body of a block may follow on the same line: it is a separate statement.
                if token.string == ":" and depth == 0 and line[0].string in (*BLOCKS, "def", "class", "async"):
                    end()
    except Exception as error:  # hostile text can raise anything
        note = f"compared only up to the first syntax error: {error}"
    end()
    return statements, note


def read_import(statement):
    """Return {name: its name in its module} for an import."""
    words = [token.string for token in statement if token.string not in "()"]
    imported = {}
    for index, word in enumerate(words[1:], start=1):
        if words[index - 1] in ("import", ",", ".") and word != "import":
            imported[word] = word
        elif words[index - 1] == "as":
            imported[word] = words[index - 2]
    return imported


def simplify(statement, me, imported):
    """Return a statement's Tokens without what is easily changed: names, numbers, texts, redundant brackets, commas and
    colons, the module of a function (F.relu, torch.relu, x.relu), the names of arguments."""
    tokens, brackets, last = [], [], ""
    strings = [token.string for token in statement] + [""]
    for index, token in enumerate(statement):
        text, after, symbol, name = token.string, strings[index + 1], token.string, None
        if token.type == tokenize.NAME and not keyword.iskeyword(text):
            is_module = text == me or (text in MODULES | imported.keys() and (last != "." or text in MODULES))
            if (is_module and after == ".") or (after == "=" and brackets):
                symbol = ""  # self, a module, or the name of an argument
            elif text in CONTRACT or (last == "." and text in LIBRARY and strings[index - 2] != me):
                symbol = text
            elif last == ".":
                symbol = "attribute"
            elif imported.get(text, text) in LIBRARY and (after == "(" or text in imported):
                symbol = imported.get(text, text)
            else:
                symbol, name = "name", text
        elif token.type == tokenize.NUMBER:
            symbol = "number"
        elif token.type == tokenize.STRING:
            symbol = "text"
        elif text in ("(", "[", "{"):
            value_before = index and (statement[index - 1].type == tokenize.NAME or last in ")]")
            brackets.append(text != "(" or bool(value_before and not keyword.iskeyword(last)))
            symbol = text if brackets[-1] else ""
        elif text in (")", "]", "}"):
            if tokens and tokens[-1].symbol == ",":
                tokens.pop()
            symbol = text if not brackets or brackets.pop() else ""
        elif text in (".", ":") or (text == "=" and brackets):
            symbol = ""
        if symbol:
            tokens.append(Token(symbol, name, token.start, token.end))
        last = text
    end = statement[-1].end
    return [*tokens, Token("end", None, end, end)]


def put_in_place(statements):
    """Return a function's statements with each variable that is used only once replaced by its value, so that it does
    not matter whether an expression is written in one piece or in several."""
    statements, gone = [list(statement) for statement in statements], set()
    for index, statement in enumerate(statements):
        if not is_assignment(statement):
            continue
        uses = []
        for later in range(index + 1, min(len(statements), index + FAR)):
            anew = is_assignment(statements[later]) and statements[later][0].name == statement[0].name
            places = [place for place, token in enumerate(statements[later]) if token.name == statement[0].name]
            uses += [(later, place) for place in (places[1:] if anew else places)]
            if anew or len(uses) > 1:
                break
        if len(uses) == 1 and len(statement) < LONGEST:
            later, place = uses[0]
            statements[later][place : place + 1] = statement[2:-1]
            gone.add(index)
    return [statement for index, statement in enumerate(statements) if index not in gone]


def is_assignment(statement):
    return len(statement) > 3 and statement[0].name is not None and statement[1].symbol == "="


def mark(code, shared, given):
    """Return a file's lines for the page, lists of (text, class): shared, given, or neither, according to these sets of
    fingerprints; the space between two tokens of a class belongs to it."""
    kinds = dict.fromkeys(code.tokens_of(given), "given")
    kinds |= dict.fromkeys(code.tokens_of(shared), "shared")
    tokens = sorted({token for function in code.functions for token in function}, key=lambda token: token.start)
    lines = ["".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line.expandtabs(1))
             for line in code.text.split("\n")[:SHOWN_LINES]]  # fmt: skip
    runs = [[] for _ in lines]  # of each line: [start, end, class]
    for token in tokens:
        for row in range(token.start[0], min(token.end[0], len(lines)) + 1):
            start = token.start[1] if row == token.start[0] else 0
            end = token.end[1] if row == token.end[0] else len(lines[row - 1])
            kind, known = kinds.get(token, ""), runs[row - 1]
            if known and known[-1][2] == kind:
                known[-1][1] = max(end, known[-1][1])
            else:
                known.append([start, end, kind])
    marked = []
    for line, some in zip(lines, runs, strict=True):
        cells, last = [], 0
        for start, end, kind in some:
            cells += [(line[last:start], ""), (line[max(start, last) : end], kind)]
            last = max(last, end)
        cells.append((line[last:SHOWN_COLUMNS], ""))
        marked.append([(text, kind) for text, kind in cells if text])
    return marked + ([[("... and more", "")]] if code.text.count("\n") >= SHOWN_LINES else [])
