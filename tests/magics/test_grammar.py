"""Lines as people type them, from IPython to a real bash: each does what it would do at a shell's prompt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from IPython.core.interactiveshell import InteractiveShell

from e2b_magic import magics
from e2b_magic.client import Client, set_shared_client
from e2b_magic.config import from_environment
from e2b_magic.embedded import runtime
from tests.magics.conftest import Notebook

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Gives a client on an embedded server that the module's tests share, with some files in the home."""
    directory = tmp_path_factory.mktemp("grammar") / "e2b-magic"
    client = Client(from_environment({"E2B_MAGIC_DIRECTORY": str(directory)}))
    set_shared_client(client)
    client.execute_command("touch a.py b.py 'c d.txt'")
    yield client
    set_shared_client(None)
    runtime.stop(directory / "embedded")


@pytest.fixture
def notebook(shell: InteractiveShell, client: Client) -> Notebook:
    """Gives a notebook over that client, in which earlier cells have left variables of the commonest names."""
    magics.load(shell)
    shell.user_ns.update(i=99, x="Python's x", y=2, n=3, name="ada", f=print, path="/tmp", d={"k": "v w"})
    return Notebook(shell)


@pytest.mark.parametrize(
    ("line", "output"),
    [
        # Quotes, and what they hold
        ("""echo "double $HOME" 'single $HOME'""", "double /home/user single $HOME\n"),
        ("""echo "it's" 'say "hi"' "a \\"b\\"" ''""", """it's say "hi" a "b" \n"""),
        (r"printf '%s\n' a\ b \"c\" \$HOME \\", 'a b\n"c"\n$HOME\n\\\n'),
        (r"echo $'tab\there' $'it\'s $name'", "tab\there it's $name\n"),
        ("""python3 -c "print('a', \\"b\\")" """, "a b\n"),
        ("""python3 -c 'd = {"a": [1, 2]}; print(d["a"][-1])'""", "2\n"),
        # Pipes, lists, redirections
        ("ls | wc -l; echo done", "3\ndone\n"),
        ("true && echo yes || echo no", "yes\n"),
        ("(echo out; echo err >&2) 2>&1 | sort", "err\nout\n"),
        ("echo kept > /tmp/kept; cat < /tmp/kept", "kept\n"),
        ('cat <<< "here string"', "here string\n"),
        ("diff <(echo a) <(echo b) | tail -1", "> b\n"),
        ("cd /tmp && pwd", "/tmp\n"),
        ("{ echo grouped; }; (echo in a subshell)", "grouped\nin a subshell\n"),
        ("sleep 100 > /dev/null 2>&1 & echo on", "on\n"),
        # Dollars
        ("echo ${#HOME} ${HOME##*/} ${nobody:-none} $((6 * 7))", "10 user none 42\n"),
        ("echo $(echo inner) `echo old style`", "inner old style\n"),
        ("false; echo $?", "1\n"),
        ("set -- p q; echo $1 $# $@", "p 2 p q\n"),
        ("for i in 1 2 3; do echo -n $i; done", "123"),
        ("for i in *.py; do for n in 1 2; do echo $i.$n; done; done", "a.py.1\na.py.2\nb.py.1\nb.py.2\n"),
        ("for ((i = 0; i < 3; i++)); do printf %s $i; done", "012"),
        ("x=5; echo $x ${x}y $((x + 1))", "5 5y 6\n"),
        ("export i=7; bash -c 'echo $i'; echo $i", "7\n7\n"),
        ("printf '1 2\\n3 4\\n' | while read -r x y; do echo $y-$x; done", "2-1\n4-3\n"),
        ("f() { local name=$1; echo hello $name; }; f bob", "hello bob\n"),
        # Braces
        ("echo {1..3} {a,b}{c,d} f{x,y} {name,path}", "1 2 3 ac ad bc bd fx fy name path\n"),
        ("printf '1 2\\n' | awk '{print $2, $1}'", "2 1\n"),
        ("awk 'BEGIN { for (i = 0; i < 3; i++) s = s i; print s }'", "012\n"),
        ("""echo '{"a": 1, "b": {"c": [1, 2]}}' | python3 -c 'import json, sys; print(json.load(sys.stdin)["b"])'""",
         "{'c': [1, 2]}\n"),
        ("find . -name '*.py' -exec basename {} .py \\; | sort", "a\nb\n"),
        ("sed -n '1{p;q}' /etc/passwd | cut -c1-4", "root\n"),
        ("echo '{{.Names}}' {{json .}}", "{{.Names}} {{json .}}\n"),
        ("git log --format='%h' HEAD@{1} 2>/dev/null; echo $?", "128\n"),
        # Python's values
        ("echo {name} $name {i + 1} {d['k']!r} {n:03d}", "ada ada 100 v w 003\n"),
        ("cd {path} && echo $path/$name.txt", "/tmp/ada.txt\n"),
        ("NAME=$name bash -c 'echo $NAME'", "ada\n"),
        ("name=$name; echo $name {{name}} $$name", "ada {name} ada\n"),
        # Comments, ends of lines, other alphabets
        ("echo a # it's a comment with $name", "a\n"),
        ("echo a;", "a\n"),
        ("echo ends with a backslash \\\\", "ends with a backslash \\\n"),
        ("echo one \\\n  two \\\n  three", "one two three\n"),
        ("echo hello! !! !x 'a!b'", "hello! !! !x a!b\n"),
        ("echo 50% done %s %e2b", "50% done %s %e2b\n"),
        ('echo "Grüße ✓ 日本語 🎉" | wc -m', "14\n"),
        ("ls *.py ~/'c d.txt' [ab].py", "/home/user/c d.txt\na.py\na.py\nb.py\nb.py\n"),
        (f"echo {'y' * 140_000} | wc -c", "140001\n"),
        ("-- echo -n --quiet --", "--quiet --"),
    ],
)  # fmt: skip
def test_a_line_does_what_it_does_in_a_shell(notebook: Notebook, line: str, output: str) -> None:
    """What bash is given means what it means without IPython, and variables of the notebook change nothing unasked."""
    cell = notebook(f"r = %e2b run --no-cache --no-raise {line}")
    assert (cell.error, cell.stdout) == (None, output), cell.stderr


