"""The tree of commands. Each is named by its path, so only the one that runs is imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, Final

from cyclopts import App, CycloptsError, Parameter

from clonepool import __version__
from clonepool.cli import OK
from clonepool.errors import InvalidArgument

_HELP: Final = "Server storage in milliseconds: pre-cloned volumes from a pool, attached on demand."
_EPILOGUE: Final = (
    "Every command takes --endpoint unix:///path or tcp://host:port (or CLONEPOOL_ENDPOINT), "
    "several nodes of an engine separated by commas. "
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 no engine answers, "
    "4 a forecast holds what --fail-on names."
)
_HELP_FLAGS: Final = frozenset({"--help", "-h"})
_TOP: Final[Mapping[str, str]] = MappingProxyType(
    {
        "serve": "clonepool.cli.serve:serve",
        "doctor": "clonepool.cli.doctor:doctor",
        "status": "clonepool.cli.status:status",
        "capacity": "clonepool.cli.capacity:capacity",
        "attach": "clonepool.cli.attach:attach",
        "events": "clonepool.cli.events:events",
    }
)
# commands that have a command of their own: imported only when they are what runs
_BRANCHES: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = MappingProxyType(
    {
        "release": (
            "clonepool.cli.attach:release",
            {"undo": "clonepool.cli.attach:undo_release"},
        ),
    }
)
_GROUPS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = MappingProxyType(
    {
        "image": (
            "Master images: golden images that replicas are cloned from.",
            {
                "list": "clonepool.cli.images:list_images",
                "show": "clonepool.cli.images:show_image",
                "create": "clonepool.cli.images:create_image",
                "delete": "clonepool.cli.images:delete_image",
            },
        ),
        "pool": (
            "Replica pools: clones made ahead of time.",
            {
                "list": "clonepool.cli.pools:list_pools",
                "show": "clonepool.cli.pools:show_pool",
                "create": "clonepool.cli.pools:create_pool",
                "delete": "clonepool.cli.pools:delete_pool",
                "reset": "clonepool.cli.pools:reset_pool",
                "watch": "clonepool.cli.pool_watch:watch_pool",
            },
        ),
        "server": (
            "The inventory of servers.",
            {
                "list": "clonepool.cli.servers:list_servers",
                "show": "clonepool.cli.servers:show_server",
                "create": "clonepool.cli.servers:create_server",
                "delete": "clonepool.cli.servers:delete_server",
            },
        ),
        "attachment": (
            "Attachments: a server's storage, allocated to a system user.",
            {
                "list": "clonepool.cli.attachments:list_attachments",
                "show": "clonepool.cli.attachments:show_attachment",
            },
        ),
        "hold": (
            "Holds: ready replicas kept for whoever brings a ticket.",
            {
                "create": "clonepool.cli.holds:create_hold",
                "list": "clonepool.cli.holds:list_holds",
                "show": "clonepool.cli.holds:show_hold",
                "release": "clonepool.cli.holds:release_hold",
            },
        ),
        "volume": (
            "Volumes: replicas and what became of them.",
            {
                "list": "clonepool.cli.volumes:list_volumes",
                "show": "clonepool.cli.volumes:show_volume",
                "retry": "clonepool.cli.volumes:retry_volume",
                "destroy": "clonepool.cli.volumes:destroy_volume",
            },
        ),
        "scrub": (
            "Scrubbing: erasing released volumes.",
            {
                "run": "clonepool.cli.scrub:run_scrub",
                "runs": "clonepool.cli.scrub:list_runs",
                "records": "clonepool.cli.scrub:list_records",
            },
        ),
        "audit": (
            "Who had which volume, and how it was erased: a chain that can be checked.",
            {
                "export": "clonepool.cli.audit:export_audit",
                "verify": "clonepool.cli.audit:verify_audit",
            },
        ),
        "node": (
            "The engines that share one database.",
            {
                "list": "clonepool.cli.nodes:list_nodes",
                "show": "clonepool.cli.nodes:show_node",
                "drain": "clonepool.cli.nodes:drain_node",
                "undrain": "clonepool.cli.nodes:undrain_node",
                "forget": "clonepool.cli.nodes:forget_node",
            },
        ),
        "orphan": (
            "Objects on a storage that no row accounts for.",
            {
                "list": "clonepool.cli.orphans:list_orphans",
                "delete": "clonepool.cli.orphans:delete_orphan",
            },
        ),
        "forecast": (
            "What a plan will do to storage, before it is carried out.",
            {
                "pulumi": "clonepool.cli.forecast:forecast_pulumi",
                "terraform": "clonepool.cli.forecast:forecast_terraform",
            },
        ),
        "migrate": (
            "From one of Clonepool's faces to another.",
            {"pulumi": "clonepool.cli.migrate:migrate_pulumi"},
        ),
        "database": (
            "Where the engine's state is kept.",
            {
                "migrate": "clonepool.cli.database:migrate_database",
                "restored": "clonepool.cli.database:restored_database",
            },
        ),
        "operation": (
            "Background work of the engine.",
            {
                "list": "clonepool.cli.operations:list_operations",
                "show": "clonepool.cli.operations:show_operation",
                "cancel": "clonepool.cli.operations:cancel_operation",
            },
        ),
        "terraform": (
            "Clonepool's provider for Terraform and OpenTofu.",
            {"install": "clonepool.cli.terraform:install"},
        ),
    }
)


def build(*, whole: bool = False, first: str = "") -> App:
    """The tree of commands, none of them imported yet; ``whole`` imports all, for their help.

    ``first`` is the first word of the command line.
    """
    app = App(
        name="clonepool",
        help=_HELP,
        help_epilogue=_EPILOGUE,
        version=f"clonepool {__version__}",
        default_parameter=Parameter(negative=(), show_default=False),
        result_action="return_value",
        suppress_keyboard_interrupt=False,
    )
    for name, path in _TOP.items():
        app.command(_load(path) if whole else path, name=name)
    for name, (path, commands) in _BRANCHES.items():
        app.command(_branch(name, path, commands) if whole or first == name else path, name=name)
    for name, (text, commands) in _GROUPS.items():
        group = App(name=name, help=text)
        for command, path in commands.items():
            group.command(_load(path) if whole else path, name=command)
        app.command(group)
    return app


def _branch(name: str, path: str, commands: Mapping[str, str]) -> App:
    itself = _load(path)
    branch = App(name=name, help=itself.__doc__)
    branch.default(itself)
    for command, below in commands.items():
        branch.command(_load(below), name=command)
    return branch


def run(arguments: list[str]) -> int:
    """Run one command line. Raises InvalidArgument where it is wrong, and what the command does."""
    helps = not arguments or bool(_HELP_FLAGS & set(arguments)) or arguments[-1] in _GROUPS
    try:
        tree = build(whole=helps, first=next(iter(arguments), ""))
        code = tree(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        said = str(error).rstrip()
        stop = "" if said.endswith((".", "?", "!")) else "."
        raise InvalidArgument(f"{said}{stop} See: {_help_command(arguments)}") from None
    return code if isinstance(code, int) else OK


def _load(path: str) -> Callable[..., Any]:
    module, _, name = path.partition(":")
    function: Callable[..., Any] = getattr(import_module(module), name)
    return function


def _help_command(arguments: list[str]) -> str:
    """The page that explains the command line that was meant, as far as it is known."""
    known = []
    if arguments and arguments[0] in {*_TOP, *_BRANCHES, *_GROUPS}:
        known.append(arguments[0])
        if arguments[0] in _GROUPS and arguments[1:2] and arguments[1] in _GROUPS[arguments[0]][1]:
            known.append(arguments[1])
    return " ".join(["clonepool", *known, "--help"])
