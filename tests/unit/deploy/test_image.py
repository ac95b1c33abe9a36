"""The Dockerfile: as little as needed, as nobody, for the gateway that there is."""

from pathlib import Path

import yaml

from penstock.cli import alive
from penstock.cli.main import COMMANDS
from tests.support.dockerfile import Instruction, in_context, stages

ROOT = Path(__file__).parents[3]
BUILD, FINAL = stages(ROOT / "Dockerfile")
DEPLOYMENT = yaml.safe_load((ROOT / "deploy/kubernetes/base/deployment.yaml").read_text("utf-8"))


def _the(stage: list[Instruction], name: str) -> Instruction:
    (found,) = [each for each in stage if each.name == name]
    return found


def test_nothing_needs_a_shell() -> None:
    """What is run, at the build and later, is run as it is: the image may lose its shell."""
    for each in [*BUILD, *FINAL]:
        assert each.words


def test_it_runs_as_nobody_of_the_host() -> None:
    """The user is a number other than root's, the same as in Kubernetes, and owns the place of the store."""
    user = _the(FINAL, "USER").rest
    security = DEPLOYMENT["spec"]["template"]["spec"]["securityContext"]
    assert user == f"{security['runAsUser']}:{security['runAsGroup']}" == "10001:10001"
    (made,) = [each.words for each in FINAL if each.name == "RUN"]
    assert {"--owner=10001", "--group=10001", "--mode=0700"} < set(made)
    assert made[-1] == _the(FINAL, "WORKDIR").rest == _the(FINAL, "VOLUME").rest


def test_what_is_built_with_stays_behind() -> None:
    """The image takes the environment and nothing else from the build; installed is what the lock has, by hash."""
    (copied,) = [each for each in FINAL if each.name == "COPY"]
    assert copied.rest == "--from=build /opt/penstock /opt/penstock"
    locked, own = [each.words for each in BUILD if each.name == "RUN" and "install" in each.words]
    assert {"--require-hashes", "--only-binary", "requirements/run.txt"} < set(locked)
    assert {"--no-deps", "--no-build-isolation"} < set(own)


def test_the_context_has_what_is_copied_and_no_more() -> None:
    """Sources of COPY pass .dockerignore; tests, stores, secrets and the history do not."""
    ignores = ROOT / ".dockerignore"
    sources = [ROOT / source for each in BUILD if each.name == "COPY" for source in each.words[:-1]]
    for source in sources:
        files = (
            [each for each in source.rglob("*.*") if "__pycache__" not in each.parts] if source.is_dir() else [source]
        )
        assert all(in_context(str(each.relative_to(ROOT)), ignores) for each in files)
    sent = {each for each in ROOT.iterdir() if in_context(each.name, ignores)}
    assert sent == {source for source in sources if source.parent == ROOT}
    for path in (
        "penstock.db",
        ".git/config",
        ".venv/bin/python",
        "requirements/dev.txt",
        "src/penstock/__pycache__/x.pyc",
        "penstock.yaml",
    ):
        assert not in_context(path, ignores)


def test_it_serves_and_says_whether_it_lives() -> None:
    """The entry point is the command line, the ports are those of the planes, the health check asks the admin plane."""
    assert _the(FINAL, "ENTRYPOINT").words == ["penstock"]
    assert _the(FINAL, "CMD").words[0] in COMMANDS
    assert _the(FINAL, "EXPOSE").words == ["8787", str(alive.ADMIN_PORT)]
    assert _the(FINAL, "HEALTHCHECK").words == ["python", "-m", alive.__name__]
