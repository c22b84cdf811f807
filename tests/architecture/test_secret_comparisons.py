"""Python compares secrets in constant time: `==` on something with a secret's name needs a reason."""

import ast
from pathlib import Path

import pytest

INFERENCE = Path(__file__).resolve().parents[2] / "src" / "deepreduce" / "inference"
NAMES = {
    "token", "identity", "secret", "password", "credential", "key", "keys", "store_key", "mask", "masks", "delta",
    "seed", "labels", "shares", "pads", "rho", "token_hash", "transcript", "batch_id", "tag", "mac", "signature",
}  # fmt: skip
# (path below inference/, expression): why the time may depend on it. Whole paths: some files have a namesake.
REASONS = {
    (
        "server/material_pool.py",
        "material.transcript != transcript",
    ): "a hash of frames that both have seen, of the client's own batch",
    ("identity.py", "identity == ANONYMOUS"): "the name of an account, after its credentials were accepted",
}


def named(node: ast.expr) -> str:
    """The last part of a name: of ``self._token.encode()`` it is ``token``."""
    while isinstance(node, ast.Call | ast.Subscript):
        node = node.func if isinstance(node, ast.Call) else node.value
        if isinstance(node, ast.Attribute) and node.attr in ("encode", "tobytes", "hex", "digest", "hexdigest"):
            node = node.value
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name.strip("_")


def comparisons(source: str) -> list[str]:
    """Expressions that compare a secret by `==` or `!=`, or look it up by `in`, other than with None."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            timed = any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops)
            lengths = any(isinstance(side, ast.Constant) for side in sides)  # "== 0", "== 'fused'"
            if timed and not lengths and any(named(side) in NAMES for side in sides):
                found.append(ast.unparse(node))
    return found


def found_below(folder: Path) -> set[tuple[str, str]]:
    """(path below ``folder``, expression) of every comparison that needs a reason."""
    return {
        (path.relative_to(folder).as_posix(), expression)
        for path in folder.rglob("*.py")
        for expression in comparisons(path.read_text())
    }


def test_secrets_are_compared_in_constant_time():
    """Every other one uses hmac.compare_digest; every reason is still needed."""
    assert found_below(INFERENCE) == set(REASONS)


def test_a_namesake_is_another_file(tmp_path):
    """A file called as one with a reason, elsewhere, has no reason."""
    for path, expression in REASONS:
        planted = tmp_path / "elsewhere" / path
        planted.parent.mkdir(parents=True, exist_ok=True)
        planted.write_text(f"def f(): return {expression}")
    assert len(found_below(tmp_path)) == len(REASONS) and not found_below(tmp_path) & set(REASONS)


@pytest.mark.parametrize("name", ["access.py", "tokens.py"])
def test_tokens_are_compared_in_constant_time(name):
    assert "hmac.compare_digest(" in (INFERENCE / "access" / name).read_text()


@pytest.mark.parametrize(
    "planted", ["token == hello.token", "self._secret != found", "key.tobytes() == other", "x == identity.hex()"]
)
def test_a_planted_comparison_is_found(planted):
    assert comparisons(f"def f(): return {planted}") == [planted]


def test_nothing_looks_secrets_up_in_a_table():
    """`numpy.unpackbits` reads a table at the place that each byte names."""
    found = [path.name for path in INFERENCE.rglob("*.py") if "np.unpackbits(" in path.read_text()]
    assert not found
