"""Variables in a compose file: `${NAME:-default}` and its kin, and the `.env` file beside it. Text in, text out.

Source: compose specification, "Interpolation". One difference: a variable that is not set and has no default is a
mistake, never an empty string, because an empty password or port deploys and then fails far from its cause.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

NESTING_MAX = 8
RESULT_MAX_CHARS = 64 << 10  # of one value: `${A}${A}…` shall not grow a small file into a big one

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OPERATOR = re.compile(r":?[-?+]")
_ENV_LINE = re.compile(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)", re.DOTALL)


class BadVariable(ValueError):
    """`what` is wrong with a variable, `fix` says what to write. Turned into a Mistake by who knows the line."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what)
        self.what = what
        self.fix = fix


def interpolate(text: str, variables: Mapping[str, str], depth: int = 0) -> str:
    """Replace every variable in one value; `$$` gives `$`. Raises BadVariable."""
    if "$" not in text:
        return text
    if depth > NESTING_MAX:
        raise BadVariable(f"variables are nested more than {NESTING_MAX} deep", "write the value plainly")
    out: list[str] = []
    size = at = 0
    while at < len(text):
        dollar = text.find("$", at)
        if dollar < 0:
            dollar = len(text)
        piece = text[at:dollar]
        if dollar == len(text):
            at = dollar
        else:
            value, at = _variable(text, dollar, variables, depth)
            piece += value
        size += len(piece)
        if size > RESULT_MAX_CHARS:
            raise BadVariable(f"the value grows beyond {RESULT_MAX_CHARS} characters", "make it shorter")
        out.append(piece)
    return "".join(out)


def _variable(text: str, dollar: int, variables: Mapping[str, str], depth: int) -> tuple[str, int]:
    """The value of the variable at `dollar`, and where the text goes on."""
    after = text[dollar + 1 : dollar + 2]
    if after == "$":
        return "$", dollar + 2
    if after == "{":
        end = _closing(text, dollar + 2)
        return _braced(text[dollar + 2 : end], variables, depth), end + 1
    name = _NAME.match(text, dollar + 1)
    if not name:
        raise BadVariable("a `$` stands alone", "write `$$` for a dollar sign, `${NAME}` for a variable")
    return _braced(name.group(), variables, depth), name.end()


def _closing(text: str, start: int) -> int:
    """Where the brace that opened before `start` closes; inner `${…}` are stepped over."""
    level = 1
    for at in range(start, len(text)):
        if text[at] == "{" and text[at - 1] == "$":
            level += 1
        elif text[at] == "}":
            level -= 1
            if not level:
                return at
    raise BadVariable("`${` is not closed", "add the `}`, or write `$$` for a dollar sign")


def _braced(inner: str, variables: Mapping[str, str], depth: int) -> str:
    name_match = _NAME.match(inner)
    if not name_match:
        raise BadVariable(f"`${{{inner[:40]}}}` names no variable", "write `${NAME}`, or `$$` for a dollar sign")
    name, rest = name_match.group(), inner[name_match.end() :]
    value = variables.get(name)
    if not rest:
        if value is None:
            raise BadVariable(f"variable {name} is not set", f"set it, put it into .env, or write ${{{name}:-default}}")
        return value
    operator_match = _OPERATOR.match(rest)
    if not operator_match:
        raise BadVariable(f"`${{{inner[:40]}}}` is not understood", "one of :- - :? ? :+ + may follow the name")
    operator, word = operator_match.group(), rest[operator_match.end() :]
    there = value is not None and not (operator[0] == ":" and value == "")
    if operator[-1] == "+":
        return interpolate(word, variables, depth + 1) if there else ""
    if there:
        assert value is not None
        return value
    if operator[-1] == "?":
        says = interpolate(word, variables, depth + 1)
        raise BadVariable(f"variable {name} is required{': ' + says if says else ''}", "set it, or put it into .env")
    return interpolate(word, variables, depth + 1)


def parse_env(text: str) -> tuple[dict[str, str], list[tuple[int, str]]]:
    """Read a `.env` file: (values, [(line, what is wrong)]).

    NAME=value, also after `export`; # begins a comment; 'single' quotes keep all, "double" ones know \\n \\t \\".
    """
    values: dict[str, str] = {}
    wrong: list[tuple[int, str]] = []
    for number, line in enumerate(text.split("\n"), 1):  # what else Python calls the end of a line may be in a value
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = _ENV_LINE.fullmatch(stripped)
        if not match or "\0" in stripped:
            wrong.append((number, "is not NAME=value"))
            continue
        value = _env_value(match.group(2))
        if value is None:
            wrong.append((number, "has a quote that is not closed on its line"))
        else:
            values[match.group(1)] = value
    return values, wrong


ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\", "$": "$"}


def _env_value(text: str) -> str | None:
    """The value behind `=`, None for an open quote."""
    if text[:1] == "'":
        end = text.find("'", 1)
        return text[1:end] if end > 0 else None
    if text[:1] == '"':
        match = re.match(r'"((?:[^"\\]|\\.)*)"', text)
        return re.sub(r"\\(.)", lambda m: ESCAPES.get(m[1], m[0]), match.group(1)) if match else None
    return re.split(r"\s#", text, maxsplit=1)[0].strip()
