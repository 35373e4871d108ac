"""What becomes of braces and dollars: the user's values, or the shell's own text."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from IPython.core.error import UsageError

from e2b_magic.magics.expansion import Expander
from e2b_magic.magics.scanning import Piece

NAMESPACE = {
    "name": "world",
    "n": 3,
    "words": ["a b", "c"],
    "d": {"k": "v"},
    "file": SimpleNamespace(stem="report"),
    "exit": object(),
    **dict.fromkeys(("_", "__", "_i", "_3", "_oh", "In"), "IPython's"),
}
EXPANDER = Expander(NAMESPACE)


@pytest.mark.parametrize(
    "text",
    [
        "echo $HOME ${HOME} ${x:-y} $1 $@ $$ $? $(date) $((1+2))",
        "awk '{print $1}' f",
        "awk '{print}' f",
        "awk '{exit}' f",
        "awk '{ n[$1]++ } END { for (k in n) print k, n[k] }' f",
        "touch f{1,2}.txt {a,b}",
        """curl -d '{"a": 1, "b": {"c": [2]}}' url""",
        "docker ps --format '{{.Names}} {{json .}}'",
        "git log --format=%H HEAD@{1}",
        "f() { echo hi; }; f",
        "echo ${name} ${n}",
        "echo '$name'",
        r"echo \$name \{n\}",
        "echo }{ { }",
        "find . -exec rm {} ;",
        "mkdir foo && cd $_ && echo $__ $_i $In {_}",
        "js '{name: 1}' {n:,5}",
        "touch f{name,n}.txt",
        "for n in 1 2 3; do echo $n; done",
        "for name in *; do for n in 1 2; do echo $name-$n; done; done",
        "for ((n = 0; n < 3; n++)); do echo $n; done",
        "n=5; echo $n; name='a; b'\necho $name",
        'd=$(date +"%s (x)") n=2 && echo "$d $n"',
        "export name=x n=y; echo $name $n",
        "if true; then local -r name=x; fi; echo $name",
        "while IFS= read -r name n; do echo $n $name; done < f",
        "echo a b | { read -p 'which? ' name; echo $name; }",
        "mapfile -t words < f; echo $words",
        "echo $'it\\'s $name'",
    ],
)
def test_shell_text_stays_as_it_is(text: str) -> None:
    """What names no variable of the user's, and what is the shell's own form, reaches the shell unharmed."""
    assert EXPANDER.text(text) == text


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("echo {name} $name", "echo world world"),
        ("head -n {n + 1} '{name}'", "head -n 4 'world'"),
        ("echo {words[0]!r}", "echo 'a b'"),
        ("echo {len(words)} {[w for w in words][1]}", "echo 2 c"),
        ("""echo {d["k"]}""", "echo v"),
        ("echo {n:03d} {n:.2f} {name!r:>9} {n / 2:.1%}", "echo 003 3.00   'world' 150.0%"),
        ("cat $file.stem.txt $name.txt", "cat report.txt world.txt"),
        ("echo {{name}} $$name", "echo {name} $name"),
        ("awk '{print $1}' {name}", "awk '{print $1}' world"),
        ("f() { echo {name}; }", "f() { echo world; }"),
        ("""echo "it's $name" '$name'""", """echo "it's world" '$name'"""),
        ("name=$name; echo $name $n", "name=world; echo $name 3"),
        ("echo $n; for n in 1 2; do echo $n $$name {n}; done", "echo 3; for n in 1 2; do echo $n $name 3; done"),
        ("NAME=$name ./run --n=$n -e n=$n $n", "NAME=world ./run --n=3 -e n=3 3"),
        ("n=1 ./run $n; echo for n in $n, read n: $n", "n=1 ./run 3; echo for n in 3, read n: 3"),
        ("echo {(n, n)}", "echo (3, 3)"),
    ],
)
def test_the_users_variables_are_expanded(text: str, expanded: str) -> None:
    """An expression that names a variable of the user's gives its value, each brace for itself."""
    assert EXPANDER.text(text) == expanded


@given(st.text())
def test_nothing_is_expanded_without_variables(text: str) -> None:
    """With no variable there is no text that would be changed."""
    assert Expander({}).text(text) == text


def test_an_expression_that_fails_is_told() -> None:
    """An expression on the user's variables that raises is an error, not a command with half a line in it."""
    with pytest.raises(UsageError, match=r"\{words\[7\]\} gave IndexError.*\{\{words\[7\]\}\}"):
        EXPANDER.text("rm {words[7]}")


def test_quoting_decides_over_a_piece() -> None:
    """Single quotes keep `$name`, a backslash keeps all."""
    assert EXPANDER.piece(Piece("$name {n}", dollars=False)) == "$name 3"
    assert EXPANDER.piece(Piece("{", braces=False)) == "{"


def test_a_template_is_filled_in() -> None:
    """A template takes every brace for an expression and every doubled one for a brace; `$` means nothing."""
    assert EXPANDER.template("{{{name}}} {words[0][1:3]} {n!r} $name\n") == "{world}  b 3 $name\n"
    assert EXPANDER.template("{n:.2e}|{name:>7}|{n!r:>3}") == "3.00e+00|  world|  3"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{missing}", r"\{missing\} gave NameError"),
        ("a { b", r"twice"),
        ("{}", r"gave SyntaxError"),
        ("}", r"twice"),
    ],
)
def test_a_template_that_cannot_be_filled_in_is_refused(text: str, told: str) -> None:
    """A brace without meaning is an error with the way out."""
    with pytest.raises(UsageError, match=told):
        EXPANDER.template(text)
