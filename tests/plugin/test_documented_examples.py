"""The programs under examples/pulumi: each is run, or compiled, as the pages show it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from clonepool.testing.images import make_ext4_image
from tests.plugin import sdks
from tests.support.engine_process import OpenSite
from tests.support.plugin_project import NodeProject, YamlProject
from tests.support.pulumi_project import PulumiProject
from tests.support.site import IMAGE_BYTES
from tools import node_modules, pulumi_examples, pulumi_extras

pytestmark = [pytest.mark.slow]

FOLDERS = [folder for _, folder in pulumi_examples.folders()]
# a TypeScript program's package.json and tsconfig.json
FRAME = pulumi_examples.ROOT / "examples/pulumi-typescript"
SECRET = "sesame-sesame-1"
EXPECTED = {
    "MasterImage": {"version": 1, "size": 16 * 2**20},
    "ReplicaPool": {"pool": "web"},
    "Server": {"server": "web1"},
    "getAttachment": {"state": "attached"},
    "getImage": {"imported": "ready"},
}
MakeProject = Callable[[str], PulumiProject]


@dataclass(frozen=True, kw_only=True)
class Story:
    """One engine that all programs of a language use, one after another: by names, as users do."""

    sources: Path
    make: MakeProject

    def tell(self, language: pulumi_examples.Language) -> None:
        """Run each program; a second preview of what makes something finds nothing to do."""
        for folder in FOLDERS:
            project = self.make(folder.name)
            program = (folder / language.file).read_text()
            self.put(project, program.replace("/srv/images", str(self.sources)), language.file)
            project.run("stack", "init", project.stack)
            if "chapSecret" in program:
                project.run("config", "set", "--secret", "chapSecret", SECRET)
            project.run("up", "--skip-preview")
            self.check(folder.name, project)
            if "functions" not in folder.parts:
                project.run("preview", "--expect-no-changes")

    def put(self, project: PulumiProject, program: str, file: str) -> None:
        (project.folder / "state").mkdir(parents=True)
        if isinstance(project, NodeProject):
            shutil.copytree(FRAME, project.folder / "program")
            (project.folder / "program" / file).write_text(program)
            (project.folder / "program/Pulumi.yaml").write_text("name: trial\nruntime: nodejs\n")
            (project.folder / "program/node_modules").symlink_to(project.modules)
        elif isinstance(project, YamlProject):
            (project.folder / "program").mkdir()
            (project.folder / "program" / file).write_text(program)
        else:
            project.write(program)
            project.describe()

    def check(self, name: str, project: PulumiProject) -> None:
        outputs = project.outputs()
        if name == "ServerStorageAttachment":
            assert outputs["target"].startswith("iqn.")
            state = project.state()
            assert [] == [word for word in (SECRET, outputs["chapSecret"]) if word in state]
        elif name == "getPool":
            # two of its replicas are attached, and the stock of two is being filled again
            assert 0 <= outputs["ready"] <= 2
        else:
            assert EXPECTED[name] == outputs


@pytest.fixture
def story(tmp_path: Path, pulumi_bin: Path, plugin_bin: Path, open_site: OpenSite) -> Story:
    """A new engine, with the images' files where the examples say."""
    site = open_site()
    site.sources.mkdir()
    for name in ("app", "web"):
        make_ext4_image(
            site.sources / f"{name}.img", size_bytes=IMAGE_BYTES, files={"/etc/owner": "acme\n"}
        )

    def make(name: str) -> PulumiProject:
        return PulumiProject(
            folder=tmp_path / name,
            pulumi_bin=pulumi_bin,
            plugin_folders=[plugin_bin],
            variables={"CLONEPOOL_ENDPOINT": site.engine.endpoint},
        )

    return Story(sources=site.sources, make=make)


@pytest.mark.pulumi
@pytest.mark.tgt
def test_the_programs_on_the_dynamic_classes(story: Story) -> None:
    story.tell(pulumi_examples.IN_PROCESS)


@pytest.mark.pulumi
@pytest.mark.tgt
@pytest.mark.gensdk
def test_the_programs_on_the_generated_python_sdk(story: Story, tmp_path: Path) -> None:
    path = sdks.search_path(sdks.python_sdk(tmp_path / "sdk"))

    def make(name: str) -> PulumiProject:
        project = story.make(name)
        return replace(project, variables={**project.variables, "PYTHONPATH": path})

    replace(story, make=make).tell(language("sdk.py"))


