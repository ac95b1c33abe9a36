"""What an operator does while it serves: keys, restarts, reloads; and what nobody may ever find afterwards."""

import signal
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.support.gateway_process import ADMIN_TOKEN, GatewayProcess, free_ports, gateway_process, wait_for
from tests.support.plain_gateway import ask, plain_config, question
from tests.support.sdk_gateway import UPSTREAM_KEY
from tests.support.upstream import Upstream

pytestmark = pytest.mark.e2e


@pytest.fixture
def running(up: Upstream, tmp_path: Path) -> Iterator[GatewayProcess]:
    """One that serves, without keys."""
    with gateway_process(tmp_path, **plain_config(up)) as gateway:
        yield gateway


# --- keys


def test_keys_take_effect_while_it_serves(running: GatewayProcess) -> None:
    """The first key ends open mode; a revoked one is a stranger's; the list shows both and no key."""
    assert ask(running, "open").status_code == 200
    assert "OPEN" in running.stderr
    web = running.create_key("web", "--team", "shop")
    app = running.create_key("app", "--models", "chat", "--rpm", "1")
    assert ask(running, "open").status_code == 401
    assert [ask(running, "a", web).status_code, ask(running, "a", app).status_code] == [200, 200]
    assert ask(running, "b", app).status_code == 429
    running.command("keys", "revoke", "web")
    assert ask(running, "a", web).status_code == 401
    running.command("keys", "revoke", "app")
    assert ask(running, "a").status_code == 401, "open mode came back"
    listed = running.json("keys", "list")["rows"]
    assert {row["name"]: row["state"] for row in listed} == {"web": "revoked", "app": "revoked"}
    assert web not in str(listed)


def test_keys_changed_behind_its_back_take_effect(running: GatewayProcess) -> None:
    """What another process does to the store reaches a server that it cannot reach, within seconds."""
    alone = running.directory / "alone.yaml"
    document = yaml.safe_load(running.config.read_text())
    document["server"]["admin_listen"] = f"127.0.0.1:{free_ports()[1]}"
    alone.write_text(yaml.safe_dump(document))
    elsewhere = GatewayProcess(running.directory)
    elsewhere.config = alone
    key = elsewhere.create_key("web")
    wait_for(lambda: ask(running, "a").status_code == 401, "the end of open mode")
    assert ask(running, "a", key).status_code == 200
    elsewhere.command("keys", "revoke", "web")
    wait_for(lambda: ask(running, "a", key).status_code == 401, "the revocation")


def test_an_expired_key_is_a_strangers(running: GatewayProcess) -> None:
    """From its end on, without anybody doing anything."""
    for lasts_s in (3, 10, 30):  # on a machine that is slow to tell of it, one may have ended before it is used
        key = running.create_key(f"short-{lasts_s}", "--expires", f"{lasts_s}s")
        if ask(running, "a", key).status_code == 200:
            break
    else:
        pytest.fail("no key was ever let in")
    wait_for(lambda: ask(running, "a", key).status_code == 401, "its end", 2 * lasts_s)
    assert {row["state"] for row in running.json("keys", "list")["rows"]} == {"expired"}


# --- restart and reload


def test_answers_results_and_keys_survive_a_restart(running: GatewayProcess, up: Upstream) -> None:
    """An exact hit is still one, a repeat under an Idempotency-Key still a repeat, a key still a key."""
    key = running.create_key("web")
    ask(running, "kept", key)
    once = ask(running, "once", key, cache_control="no-store", idempotency_key="k1")
    assert running.stop() == 0
    running.start()
    again = ask(running, "kept", key)
    assert again.headers["x-penstock-cache"] == "exact"
    repeat = ask(running, "once", key, cache_control="no-store", idempotency_key="k1")
    assert (repeat.content, repeat.headers["idempotent-replayed"]) == (once.content, "true")
    assert len(up.calls) == 2
    assert running.spend("model")[1]["requests"] == 4


def test_a_purge_survives_a_restart(running: GatewayProcess, up: Upstream) -> None:
    """What was forgotten does not come back from the disk."""
    ask(running, "kept")
    running.command("cache", "purge", "--all")
    assert running.json("cache", "stats")["total"]["entries"] == 0
    assert running.stop() == 0
    running.start()
    assert ask(running, "kept").headers["x-penstock-cache"] == "miss"
    assert len(up.calls) == 2


