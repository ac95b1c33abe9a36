"""What the environment says where the file says nothing: credentials and, without a file, providers.

A kind's key is used only where all calls go to the kind's own origins: a secret is bound to where it belongs.
"""

from collections.abc import Mapping

from penstock.config.document import Document
from penstock.config.endpoints import at_home
from penstock.config.formats import parse_credential
from penstock.config.kinds import Kind
from penstock.config.schema import ProviderSection, ServerSection
from penstock.config.settings import Secret


class Environment:
    """The variables, and the document that mistakes about them are noted in."""

    def __init__(self, environ: Mapping[str, str], document: Document) -> None:
        """``environ``: variable -> value."""
        self._environ = environ
        self._document = document

    def credential(self, variable: str) -> Secret | None:
        """What a variable holds; None when it is unset or blank."""
        text = self._environ.get(variable, "")
        if not text.strip():
            return None
        try:
            return parse_credential(text)
        except ValueError as error:
            self._document.wrong_at(0, (variable,), f"this environment variable {error}")
            return Secret("")  # never used: the mistake ends the loading

    def server(self, section: ServerSection) -> ServerSection:
        """The server's secrets."""
        found = {
            "admin_token": section.admin_token or self.credential("PENSTOCK_ADMIN_TOKEN"),
            "secret": section.secret or self.credential("PENSTOCK_SECRET"),
        }
        return section.model_copy(update=found)

    def provider(self, section: ProviderSection, kinds: Mapping[str, Kind]) -> ProviderSection:
        """A provider's key."""
        kind = kinds.get(section.kind)
        if section.api_key or kind is None or not kind.env_key or not at_home(section, kind):
            return section
        return section.model_copy(update={"api_key": self.credential(kind.env_key)})

    def providers(self, kinds: Mapping[str, Kind]) -> dict[str, ProviderSection]:
        """A provider for each kind whose key is set."""
        return {
            kind.name: ProviderSection.model_construct(kind=kind.name, api_key=self.credential(kind.env_key))
            for kind in self.keyed(kinds)
        }

    def keyed(self, kinds: Mapping[str, Kind]) -> list[Kind]:
        """The kinds whose key is set."""
        return [kind for kind in kinds.values() if self._environ.get(kind.env_key, "").strip()]
