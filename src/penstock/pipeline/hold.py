"""What is held for one attempt: the most it may use and cost, from before its dispatch until it is settled."""

from penstock.config.settings import DeploymentSettings
from penstock.pipeline.accounts import Quote
from penstock.pipeline.treasury import Cost


class Hold:
    """A hold is taken by ``Teller.open`` and ended, once, by ``Teller.settle`` or ``Teller.release``."""

    __slots__ = (
        "at", "attempt_id", "binding", "cap", "cost", "deployment", "most", "output", "prompt", "quote",
    )  # fmt: skip

    def __init__(
        self,
        attempt_id: str,
        deployment: DeploymentSettings,
        *,
        at: float,
        prompt: int,
        output: int,
        quote: Quote | None,
        binding: bool,
    ) -> None:
        """``prompt``, ``output``: tokens held, of all choices together; ``quote`` None = no price is known.

        ``binding``: a hard budget applies, so both are true bounds, and what is cut off is charged in full.
        """
        self.attempt_id = attempt_id
        self.deployment = deployment
        self.at = at
        """When it was taken, epoch seconds: the dispatch follows at once. It decides the window of every budget."""
        self.prompt = prompt
        self.most = output
        """Output tokens that the caps allow. Less may be held, a slice, to be topped up while the answer streams."""
        self.quote = quote
        self.binding = binding
        self.cap: int | None = None
        """What to send as the output cap of each choice; None = leave the request as it is."""
        self.resize(output)

    def resize(self, output: int) -> None:
        """Hold another output."""
        self.output = output
        self.cost = self.cost_of(output)

    def cost_of(self, output: int) -> Cost:
        """What all of it comes to with that output."""
        nano = None if self.quote is None else self.quote.nano(self.prompt, output)
        return Cost(nano, self.prompt + output)
