"""An image's bill of materials as CycloneDX 1.5: every package with version, hash, licence, and which files are its own.

Made of the origin alone, so it is the same at any later time. What is locked but of which no file was kept has the scope
"excluded"; whether the list is complete is said in `compositions`: it is for what was built here, it is not for what others made.
Source: CycloneDX 1.5 JSON reference; package-url, purl-spec.
"""

from __future__ import annotations

import base64
import datetime
import uuid
from typing import Any
from urllib.parse import quote

import skerry
from skerry.image.origin import Origin, Part

SPEC_VERSION = "1.5"
DISTRO = "debian-12"


def sbom(digest: str, name: str, origin: Origin) -> dict[str, Any]:
    """The document as plain values. The same image, name and origin give the same one."""
    when = datetime.datetime.fromtimestamp(origin.when_s, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    components = [_component(part) for part in origin.parts]
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'skerry:{digest}:{when}')}",
        "version": 1,
        "metadata": {
            "timestamp": when,
            "tools": {"components": [{"type": "application", "name": "skerry", "version": skerry.__version__}]},
            "component": {
                "type": "container",
                "bom-ref": digest,
                "name": name or digest,
                "version": digest,
                "hashes": [{"alg": "SHA-256", "content": digest.partition(":")[2]}],
                "properties": [
                    {"name": "skerry:how", "value": origin.how},
                    *([{"name": "skerry:recipe", "value": origin.recipe}] if origin.recipe else []),
                ],
            },
        },
        "components": [*components, *_own(digest, origin)],
        "dependencies": [
            {"ref": digest, "dependsOn": [each["bom-ref"] for each in components if each["scope"] == "required"]}
        ],
        "compositions": [{"aggregate": "complete" if origin.complete else "unknown", "assemblies": [digest]}],
    }


def purl(part: Part) -> str:
    """The package's URL."""
    version = quote(part.version, safe=".-_~")
    if part.ecosystem == "deb":
        architecture = f"&arch={part.architecture}" if part.architecture else ""
        return f"pkg:deb/debian/{quote(part.name, safe='.-_~')}@{version}?distro={DISTRO}{architecture}"
    if part.ecosystem == "apk":
        return f"pkg:apk/alpine/{quote(part.name.lower(), safe='.-_~')}@{version}"
    if part.ecosystem == "npm":
        return f"pkg:npm/{quote(part.name, safe='/.-_~')}@{version}"
    return f"pkg:pypi/{quote(part.name, safe='.-_~')}@{version}"


def _component(part: Part) -> dict[str, Any]:
    url = purl(part)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": url if not part.sha256 else f"{url}#{part.sha256[:12]}",
        "name": part.name,
        "version": part.version,
        "scope": "required" if part.files else "excluded",
        "purl": url,
    }
    if hashes := _hashes(part):
        component["hashes"] = hashes
    if part.licences:
        component["licenses"] = [{"license": {"name": name}} for name in part.licences]
    if part.files:
        component["evidence"] = {"occurrences": [{"location": f"/{path}"} for path in part.files]}
    properties = {"skerry:source": part.source, "skerry:file": part.file}
    if any(properties.values()):
        component["properties"] = [{"name": key, "value": value} for key, value in properties.items() if value]
    return component


def _hashes(part: Part) -> list[dict[str, str]]:
    if part.sha256:
        return [{"alg": "SHA-256", "content": part.sha256}]
    kind, _, text = part.integrity.partition("-")
    try:
        content = base64.b64decode(text, validate=True).hex()
    except ValueError:
        return []
    algorithm = {
        "sha512": ("SHA-512", 128),
        "sha384": ("SHA-384", 96),
        "sha256": ("SHA-256", 64),
        "sha1": ("SHA-1", 40),
    }.get(kind)
    return [{"alg": algorithm[0], "content": content}] if algorithm and len(content) == algorithm[1] else []


def _own(digest: str, origin: Origin) -> list[dict[str, Any]]:
    """The files of no package: the project's, and what the build wrote."""
    if not origin.own:
        return []
    return [
        {
            "type": "application",
            "bom-ref": f"{digest}#own",
            "name": "the project's own files, and files that the build wrote",
            "version": digest,
            "scope": "required",
            "evidence": {"occurrences": [{"location": f"/{path}"} for path in origin.own]},
        }
    ]