@pytest.mark.parametrize(
    ("body", "output"),
    [
        ("cat <<EOF\n$HOME {i} ${i}\nEOF\n", "/home/user {i} \n"),
        ("cat <<'EOF'\n$HOME `x` \\\nEOF\n", "$HOME `x` \\\n"),
        ("for i in 1 2\ndo\n\techo $i  # it's i\ndone\n", "1\n2\n"),
        ("echo what?\necho !x %y\n\n", "what?\n!x %y\n"),
    ],
)
def test_a_cell_is_a_script(notebook: Notebook, body: str, output: str) -> None:
    """Here-documents, tabs, comments and what IPython would take for its own reach bash to the letter."""
    cell = notebook(f"%%e2b --no-cache --quiet --out told  # how it is run\n{body}")
    assert (cell.error, notebook("told").value) == (None, output)


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("%e2b ls  # all of it", None),
        ("text = %e2b read 'c d.txt'  # nothing in it\ntext", ""),
        (r"text = %e2b read c\ d.txt" + "\ntext", ""),
        ("if i:\n    r = %e2b run echo {i} $y\nr.stdout", "99 2\n"),
        ("def run(i):\n    r = %e2b run echo {i} $i\n    return r.stdout\nrun(7)", "7 7\n"),
        ("said = [%e2b run echo no]" , None),
    ],
    ids=range(6),
)  # fmt: skip
def test_a_line_stands_where_ipython_lets_it(notebook: Notebook, cell: str, value: str | None) -> None:
    """Comments end the lines of words; a line may stand in a block and in a function, not within an expression."""
    ran = notebook(cell)
    if cell.startswith("said"):
        assert isinstance(ran.error, SyntaxError)
    else:
        assert ran.error is None, ran.stdout + ran.stderr
        assert value is None or ran.value == value
