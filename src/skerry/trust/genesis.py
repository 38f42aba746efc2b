"""The first two documents of a cloud, out of keys and names that the caller made. What `init` and `adopt` sign."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from skerry.core.intent import Operator, Policy, Role, Root
from skerry.trust import envelope as dsse
from skerry.trust.checks import ROLE_KINDS
from skerry.trust.documents import sign_document
from skerry.trust.identity import Signer, certificate, sealing_public
from skerry.trust.roles import OPERATORS


def operator(name: str, seed: bytes, sealing_secret: bytes, serial: int) -> Operator:
    """An operator as the root names one. `serial`: of the certificate, 1 to 2**159."""
    der = certificate(seed, name, serial)
    return Operator(
        name=name,
        key=Signer(seed).key,
        sealing=sealing_public(sealing_secret),
        certificate=base64.b64encode(der).decode(),
    )


def first_root(
    root_signers: Sequence[Signer],
    operators: Sequence[Operator],
    *,
    threshold: int = 1,
    policy_threshold: int = 1,
    issued: float,
    expires: float,
) -> bytes:
    """Root 1, signed by all root keys. Its payload's hash is the cloud's id (`cloud_of`)."""
    body = Root(
        keys=tuple(signer.key for signer in root_signers),
        threshold=threshold,
        operators=tuple(operators),
        policy_threshold=policy_threshold,
    )
    return sign_document(root_signers, "", "root", body, version=1, issued=issued, expires=expires)


def cloud_of(first_root: bytes) -> str:
    """The cloud's id: 64 hex digits."""
    return dsse.parse(first_root).hash


def operators_role(keys: Sequence[str], threshold: int = 1) -> Role:
    """All that operators may sign day by day: every path of every kind but root and policy."""
    kinds = tuple(sorted(ROLE_KINDS))
    paths = tuple(f"{kind}/*" for kind in kinds)
    return Role(name=OPERATORS, keys=tuple(keys), threshold=threshold, kinds=kinds, paths=paths)


def ci_role(name: str, key: str, certificate_der: bytes, apps: Sequence[str], *, until: float = 0.0) -> Role:
    """Releases of these apps and nothing else."""
    return Role(
        name=name,
        keys=(key,),
        kinds=("release",),
        paths=tuple(f"release/{app}" for app in apps),
        until=until,
        certificates={key: base64.b64encode(certificate_der).decode()},
    )


def first_policy(signers: Sequence[Signer], cloud: str, *, threshold: int = 1, issued: float, expires: float) -> bytes:
    """Policy 1: one role, of the operators that sign it."""
    body = Policy(roles=(operators_role([signer.key for signer in signers], threshold),))
    return sign_document(signers, cloud, "policy", body, version=1, issued=issued, expires=expires)
