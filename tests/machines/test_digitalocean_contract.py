"""DigitalOcean through the suite that all providers pass, against its simulator: without sockets, at the provider's own pace."""

from __future__ import annotations

import pytest

from machines.ocean import Sea
from machines.provider_contract import ProviderContract, Trial


class TestDigitalOcean(ProviderContract):
    @pytest.fixture
    def trial(self) -> Trial:
        sea = Sea()
        return Trial(
            sea.provider,
            size="s-1vcpu-1gb",
            image="debian-12-x64",
            other_size="s-1vcpu-2gb",
            region="ams3",
            limit_s=600.0,
            pause=lambda seconds: sea.clock.pause(max(1.0, seconds)),  # more often than that is over the limit
            now=sea.clock,
        )
