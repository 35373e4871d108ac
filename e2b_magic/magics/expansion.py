"""Putting Python values into a line: `{expression}` and `$name`, as IPython does it, but harmless to the shell's text.

IPython's own expansion takes the line as a whole: one brace that is no Python leaves everything unexpanded, and what
happens to be Python is replaced though nobody meant it. `mkdir {1,2}` becomes `mkdir (1, 2)`, `awk '{print}'` prints a
built-in function's address, `{{.Names}}` loses its braces. Here each brace is judged alone, and stands for a value only
if it is an expression that names a variable of the user's own. All else reaches the sandbox as it was written:
`$HOME`, `${x}`, `$1`, `awk '{print $1}'`, `f{x,y}`, JSON, and what the text itself gives a value, as `for i in …` does
(see `shell_names`). Doubling, `{{x}}` or `$$x`, protects a name that is a variable.
"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Callable, Iterator, Mapping
from string import Formatter
from typing import Any, Final

from IPython.core.error import UsageError

from e2b_magic.magics.scanning import Piece, balanced_end
from e2b_magic.magics.shell_names import names_of_the_shell

_DOLLAR: Final = re.compile(r"\$(\$?)([A-Za-z_]\w*)((?:\.[A-Za-z_]\w*)*)")
_ESCAPED_STRING: Final = re.compile(r"\$'(?:\\.|[^'\\])*'", re.DOTALL)
_CONVERSION: Final = re.compile(r"(.*)!([rsa])", re.DOTALL)
# Of a format specification what nobody writes by chance: it aligns, has a precision, or ends in a type.
_SPECIFICATION: Final = re.compile(
    r".?[<>=^]\d+|(?:.?[<>=^])?[-+ ]?#?0?\d*[_,]?(?:\.\d+[bcdeEfFgGnosxX%]?|[bcdeEfFgGnosxX%])"
)
# What IPython puts into every namespace: `awk '{exit}'` does not mean it, and `cd $_` means the shell's.
_OF_IPYTHON: Final = re.compile(r"_+|_i+|_i?\d+|_[dio]h|In|Out|_exit_code|exit|quit|open|get_ipython")


class Expander:
    """Puts a namespace's values into text.

    Args:
        namespace: The user's variables.
    """

    def __init__(self, namespace: Mapping[str, Any]) -> None:
        self._namespace = namespace

    def piece(self, piece: Piece) -> str:
        """Gives a word's piece with its values."""
        return self._expand(piece.text, braces=piece.braces, dollars=piece.dollars, quotes=False)

    def text(self, text: str) -> str:
        """Gives raw shell text with its values; `$name` in single quotes and after a backslash is left alone.

        Raises:
            UsageError: An expression on the user's variables raised an exception.
        """
        return self._expand(text, braces=True, dollars=True, quotes=True)

    def template(self, text: str) -> str:
        """Gives a text in which every `{expression}` is filled in, as in `str.format`; `{{` is a brace.

        Raises:
            UsageError: A brace is unbalanced, or what stands in it is no expression or raises an exception.
        """
        try:
            return "".join(self._fill(text))
        except ValueError as error:
            raise UsageError(f"--template: {error}; a brace that is meant is written twice") from None

    def _fill(self, text: str) -> Iterator[str]:
        for literal, field, specification, conversion in Formatter().parse(text):
            yield literal
            if field is None:
                continue
            body = f"{field}:{specification}" if specification else field
            expression = body
            try:
                # str.format would split an expression such as text[1:3] at its colon.
                if not _is_expression(body):
                    expression = field
                value = eval(expression, dict(self._namespace))  # noqa: S307  the user's own words, as in any cell
                yield _converted(value, conversion, "" if expression == body else specification or "")
            except Exception as error:  # noqa: BLE001  any code may stand there
                raise UsageError(
                    f"--template: {{{body}}} gave {type(error).__name__}: {error}; "
                    "a brace that is meant is written twice"
                ) from None

    def _expand(self, text: str, *, braces: bool, dollars: bool, quotes: bool) -> str:
        if "{" not in text and "$" not in text:
            return text
        shells = names_of_the_shell(text) if quotes and "$" in text else {}
        parts: list[str] = []
        position, quote = 0, ""
        while position < len(text):
            character = text[position]
            part = character
            if quotes and character == "\\" and quote != "'":
                part = text[position : position + 2]
            elif quotes and character in "'\"" and quote in ("", character):
                quote = "" if quote else character
            elif character == "$":
                bare, active = quotes and not quote, dollars and quote != "'"
                part, length = self._dollar(text, position, shells, bare=bare, active=active)
                parts.append(part)
                position += length
                continue
            elif braces and character == "{":
                part, length = self._brace(text, position)
                parts.append(part)
                position += length
                continue
            parts.append(part)
            position += len(part)
        return "".join(parts)

    def _dollar(
        self, text: str, position: int, shells: Mapping[str, int], *, bare: bool, active: bool
    ) -> tuple[str, int]:
        """Gives what a `$` stands for, and the length of what that replaces.

        Args:
            text: Where it stands.
            position: Where in that.
            shells: The shell's own names, and from where on they are.
            bare: Whether it stands in no quotes of the shell's.
            active: Whether it may stand for a value.
        """
        if text.startswith("${", position) and (end := balanced_end(text, position + 1)):
            return text[position:end], end - position
        if bare and (string := _ESCAPED_STRING.match(text, position)):
            return string[0], len(string[0])
        match = _DOLLAR.match(text, position)
        if not active or match is None or not self._is_mine(match[2]):
            return "$", 1
        if match[1]:
            return text[position + 1 : match.end(2)], match.end(2) - position
        if position >= shells.get(match[2], len(text)):
            return "$", 1
        value = self._namespace[match[2]]
        end = match.end(2)
        for attribute in match[3].split(".")[1:]:
            if not hasattr(value, attribute):
                break  # a file's suffix, as in $name.txt
            value = getattr(value, attribute)
            end += 1 + len(attribute)
        return format(value), end - position

    def _brace(self, text: str, position: int) -> tuple[str, int]:
        """Gives what a `{` stands for, and the length of what that replaces."""
        end = balanced_end(text, position)
        body = text[position + 1 : end - 1] if end else ""
        if body.startswith("{") and body.endswith("}") and self._names_mine(body[1:-1]):
            return body, end - position
        if not self._names_mine(body):
            return "{", 1  # what stands inside is looked at on its own: { echo {name}; }
        expression, conversion, specification = _split(body)
        try:
            value = eval(expression, dict(self._namespace))  # noqa: S307  the user's own words, as in any cell
            return _converted(value, conversion, specification), end - position
        except Exception as error:  # noqa: BLE001  any code may stand there
            raise UsageError(
                f"{{{body}}} gave {type(error).__name__}: {error}; if it is meant for the shell write {{{{{body}}}}}"
            ) from None

    def _names_mine(self, body: str) -> bool:
        """Whether a text is an expression on the user's variables (and on nothing unknown)."""
        try:
            tree = ast.parse(_split(body)[0], mode="eval")
        except (SyntaxError, ValueError):
            return False
        if isinstance(tree.body, ast.Tuple) and not body.lstrip().startswith("("):
            return False  # the shell's f{x,y}
        nodes = list(ast.walk(tree))
        bound = {node.arg for node in nodes if isinstance(node, ast.arg)}
        bound |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        free = {node.id for node in nodes if isinstance(node, ast.Name)} - bound
        mine = {name for name in free if self._is_mine(name)}
        return bool(mine) and all(hasattr(builtins, name) for name in free - mine)

    def _is_mine(self, name: str) -> bool:
        return name in self._namespace and not _OF_IPYTHON.fullmatch(name)


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError):
        return False
    return True


def _split(body: str) -> tuple[str, str | None, str]:
    """Gives a field's expression, its conversion and its format specification, as in an f-string."""
    specification = ""
    before, colon, after = body.rpartition(":")
    if colon and _SPECIFICATION.fullmatch(after) and not _is_expression(body):
        body, specification = before, after
    match = _CONVERSION.fullmatch(body)
    return (match[1].strip(), match[2], specification) if match else (body.strip(), None, specification)


_CONVERTERS: Final[dict[str | None, Callable[[Any], Any]]] = {
    None: lambda value: value,
    "s": str,
    "r": repr,
    "a": ascii,
}


def _converted(value: object, conversion: str | None, specification: str) -> str:
    return format(_CONVERTERS[conversion](value), specification)
