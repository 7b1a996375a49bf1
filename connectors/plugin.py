"""The port of a protocol: what a plugin is given, and where it listens.

A third party's package adds a protocol by subclassing `Plugin` and naming the class in the entry-point group
`barnabas.plugins`. Plugins know the gateway and the live side, and neither Kafka nor Redis.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, ClassVar

from backbone.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from backbone.presence import Present
    from backbone.settings import Settings
    from backbone.telemetry import Readiness
    from connectors.door import Door
    from connectors.gateway import Gateway
    from connectors.letters import Letters
    from connectors.live import Live
    from connectors.schedules import Schedules
    from connectors.uploads import Uploads

GROUP = "barnabas.plugins"


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What plugins may use.

    Attributes:
        gateway: submits, states and cancels.
        schedules: timers that people make.
        letters: what failed for good.
        uploads: what is too large for a payload.
        live: sessions.
        readiness: whether the edge serves.
        who_is_there: the processes that said so within the last seconds; raises StoreUnavailableError.
    """

    settings: Settings
    gateway: Gateway
    schedules: Schedules
    letters: Letters
    uploads: Uploads
    live: Live
    readiness: Readiness
    who_is_there: Callable[[], Awaitable[list[Present]]]


class Plugin(ABC):
    """A protocol of the edge."""

    name: ClassVar[str]

    def __init__(self, services: Services) -> None:
        self.services = services

    @abstractmethod
    def open(self, door: Door) -> None:
        """Put what it serves on the edge's port."""

    async def drain(self) -> None:
        """Tell who is connected that the edge stops; called once, before the port closes."""
        return


def load(services: Services) -> list[Plugin]:
    """Return all plugins that are installed, by name.

    Raises:
        SettingsError: there are none, so the edge would serve nothing.
    """
    found = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    if not found:
        raise SettingsError(
            "no plugin is installed: install the distribution, whose entry points name them", field=GROUP
        )
    plugins: list[type[Plugin]] = [entry.load() for entry in found]
    return [plugin(services) for plugin in plugins]