@pytest.mark.pulumi
@pytest.mark.tgt
@pytest.mark.pulumi_yaml
def test_the_yaml_programs_and_the_import_commands(
    story: Story, tmp_path: Path, yaml_bin: Path
) -> None:
    """Another stack takes over what the programs made, by the commands that the pages show."""

    def make(name: str) -> PulumiProject:
        project = story.make(name)
        return YamlProject(
            folder=project.folder,
            pulumi_bin=project.pulumi_bin,
            plugin_folders=[*project.plugin_folders, yaml_bin],
            variables=project.variables,
        )

    replace(story, make=make).tell(language("Pulumi.yaml"))

    taken = make("taken-over")
    taken.create("resources: {}\n")
    for folder in FOLDERS:
        if pulumi_examples.importing(folder):
            command = (folder / "import.sh").read_text().splitlines()[-1].split()
            options = ("--generate-code=false", "--protect=false", "--yes")
            assert "= 1 imported" in taken.run(*command[1:], *options).text


@pytest.mark.gensdk
@pytest.mark.go
def test_the_go_programs_compile(tmp_path: Path) -> None:
    module = sdks.go_sdk(tmp_path / "sdk")
    for folder in FOLDERS:
        (module / folder.name.lower()).mkdir()
        shutil.copy(folder / "main.go", module / folder.name.lower() / "main.go")

    sdks.run(["go", "vet", "-mod=readonly", "./..."], cwd=module)


@pytest.fixture(scope="module")
def typescript(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``node_modules`` with the compiled SDK."""
    out = tmp_path_factory.mktemp("typescript")
    return sdks.typescript_sdk(out, node_modules=node_modules.ensure())


@pytest.mark.gensdk
@pytest.mark.npm
def test_the_typescript_programs_compile(tmp_path: Path, typescript: Path) -> None:
    program = tmp_path / "program"
    program.mkdir()
    (program / "node_modules").symlink_to(typescript)
    files = [shutil.copy(each / "index.ts", program / f"{each.name}.ts") for each in FOLDERS]
    settings = (FRAME / "tsconfig.json").read_text()
    listed = ", ".join(f'"{file}"' for file in files)
    (program / "tsconfig.json").write_text(settings.replace('"index.ts"', listed))

    sdks.run([str(typescript / ".bin/tsc"), "--noEmit"], cwd=program)


@pytest.mark.pulumi
@pytest.mark.tgt
@pytest.mark.gensdk
@pytest.mark.npm
@pytest.mark.go
def test_the_typescript_programs(story: Story, node_bin: Path, typescript: Path) -> None:
    def make(name: str) -> PulumiProject:
        project = story.make(name)
        return NodeProject(
            folder=project.folder,
            pulumi_bin=project.pulumi_bin,
            plugin_folders=[*project.plugin_folders, node_bin],
            variables=project.variables,
            modules=typescript,
        )

    replace(story, make=make).tell(language("index.ts"))


OF_THE_IMAGE = {
    "python": ("clonepool_sdk/master_image.py", "web = clonepool.MasterImage("),
    "nodejs": ("masterImage.ts", "const web = new clonepool.MasterImage("),
    "go": ("masterImage.go", "web, err := clonepool.NewMasterImage("),
}


@pytest.mark.gensdk
@pytest.mark.parametrize("made", OF_THE_IMAGE)
def test_an_sdk_s_comments_hold_the_program_in_its_own_language(tmp_path: Path, made: str) -> None:
    """Pulumi's generators understand the shortcodes, and leave nothing of them standing."""
    schema = pulumi_examples.ROOT / "schema.json"
    pulumi_extras.generate_sdk(made, schema=schema, out=tmp_path)
    file, _ = OF_THE_IMAGE[made]
    (found,) = tmp_path.rglob(file)
    text = found.read_text()

    assert {name: name == made for name in OF_THE_IMAGE} == {
        name: line in text for name, (_, line) in OF_THE_IMAGE.items()
    }
    assert "pulumi import clonepool:index:MasterImage web web" in text
    assert "{{%" not in text


def language(file: str) -> pulumi_examples.Language:
    """The language of a file's name."""
    return next(each for each in pulumi_examples.LANGUAGES if each.file == file)
