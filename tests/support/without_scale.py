"""``python without_scale.py DIRECTORY``: what works where asyncpg and hiredis are not installed.

Every module is imported, a gateway in memory and one on SQLite in that directory answer, and commands say what they
lack: a line each.
"""

import asyncio
import sys
from importlib import import_module
from io import StringIO
from pathlib import Path
from pkgutil import walk_packages
from typing import Final

MISSING: Final = ("asyncpg", "hiredis")
sys.modules.update(dict.fromkeys(MISSING))  # type: ignore[arg-type] # before anything of ours: an import of them fails

import click  # noqa: E402 - see above

import penstock  # noqa: E402 - likewise
from penstock.cli.main import run  # noqa: E402 - likewise
from penstock.compose import open_gateway  # noqa: E402 - likewise
from penstock.config.load import load  # noqa: E402 - likewise
from penstock.providers.registry import KINDS  # noqa: E402 - likewise
from penstock.server.app import DataPlane  # noqa: E402 - likewise
from penstock.server.replies import row_of  # noqa: E402 - likewise
from tests.support.asgi_client import Asking, http_scope  # noqa: E402 - likewise

PLAIN: Final = ("memory:", "sqlite:here.db")
SCALED: Final = (
    "store: postgresql://u@127.0.0.1:1/db",
    "store: 'postgresql://u@127.0.0.1:1/db'\nshared: 'redis://127.0.0.1:1/0'",
)
BODY: Final = b'{"model": "sim-embed", "input": "x"}'


async def ask(config: Path) -> int:
    """The status of a question to a gateway with that config."""
    gateway = await open_gateway(load(config, {}, registry=KINDS), lambda error: row_of(error).status)
    await gateway.start()
    try:
        headers = [(b"content-length", b"%d" % len(BODY))]
        return (await Asking(DataPlane(gateway), http_scope("/v1/embeddings", headers), [BODY]).done()).status
    finally:
        await gateway.close()


def main(directory: Path) -> None:
    """All of it."""
    for module in walk_packages(penstock.__path__, "penstock."):
        if not module.name.endswith("__main__"):
            import_module(module.name)
    config = directory / "penstock.yaml"
    for store in PLAIN:
        config.write_text(f"store: '{store}'\n", "utf-8")
        click.echo(f"{store} {asyncio.run(ask(config))}")
    for text in SCALED:
        config.write_text(f"{text}\n", "utf-8")
        for command in (["serve"], ["keys", "list"], ["spend"]):
            sys.stderr = said = StringIO()
            code = run([*command, "-c", str(config)])
            sys.stderr = sys.__stderr__
            click.echo(f"{code} {said.getvalue().strip()}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
