"""What one setting must know of another. Every mistake is noted; what follows from a mistake noted before is not."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from penstock.config.budgets import Around, check_budget
from penstock.config.checked import Checked
from penstock.config.completion import SIMULATED
from penstock.config.document import Path
from penstock.config.endpoints import at_home, base_urls, billing_currency, is_priced
from penstock.config.fields import nearest
from penstock.config.kinds import Kind
from penstock.config.prices import price_books
from penstock.config.schema import DEFAULT_FX, File, ModelSection, ProviderSection
from penstock.config.stepping_down import check_cheaper
from penstock.config.units import is_loopback

_RESERVED: Final = ("model", "messages", "stream")
"""Request fields that an alias may not set."""


def check(subject: Checked) -> None:
    """Note every mistake."""
    _check_server(subject)
    _check_shared(subject)
    _check_kinds(subject)
    for path, section, kind in subject.providers():
        _check_urls(subject, path, section, kind)
        _check_key(subject, path, section, kind)
        _check_ca_file(subject, path, section)
        _check_price_book(subject, path, section)
        _check_simulation(subject, path, section, kind)
        _check_centre(subject, path, section, kind)
        _check_balance(subject, path, section, kind)
    _check_money(subject)
    _check_offer(subject)
    for name, model in subject.file.models.items():
        _check_deployments(subject, name, model)
        _check_baseline(subject, name, model)
        check_cheaper(subject, name, model)
    _check_aliases(subject)
    _check_static_keys(subject)
    _check_budgets(subject)
    _check_sensitive(subject)
    _check_alerts(subject)
    _check_telemetry(subject)


def _check_server(subject: Checked) -> None:
    server = subject.file.server
    for name, address in (("listen", server.listen), ("admin_listen", server.admin_listen)):
        if not is_loopback(address) and server.admin_token is None and subject.intact("server", "admin_token"):
            what = "is reachable from other machines; set server.admin_token too, or listen on 127.0.0.1"
            subject.wrong(("server", name), what)
    for index, name in enumerate(server.edges):
        if "/" in name:
            subject.wrong(("server", "edges", index), "has a `/`, which divides edges from tenants; rename the key")
    if server.listen == server.admin_listen and server.listen.port:
        subject.wrong(("server", "admin_listen"), "is the same address as server.listen; use another port")


def _check_shared(subject: Checked) -> None:
    shared, store = subject.file.shared, subject.file.store
    if shared is not None and not store.startswith("postgres") and subject.intact("store"):
        what = "needs a store that all nodes can write; set store: postgresql://USER:PASSWORD@HOST/DATABASE"
        subject.wrong(("shared",), what)


def _check_kinds(subject: Checked) -> None:
    known = tuple(sorted(subject.kinds))
    for name, section in subject.file.providers.items():
        if section.kind not in subject.kinds:
            what = f"is no kind of provider; use {', '.join(known)}{nearest(section.kind, known)}"
            subject.wrong(("providers", name, "kind"), what)


def _check_urls(subject: Checked, path: Path, section: ProviderSection, kind: Kind) -> None:
    if not subject.intact(*path):
        return
    urls = base_urls(section, kind)
    if not urls and not section.dialects:
        subject.wrong((*path, "base_url"), f"is missing, and {kind.name} has no URL of its own; add `base_url: ...`")
    for index, dialect in enumerate(section.dialects or ()):
        if dialect not in urls:
            setting = "messages_url" if dialect == "messages" else "base_url"
            subject.wrong((*path, "dialects", index), f"has no URL; add `{setting}: ...`")


def _check_key(subject: Checked, path: Path, section: ProviderSection, kind: Kind) -> None:
    if kind.needs_key and section.api_key is None and at_home(section, kind) and subject.intact(*path):
        variable = f", or set {kind.env_key}" if kind.env_key else ""
        subject.wrong((*path, "api_key"), f"is missing; add `api_key: ...`{variable}")


def _check_ca_file(subject: Checked, path: Path, section: ProviderSection) -> None:
    if section.ca_file and not (subject.directory / section.ca_file).is_file():
        subject.wrong((*path, "ca_file"), "names no file; paths start at the config file's directory")


def _check_price_book(subject: Checked, path: Path, section: ProviderSection) -> None:
    known = price_books()
    if section.price_book and section.price_book not in known:
        what = f"is no price book; there is {', '.join(known)}{nearest(section.price_book, known)}"
        subject.wrong((*path, "price_book"), what)


def _check_simulation(subject: Checked, path: Path, section: ProviderSection, kind: Kind) -> None:
    if section.simulate is not None and kind.name != SIMULATED and subject.intact(*path):
        subject.wrong((*path, "simulate"), f"is for `kind: {SIMULATED}`; remove it")


def _check_centre(subject: Checked, path: Path, section: ProviderSection, kind: Kind) -> None:
    if not subject.intact(*path):
        return
    if section.sync is not None and not kind.charged_elsewhere:
        subject.wrong((*path, "sync"), "is for `kind: penstock`; remove it")
    if kind.charged_elsewhere and section.api_key is None and not at_home(section, kind):
        subject.wrong((*path, "api_key"), "is missing; create a key at the centre and name it in its `server.edges`")


def _check_balance(subject: Checked, path: Path, section: ProviderSection, kind: Kind) -> None:
    if section.balance is None or not subject.intact(*path):
        return
    telling = ", ".join(sorted(each.name for each in subject.kinds.values() if each.balance_path))
    if not kind.balance_path:
        subject.wrong((*path, "balance"), f"is for kinds that tell what an account holds: {telling}; remove it")
    elif "chat" not in base_urls(section, kind):
        subject.wrong((*path, "balance"), "is asked below the URL for chat, and there is none; remove it")


def _check_money(subject: Checked) -> None:
    book, fx = subject.file.currency, rates(subject.file)
    if not subject.intact("currency") or not subject.intact("fx"):
        return
    if book in fx:
        subject.wrong(("fx", book), "is the book currency itself; remove it")
    for path, section, kind in subject.providers():
        currency = billing_currency(section, kind, book)
        if is_priced(section, kind) and currency != book and currency not in fx and subject.intact(*path):
            what = (
                f"bills in {currency}, and the book is in {book}; add `fx: {{{currency}: ...}}`, {book} per {currency}"
            )
            subject.wrong(path, what)


def rates(file: File) -> Mapping[str, Decimal]:
    """The exchange rates, written or default."""
    if file.fx is not None:
        return file.fx
    return DEFAULT_FX if file.currency == "CNY" else {}


def _check_offer(subject: Checked) -> None:
    providers = subject.file.providers
    known = all(section.kind in subject.kinds for section in providers.values())
    if any(kind.charged_elsewhere for _, _, kind in subject.providers()):
        return  # what a centre offers is known when it is asked
    if known and not subject.file.models and subject.intact("models") and subject.intact("providers"):
        what = f"is missing, and {', '.join(providers)} has no default models; name what clients may ask for"
        subject.wrong(("models",), what)


def _check_deployments(subject: Checked, name: str, model: ModelSection) -> None:
    path = ("models", name, "deployments")
    known = subject.named("providers", subject.file.providers)
    seen: dict[str, int] = {}
    for deployment in model.deployments:
        if deployment.provider not in known:
            what = f"names no provider; there is {', '.join(known)}{nearest(deployment.provider, known)}"
            subject.wrong((*deployment.place, "provider"), what)
        place = int(deployment.place[-1]) if deployment.place else 0
        first = seen.setdefault(f"{deployment.provider}/{deployment.model or name}", place)
        if first != place:
            subject.wrong(deployment.place, f"is the same as deployments[{first}]; raise that one's weight instead")
    if subject.intact(*path) and not model.deployments:
        subject.wrong(path, "lists nothing; add one, such as {provider: ..., model: ...}")
    elif subject.intact(*path) and not any(deployment.weight for deployment in model.deployments):
        subject.wrong(path, "all have weight 0, so none would serve; give one a weight of 1")


def _check_baseline(subject: Checked, name: str, model: ModelSection) -> None:
    ids = [f"{deployment.provider}/{deployment.model or name}" for deployment in model.deployments]
    if model.baseline is not None and model.baseline not in ids and subject.intact("models", name, "deployments"):
        what = f"names none of its deployments; there is {', '.join(ids)}{nearest(model.baseline, tuple(ids))}"
        subject.wrong(("models", name, "baseline"), what)


def _check_aliases(subject: Checked) -> None:
    models = subject.named("models", subject.file.models)
    owners: dict[str, str] = {}
    for name, model in subject.file.models.items():
        for alias, fields in model.aliases.items():
            path = ("models", name, "aliases", alias)
            owner = owners.setdefault(alias, name)
            if alias in models:
                subject.wrong(path, "is the name of a model too; rename one of them")
            elif owner != name:
                subject.wrong(path, f"is an alias of {owner} already; remove one of them")
            for field in _RESERVED:
                if field in fields:
                    subject.wrong((*path, field), "is the client's to set; an alias may not set it; remove it")


def _check_static_keys(subject: Checked) -> None:
    known = subject.served_names()
    names: dict[str, int] = {}
    digests: dict[str, int] = {}
    for key in subject.file.keys:
        place = int(key.place[-1])
        if names.setdefault(key.name, place) != place:
            subject.wrong((*key.place, "name"), f"is the name of keys[{names[key.name]}] too; rename one of them")
        digest_known = subject.intact(*key.place, "key_sha256")
        if digest_known and digests.setdefault(key.key_sha256, place) != place:
            subject.wrong(
                (*key.place, "key_sha256"), f"is that of keys[{digests[key.key_sha256]}] too; remove one of them"
            )
        for index, model in enumerate(key.models):
            if model not in known and subject.names_all_models():
                what = f"names no model; there is {', '.join(known)}{nearest(model, known)}"
                subject.wrong((*key.place, "models", index), what)


def _check_sensitive(subject: Checked) -> None:
    known = subject.served_names()
    for index, model in enumerate(subject.file.sensitive.models):
        if model not in known and subject.names_all_models():
            what = f"names no model; there is {', '.join(known)}{nearest(model, known)}"
            subject.wrong(("sensitive", "models", index), what)


def _check_budgets(subject: Checked) -> None:
    around = _around(subject)
    names: dict[str, int] = {}
    for section in subject.file.budgets:
        place = int(section.place[-1])
        if names.setdefault(section.name, place) != place:
            what = f"is the name of budgets[{names[section.name]}] too; rename one of them"
            subject.wrong((*section.place, "name"), what)
        check_budget(subject.document, section, around)


def _around(subject: Checked) -> Around:
    money = subject.intact("currency") and subject.intact("fx")
    return Around(
        currency=subject.file.currency,
        fx=rates(subject.file) if money else None,
        models=subject.served_names() if subject.names_all_models() else None,
        steps_down=subject.may_step_down(),
    )


def _check_alerts(subject: Checked) -> None:
    relay, server = subject.file.alerts.relay, subject.file.server
    at = ("alerts", "relay")
    if not is_loopback(relay.listen) and relay.token is None and subject.intact(*at, "token"):
        what = "is reachable from other machines; set alerts.relay.token too, or listen on 127.0.0.1"
        subject.wrong((*at, "listen"), what)
    if relay.listen.port and relay.listen in {server.listen, server.admin_listen}:
        subject.wrong((*at, "listen"), "is an address of the server itself; use another port")
    for name, bot in relay.bots.items():
        if bot.kind == "wecom" and bot.secret is not None:
            subject.wrong(
                (*at, "bots", name, "secret"), "is for DingTalk and Feishu: WeCom's bots do not sign; remove it"
            )
    for index, name in enumerate(subject.file.alerts.digest.bots):
        if name not in relay.bots and subject.intact(*at):
            what = f"is no bot of alerts.relay.bots{nearest(name, tuple(relay.bots))}"
            subject.wrong(("alerts", "digest", "bots", index), what)


def _check_telemetry(subject: Checked) -> None:
    otlp = subject.file.telemetry.otlp or ""
    if otlp.endswith(("/v1", "/v1/traces", "/v1/metrics")):
        subject.wrong(
            ("telemetry", "otlp"), "has the path of a signal, which is added to it; leave `/v1` and what follows out"
        )
