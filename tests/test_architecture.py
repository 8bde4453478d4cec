"""Rules of the house that the import linter cannot see."""

import ast
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


def imported(path: Path) -> Iterator[str]:
    """Yield every module or name that a file imports, in full."""
    for node in ast.walk(ast.parse(path.read_text())):
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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_queries_and_models_are_private_to_their_domain(path: Path) -> None:
    mine = owner(MODULES[path])
    foreign = [
        name
        for name in imported(path)
        if owner(name) not in {None, mine}
        and name.split(".")[3:4]
        and name.split(".")[3] in PRIVATE
    ]
    assert foreign == [] or (MODULES[path] == TABLES and all("models" in name for name in foreign))


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


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_are_short_and_say_what_they_are_for(path: Path) -> None:
    text = path.read_text()
    if "versions" not in path.parts:
        assert len(text.splitlines()) < LINES_MAX
    if text.strip():
        sentence = ast.get_docstring(ast.parse(text))
        assert sentence, "a file opens with what it is for"
        assert sentence.split("\n\n")[0].rstrip().endswith((".", "?"))


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_tasks_belong_to_a_group_and_have_a_name(path: Path) -> None:
    assert not {
        "asyncio.create_task",
        "asyncio.ensure_future",
        "create_task",
        "ensure_future",
    } & set(calls(path))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".create_task"):
            assert "name" in {keyword.arg for keyword in node.keywords}, f"line {node.lineno}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_domains_do_not_commit_and_raise_no_http_errors(path: Path) -> None:
    if owner(MODULES[path]) is None or "store" in path.parts:
        return
    names = set(calls(path))
    assert not {name for name in names if name.endswith(".commit")}
    assert "HTTPException" not in names


def test_tests_never_patch_an_import_path_and_never_sleep_for_a_condition() -> None:
    tests = [path for path in (ROOT / "tests").rglob("*.py") if path != Path(__file__)]
    for path in tests:
        text = path.read_text()
        assert "mock.patch" not in text, path
        assert "monkeypatch.setattr" not in text, path
        if path.name != "wait_until.py":
            assert "time.sleep(" not in text, path
