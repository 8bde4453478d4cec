"""``fieldstation user``: accounts, of a running station or of one that stands still."""

from typing import Annotated, Any

import typer

from fieldstation.cli.options import DataDir, settings_of

app = typer.Typer(help="Create accounts, set passwords, list users.", no_args_is_help=True)

Email = Annotated[str, typer.Argument(help="The user's e-mail address.")]
AskPassword = Annotated[
    bool, typer.Option("--ask-password", help="Type the password; otherwise one is generated.")
]


@app.command()
def create(
    email: Email,
    *,
    username: Annotated[str | None, typer.Option(help="A short name to log in with.")] = None,
    role: Annotated[
        str, typer.Option(help="viewer, operator, admin or owner of the first organization.")
    ] = "owner",
    superuser: Annotated[bool, typer.Option("--superuser", help="May do everything.")] = False,
    ask_password: AskPassword = False,
    data_dir: DataDir = None,
) -> None:
    """Create a user in the station's first organization.

    Example: fieldstation user create ada@lab.org --username ada --superuser
    """
    password = typed_password() if ask_password else None
    created = perform(
        "user.create",
        data_dir,
        email=email,
        username=username,
        password=password,
        role=role,
        superuser=superuser,
    )
    print(f"Created {created['email']} ({created['id']}).")
    if password is None:
        print(f"Password (shown only now): {created['password']}")


@app.command("set-password")
def set_password(
    login: Annotated[str, typer.Argument(help="E-mail address or username.")],
    *,
    ask_password: AskPassword = False,
    data_dir: DataDir = None,
) -> None:
    """Give a user a new password; their sessions end.

    Example: fieldstation user set-password ada --ask-password
    """
    password = typed_password() if ask_password else None
    changed = perform("user.set_password", data_dir, login=login, password=password)
    print("Password changed; all sessions of this user have ended.")
    if password is None:
        print(f"Password (shown only now): {changed['password']}")


@app.command("list")
def list_users(*, data_dir: DataDir = None) -> None:
    """List all users of the station, oldest first.

    Example: fieldstation user list
    """
    after_id: str | None = None
    while users := perform("user.list", data_dir, after_id=after_id):
        for user in users:
            state = "" if user["is_active"] else "  (inactive)"
            print(f"{user['id']}  {user['email']}{state}")
        after_id = users[-1]["id"]


def typed_password() -> str:
    return typer.prompt("Password", hide_input=True, confirmation_prompt=True)


def perform(operation: str, data_dir: DataDir, **arguments: Any) -> Any:
    from fieldstation.cli.control import perform_operation

    return perform_operation(settings_of(data_dir=data_dir), operation, arguments)
