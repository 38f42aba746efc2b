"""What every provider has to do (machines/contract.py), as tests: the shared suite.

A provider's own test module makes a class from `ProviderContract` and gives it a fixture `trial`. Waiting is on conditions, by
`Trial.wait`: a provider on a clock of its own passes its own `pause`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec
import pytest

from skerry.core.records import MachineSlot
from skerry.errors import Passing
from skerry.machines.contract import (
    USER_DATA_BYTES,
    NoSuchServer,
    NotOurs,
    Order,
    Provider,
    ProviderRefused,
    Server,
    cloud_tag,
    name_of,
    tags_of,
    uuid_of,
)

Found = TypeVar("Found")
CLOUD = "c0ffee" * 10
HOURS_OF_A_MONTH = 744
NO_SUCH_SIZE = {"size": "no-such-size"}
NO_SUCH_IMAGE = {"image": "no-such-image"}
TOO_LONG = {"user_data": "#" * (USER_DATA_BYTES + 1)}


@dataclass
class Trial:
    """A provider and what to ask of it. `other_size`: what a machine of `size` may become; "": its size can't be changed."""

    provider: Provider
    size: str
    image: str
    other_size: str = ""
    region: str = ""
    limit_s: float = 20.0
    pause: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    made: list[Server] = field(default_factory=list)

    def order(self, index: int = 0, pool: str = "burst", **changes: object) -> Order:
        slot = MachineSlot(pool, index)
        order = Order(
            name=name_of(CLOUD, slot),
            size=self.size,
            region=self.region,
            image=self.image,
            user_data="#cloud-config\n",
            tags=tags_of(CLOUD, pool),
            uuid=uuid_of(CLOUD, slot),
        )
        return msgspec.structs.replace(order, **changes)

    def create(self, order: Order) -> Server:
        """As a keeper does it: what is passing is tried again."""
        server = self.again(lambda: self.provider.create(order))
        self.made.append(server)
        return server

    def again(self, call: Callable[[], Found]) -> Found:
        end_s = self.now() + self.limit_s
        while True:
            try:
                return call()
            except Passing:
                if self.now() > end_s:
                    raise
                self.pause(0.1)

    def wait(self, what: str, condition: Callable[[], Found]) -> Found:
        """Until it is true. Passing errors count as not yet."""
        end_s = self.now() + self.limit_s
        while True:
            try:
                found, why = condition(), ""
            except Passing as error:
                found, why = None, str(error)  # type: ignore[assignment]
            if found:
                return found
            assert self.now() < end_s, f"{what}: not within {self.limit_s:g} s {why}"
            self.pause(0.05)

    def active(self, server: Server) -> Server:
        def is_active() -> Server | None:
            try:
                found = self.provider.get(server.id)
            except NoSuchServer:  # promised, and not there yet
                return None
            return found if found.state == "active" and not found.busy else None

        return self.wait(f"{server.name} to be active", is_active)  # type: ignore[return-value]

    def is_gone(self, server: Server) -> bool:
        try:
            return self.provider.get(server.id).state == "gone"
        except NoSuchServer:
            return server.id not in {other.id for other in self.provider.list(name=server.name)}

    def destroy(self, server: Server) -> None:
        self.again(lambda: self.provider.destroy(server))
        self.wait(f"{server.name} to be gone", lambda: self.is_gone(server))

    def there(self, server: Server) -> Server:
        """As the provider tells it now, tags and all."""
        return self.wait(
            f"{server.name} with its tags",
            lambda: next((s for s in self.provider.list(name=server.name) if s.id == server.id and s.tags), None),
        )  # type: ignore[return-value]


