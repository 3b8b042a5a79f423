"""Run other people's linters on the workflows: zizmor (security) and actionlint (the rest).

zizmor comes with requirements.lock. actionlint is the one on PATH, else it is built, once, from the
pinned module, as the Pulumi command line is; where there is no `go` it is left out, and said so.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools import check_workflows, pulumi_cli
from tools.pulumi_cli import Failed, GoCommand

ACTIONLINT = GoCommand(
    name="actionlint",
    module="actionlint",
    package="github.com/rhysd/actionlint/cmd/actionlint",
)


def find_actionlint() -> str | None:
    """Its path; None where there is none and no `go` to build it with. Raises Failed."""
    found = shutil.which(ACTIONLINT.name)
    if found is not None:
        return found
    if not pulumi_cli.is_built(ACTIONLINT):
        if shutil.which("go") is None:
            return None
        folder = pulumi_cli.cache_folder()
        with pulumi_cli.locked(), tempfile.TemporaryDirectory(prefix="build-", dir=folder) as name:
            pulumi_cli.build(ACTIONLINT, scratch=Path(name))
    return str(pulumi_cli.cache_folder() / "bin" / ACTIONLINT.name)


def main() -> int:
    paths = [str(path) for path in check_workflows.files(check_workflows.ROOT)]
    # it asks GitHub about actions unless told not to
    zizmor = [str(Path(sys.executable).parent / "zizmor"), "--offline", "--quiet", *paths]
    commands = [zizmor]
    try:
        actionlint = find_actionlint()
    except Failed as error:
        print(f"actionlint could not be built: {error}", file=sys.stderr)
        return 1
    if actionlint is None:
        print("neither actionlint nor go is installed: workflows were looked over by zizmor only")
    else:
        commands.append([actionlint, *paths])
    return max(subprocess.run(argv, check=False).returncode for argv in commands) and 1


if __name__ == "__main__":
    sys.exit(main())
