"""What outlives a reload: requests in flight, slots, counters, what is known of deployments."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from penstock.config.settings import DeploymentSettings, Settings
from penstock.core.regions import WELL_FOR_S
from penstock.core.retry import RetryBudget
from penstock.pipeline.first import Firsts
from penstock.pipeline.fleet import Fleet
from penstock.pipeline.gate import Gate
from penstock.pipeline.geography import Geography
from penstock.pipeline.join import Flights
from penstock.pipeline.member import Member
from penstock.pipeline.route import Balancers
from penstock.pipeline.standing import Standings
from penstock.pipeline.teller import Calibrations, Running
from penstock.ports.clock import Clock, Rng
from penstock.ports.providers import Incoming


@dataclass(slots=True)
class Standing:
    """What stages share with those that follow them after a reload."""

    budget: RetryBudget
    gate: Gate
    fleet: Fleet
    geography: Geography
    balancers: Balancers = field(default_factory=dict)
    flights: Flights = field(default_factory=dict)
    firsts: Firsts = field(default_factory=dict)
    keys: Standings = field(default_factory=dict)
    calibrations: Calibrations = field(default_factory=dict)
    running: Running = field(default_factory=dict)

    def adopt(self, settings: Settings) -> None:
        """Go by these from now on."""
        self.budget.share = settings.retry.budget
        self.gate.adopt(settings.limits)
        self.fleet.adopt(settings.limits, deployments(settings))
        self.geography.adopt(settings.regions)

    def members(self, settings: Settings) -> list[Member]:
        """Of the fleet, by the config."""
        return [self.fleet.member(each) for each in deployments(settings)]


def new_standing(
    settings: Settings, clock: Clock, rng: Rng, incoming: Incoming, *, well_for_s: float = WELL_FOR_S
) -> Standing:
    """Of a gateway that has seen nothing yet.

    ``incoming``: what providers sent, on its way to who reads it; ``well_for_s``: how long a region that was out has
    to be well before it is failed back to.
    """
    fleet = Fleet(clock, rng, settings.limits)
    fleet.adopt(settings.limits, deployments(settings))
    return Standing(
        budget=RetryBudget(settings.retry.budget),
        gate=Gate(clock, settings.limits, incoming),
        fleet=fleet,
        geography=Geography(clock, fleet, settings.regions, well_for_s=well_for_s),
    )


def deployments(settings: Settings) -> Iterator[DeploymentSettings]:
    """Of all models."""
    return (each for model in settings.models.values() for each in model.deployments)