class ProviderContract:
    """Each test by itself leaves nothing behind; whoever subclasses gives the fixture `trial`."""

    @pytest.fixture(autouse=True)
    def _leaves_nothing(self, trial: Trial):  # type: ignore[no-untyped-def]
        yield
        for server in trial.made:
            if not trial.is_gone(server):
                trial.destroy(trial.there(server))
        trial.wait("nothing to be left", lambda: not trial.provider.list(tag=cloud_tag(CLOUD)))

    def test_it_says_what_it_is(self, trial: Trial) -> None:
        provider = trial.provider
        assert provider.name and provider.name == provider.name.lower()
        assert provider.billing.step_s > 0 and provider.billing.least_s >= 0
        assert all(isinstance(line, str) and line for line in [*provider.check(), *provider.least_scopes])

    def test_sizes_have_names_amounts_and_prices(self, trial: Trial) -> None:
        sizes = trial.provider.sizes()
        names = [size.name for size in sizes]
        assert trial.size in names and len(set(names)) == len(names)
        for size in sizes:
            assert size.cpus > 0 and size.memory_bytes >= 64 << 20 and size.disk_bytes >= 0, size
            assert 0 <= size.price_usd_hour <= size.price_usd_month or size.price_usd_month == 0, size
            assert size.price_usd_month <= size.price_usd_hour * HOURS_OF_A_MONTH * 1.01, size
            assert not trial.region or size.name != trial.size or trial.region in size.regions

    def test_a_machine_is_made_found_by_its_very_name_and_given_back(self, trial: Trial) -> None:
        order = trial.order()
        assert trial.provider.list(name=order.name) == []
        made = trial.create(order)
        assert made.id and made.name == order.name
        trial.wait("it to be listed", lambda: [s.id for s in trial.provider.list(name=order.name)] == [made.id])
        assert trial.provider.list(name=order.name[:-1]) == [], "a part of a name is another name"
        assert trial.provider.list(name=order.name + "0") == []
        active = trial.active(made)
        assert (active.id, active.name, active.size) == (made.id, order.name, order.size)
        assert not order.region or active.region == order.region
        assert active.price_usd_hour >= 0 and set(order.tags) <= set(trial.there(made).tags)
        trial.destroy(active)
        assert trial.provider.list(name=order.name) == []
        assert trial.provider.list(tag=order.tags[0]) == []

    def test_given_back_twice_is_given_back(self, trial: Trial) -> None:
        made = trial.create(trial.order())
        there = trial.there(trial.active(made))
        trial.destroy(there)
        trial.again(lambda: trial.provider.destroy(there))
        trial.again(lambda: trial.provider.destroy(there))

    @pytest.mark.parametrize("other", [{"name": "sk-somebody-1"}, {"tags": ("skerry:another",)}])
    def test_another_machine_under_that_id_is_left_alone(self, trial: Trial, other: dict[str, object]) -> None:
        there = trial.there(trial.active(trial.create(trial.order())))
        with pytest.raises(NotOurs):
            trial.provider.destroy(msgspec.structs.replace(there, **other))
        assert trial.provider.get(there.id).state == "active"

    def test_machines_of_a_tag_are_those_of_that_tag(self, trial: Trial) -> None:
        burst, night = trial.create(trial.order(0)), trial.create(trial.order(0, pool="night"))
        cloud, of_burst = tags_of(CLOUD, "burst")
        trial.wait("both", lambda: {s.id for s in trial.provider.list(tag=cloud)} == {burst.id, night.id})
        assert [s.id for s in trial.provider.list(tag=of_burst)] == [burst.id]
        assert trial.provider.list(tag="skerry:nobody") == []
        everything = {s.id for s in trial.provider.list()}
        assert {burst.id, night.id} <= everything

    def test_ordered_twice_it_is_the_same_or_both_can_be_told_apart(self, trial: Trial) -> None:
        order = trial.order()
        first, second = trial.create(order), trial.create(order)
        ids = {first.id, second.id}
        trial.wait("all of that name", lambda: {s.id for s in trial.provider.list(name=order.name)} == ids)
        if len(ids) == 2:
            trial.active(first), trial.active(second)
            trial.destroy(trial.there(second))
            assert [s.id for s in trial.provider.list(name=order.name)] == [first.id]

    @pytest.mark.parametrize("change", [NO_SUCH_SIZE, NO_SUCH_IMAGE, TOO_LONG], ids=lambda change: next(iter(change)))
    def test_an_order_that_can_not_be_filled_is_refused_and_nothing_made(
        self, trial: Trial, change: dict[str, str]
    ) -> None:
        order = trial.order(**change)
        with pytest.raises(ProviderRefused) as caught:
            trial.provider.create(order)
        assert caught.value.what and caught.value.why
        assert trial.provider.list(name=order.name) == []

    def test_user_data_of_the_greatest_length_is_taken(self, trial: Trial) -> None:
        text = "#cloud-config\n# "
        trial.active(trial.create(trial.order(user_data=text + "x" * (USER_DATA_BYTES - len(text)))))

    def test_what_was_given_back_is_known_no_more(self, trial: Trial) -> None:
        there = trial.there(trial.active(trial.create(trial.order())))
        trial.destroy(there)
        calls: list[Callable[[], object]] = [
            lambda: trial.provider.reboot(there),
            lambda: trial.provider.resize(there, trial.other_size or trial.size),
        ]
        for call in calls:
            with pytest.raises(NoSuchServer):
                trial.again(call)

    def test_started_anew_it_is_the_same_machine(self, trial: Trial) -> None:
        there = trial.there(trial.active(trial.create(trial.order())))
        trial.provider.reboot(there)
        assert trial.active(there).id == there.id

    def test_it_gets_another_size(self, trial: Trial) -> None:
        there = trial.there(trial.active(trial.create(trial.order())))
        if trial.other_size:
            trial.again(lambda: trial.provider.resize(there, trial.other_size))
            trial.wait("the other size", lambda: trial.active(there).size == trial.other_size)
        with pytest.raises(ProviderRefused):
            trial.again(lambda: trial.provider.resize(there, "no-such-size"))
        assert trial.active(there).size == (trial.other_size or trial.size)

    def test_made_anew_there_is_one_of_that_name(self, trial: Trial) -> None:
        order = trial.order()
        there = trial.there(trial.active(trial.create(order)))
        anew = trial.again(lambda: trial.provider.rebuild(there, order))
        trial.made.append(anew)
        assert trial.active(anew).name == order.name
        trial.wait("one of that name", lambda: [s.id for s in trial.provider.list(name=order.name)] == [anew.id])
