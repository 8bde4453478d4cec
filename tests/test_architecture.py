"""Rules of the house that the import linter cannot see."""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "fieldstation"
DOMAINS = sorted(
    path.name
    for path in (SOURCE / "domains").iterdir()
    if path.is_dir() and path.name != "__pycache__"
)
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = {path: ".".join(path.relative_to(ROOT / "src").with_suffix("").parts) for path in FILES}
LINES_MAX = 400
PRIVATE = ("queries", "models")
TABLES = "fieldstation.tables"


@functools.cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


def imported(path: Path) -> Iterator[str]:
    """Yield every module or name that a file imports, in full."""
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = MODULES[path].split(".")
            base = ".".join(package[: len(package) - node.level]) + "." if node.level else ""
            module = f"{base}{node.module or ''}".rstrip(".")
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)


def owner(module: str) -> str | None:
    """Return the domain that a module belongs to."""
    parts = module.split(".")
    return parts[2] if parts[:2] == ["fieldstation", "domains"] and len(parts) > 2 else None


def test_the_tree_is_where_this_test_looks() -> None:
    assert len(FILES) > 80
    assert {"audit", "devices", "identity", "live", "system", "telemetry"} <= set(DOMAINS)


def test_queries_and_models_are_private_to_their_domain() -> None:
    foreign = {
        (MODULES[path], name)
        for path in FILES
        for name in imported(path)
        if owner(name) not in {None, owner(MODULES[path])}
        and name.split(".")[3:4]
        and name.split(".")[3] in PRIVATE
    }
    assert {one for one in foreign if one[0] != TABLES or "models" not in one[1]} == set()


@pytest.mark.parametrize("domain", DOMAINS)
def test_services_know_neither_the_web_framework_nor_the_database_library(domain: str) -> None:
    folder = SOURCE / "domains" / domain
    for path in [*folder.glob("service.py"), *folder.glob("service/*.py")]:
        tops = {name.split(".")[0] for name in imported(path)}
        assert not tops & {"fastapi", "starlette", "sqlalchemy"}, path


def test_only_main_mounts_routes() -> None:
    found = {
        MODULES[path]
        for path in FILES
        for name in imported(path)
        if owner(name) is not None
        and name.split(".")[3:4] == ["routes"]
        and owner(name) != owner(MODULES[path])
    }
    assert found == {"fieldstation.main"}


def test_files_are_short_and_say_what_they_are_for() -> None:
    for path in FILES:
        text = path.read_text()
        assert len(text.splitlines()) < LINES_MAX or "versions" in path.parts, path
        if text.strip():
            sentence = ast.get_docstring(ast.parse(text))
            assert sentence, f"{path} does not open with what it is for"
            assert sentence.split("\n\n")[0].rstrip().endswith((".", "?")), path


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    return [(ast.unparse(node.func), node) for node in nodes(path) if isinstance(node, ast.Call)]


def test_tasks_belong_to_a_group_and_have_a_name() -> None:
    loose = {"asyncio.create_task", "asyncio.ensure_future", "create_task", "ensure_future"}
    for path in FILES:
        for name, call in calls(path):
            assert name not in loose, f"{path}, line {call.lineno}"
            if name.endswith(".create_task"):
                named = "name" in {keyword.arg for keyword in call.keywords}
                assert named, f"{path}, line {call.lineno}"


def test_domains_do_not_commit_and_raise_no_http_errors() -> None:
    for path in FILES:
        if owner(MODULES[path]) is None or "store" in path.parts:
            continue
        names = {name for name, _ in calls(path)}
        assert not {name for name in names if name.endswith(".commit")}, path
        assert "HTTPException" not in names, path


def test_tests_never_patch_an_import_path_and_never_sleep_for_a_condition() -> None:
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    for path in tests:
        text = path.read_text()
        assert "mock.patch" not in text, path
        assert "monkeypatch.setattr" not in text, path
        if path.name != "wait_until.py":
            assert "time.sleep(" not in text, path
