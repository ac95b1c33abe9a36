"""What is held for one attempt: the most it may use and cost, from before its dispatch until it is settled."""

from dataclasses import dataclass

from penstock.config.settings import DeploymentSettings
from penstock.pipeline.accounts import Quote
from penstock.pipeline.treasury import Cost


@dataclass(slots=True)
class Hold:
    """A hold is taken by ``Teller.open`` and ended, once, by ``Teller.settle`` or ``Teller.release``."""

    attempt_id: str
    deployment: DeploymentSettings
    at: float
    """When it was taken, epoch seconds: the dispatch follows at once. It decides the window of every budget."""
    prompt: int
    output: int
    """Tokens held, of all choices together."""
    most: int
    """Output tokens that the caps allow: what a slice may grow to."""
    cap: int | None
    """What to send as the output cap of each choice; None = leave the request as it is."""
    quote: Quote | None
    binding: bool
    """A hard budget applies: ``prompt`` and ``output`` are true bounds, and what is cut off is charged in full."""
    sliced: bool = False
    """``output`` is a slice, to be topped up while the answer streams."""

    @property
    def cost(self) -> Cost:
        """All of it."""
        return self.cost_of(self.output)

    def cost_of(self, output: int) -> Cost:
        """With another output."""
        nano = None if self.quote is None else self.quote.nano(self.prompt, output)
        return Cost(nano, self.prompt + output)