def test_sighup_reloads_and_an_invalid_file_does_not(running: GatewayProcess, up: Upstream) -> None:
    """A new model is served from then on; a file with mistakes is refused whole, and named; the old one serves on."""
    good = plain_config(up)
    good["models"]["more"] = {"deployments": [{"provider": "up"}]}
    running.configure(**good)
    running.signal(signal.SIGHUP)
    wait_for(lambda: ask(running, "a", model="more").status_code == 200, "the new model")

    bad = good | {"models": {"chat": {"deployments": [{"provider": "nowhere"}]}}, "colour": "red"}
    running.configure(**bad)
    running.signal(signal.SIGHUP)
    wait_for(lambda: "colour" in running.stderr, "the refusal")
    assert "models.chat.deployments[0].provider" in running.stderr
    assert ask(running, "b", model="more").status_code == 200
    status, body = running.admin("/admin/reload", "POST")
    assert status == 400
    assert "models.chat.deployments[0].provider" in body
    running.command("check", code=2)
    assert ask(running, "c", model="more").status_code == 200


def test_what_is_in_flight_survives_a_reload(running: GatewayProcess, up: Upstream) -> None:
    """A stream that began before goes on behind a reload to its end, though its model is gone."""
    up.hold()
    up.script.stream(["it ", "is ", "so"], gap_s=0.01)
    with httpx2.stream("POST", f"{running.base_url}/chat/completions", json=question("a", stream=True)) as answer:
        lines = answer.iter_lines()
        next(lines)
        other = plain_config(up)
        other["models"] = {"more": {"deployments": [{"provider": "up"}]}}
        running.configure(**other)
        running.signal(signal.SIGHUP)
        wait_for(lambda: ask(running, "b").status_code == 404, "the reload")
        up.release()
        assert [line for line in lines if line][-1] == "data: [DONE]"


# --- secrets


def test_no_secret_and_no_prompt_is_left_anywhere(running: GatewayProcess, up: Upstream) -> None:
    """Not on stderr, in metrics, in error bodies, or in the store; only answers are stored, and keys as hashes."""
    key = running.create_key("web")
    prompt, secret_answer = "my-prompt-canary", "my-answer-canary"
    up.script.reply(secret_answer).fail(500, prompt).fail(500, prompt).fail(401, f"{UPSTREAM_KEY} {prompt}")
    up.script.raw(b"no json " + prompt.encode()).raw(b"no json " + prompt.encode())
    assert secret_answer in ask(running, prompt, key).text
    told = [ask(running, f"{prompt} {number}", key, idempotency_key=f"i{number}").text for number in range(3)]
    told.append(ask(running, prompt, "ps-stranger-canary").text)
    told.append(ask(running, prompt, key, model="none").text)
    headers = {"authorization": f"Bearer {key}"}
    told.extend(
        httpx2.post(f"{running.base_url}/chat/completions", content=body, headers=headers).text
        for body in (b'{"model":"chat","messages":"' + prompt.encode() + b'"}', b'{"' + prompt.encode())
    )
    assert all('"error"' in body for body in told)
    running.spend("model")
    told += [running.metrics(), running.admin("/admin/config")[1], running.command("keys", "list")]
    assert running.stop() == 0

    written = b"".join(path.read_bytes() for path in running.directory.glob("penstock.db*"))
    assert secret_answer.encode() in written, "this search would find what is stored"
    for canary in (prompt, key, UPSTREAM_KEY, "ps-stranger-canary", ADMIN_TOKEN):
        assert not [body for body in told if canary in body], canary
        assert canary not in running.stderr
        assert canary.encode() not in written


def test_the_admin_plane_asks_for_its_token(running: GatewayProcess) -> None:
    """Health and metrics need none; everything under /admin does, also while no key exists."""
    for path in ("/healthz", "/readyz", "/metrics"):
        assert running.admin(path, token="")[0] == 200
    for path in ("/admin/config", "/admin/spend", "/admin/keys"):
        assert running.admin(path, token="wrong")[0] == 401
        assert running.admin(path)[0] == 200


def test_head_is_answered(running: GatewayProcess) -> None:
    """A load balancer may ask with HEAD, again and again over one connection; on both planes."""
    for origin, path in ((f"http://127.0.0.1:{running.admin_port}", "/readyz"), (running.origin, "/v1/models")):
        with httpx2.Client(base_url=origin, timeout=10) as http:
            answers = [http.head(path), http.head(path), http.get(path)]
        assert [(answer.status_code, bool(answer.content)) for answer in answers] == [
            (200, False), (200, False), (200, True),
        ]  # fmt: skip
