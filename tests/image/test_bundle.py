"""Bundles: small as the edit, exact, and never more than they say. Contents are this Python's own library: real text."""

import hashlib
import os
import random
import sysconfig
import time
import tracemalloc
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.errors import SkerryError
from skerry.image import bundle as b
from skerry.image.bundle import BadBundle, NoBundle, Version, make_bundle, open_bundle
from skerry.image.manifest import Entry, tree_of
from skerry.image.oci import ImageConfig, assemble

CONFIG = ImageConfig(entrypoint=("/usr/bin/app",), env=(("A", "b"),), user="10001:10001")


class Held:
    """Contents by hash, and images made of them."""

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def read(self, hash: str) -> bytes:
        return self.data[hash]

    def version(self, files: dict[str, bytes | str], config: ImageConfig = CONFIG) -> Version:
        entries = []
        for path, data in files.items():
            if isinstance(data, str):
                entries.append(Entry(path, "l", 0o777, link=data))
                continue
            hash = hashlib.sha256(data).hexdigest()
            self.data[hash] = data
            mode = 0o755 if path.startswith("usr/bin/") else 0o644
            entries.append(Entry(path, "f", mode, sha256=hash, size=len(data)))
        image = assemble(tree_of(entries), config, self.read)
        return Version(image.manifest, image.config, image.tree)


def digest_of(version: Version) -> str:
    return "sha256:" + hashlib.sha256(version.manifest).hexdigest()


def opened(data: bytes, old: Version, new: Version, held: Held) -> set[str]:
    """The hashes that the bundle brought; all that it doesn't say to have left out must be there then."""
    got = open_bundle(data, old, digest_of(new), held.read)
    assert got.tree == new.tree
    hashes = set(got.files)
    for patch in got.patches:
        assert hashlib.sha256(patch.apply(held.read(patch.old))).hexdigest() == patch.sha256
        hashes.add(patch.sha256)
    assert {hashlib.sha256(text).hexdigest() for text in (new.manifest, new.config, new.tree.encode())} <= hashes
    return hashes


def library(count: int) -> dict[str, bytes]:
    paths = sorted(p for p in Path(sysconfig.get_paths()["stdlib"]).rglob("*.py") if p.is_file())
    files: dict[str, bytes] = {}
    for n in range(count):
        path = paths[n % len(paths)]
        data = path.read_bytes()
        if n >= len(paths):
            data = b"# %d\n" % n + data[:2000]
        files[f"usr/lib/app/{n // 40}/{n}{path.name}"] = data
    return files


@pytest.fixture(scope="module")
def app() -> tuple[Held, dict[str, bytes], Version]:
    held = Held()
    files = library(3000)
    return held, files, held.version(files)


def one_line(files: dict[str, bytes], size: int) -> dict[str, bytes]:
    """The same app with a line more in the file whose size is nearest to this."""
    path = min(files, key=lambda p: abs(len(files[p]) - size))
    lines = files[path].splitlines(keepends=True)
    lines.insert(len(lines) // 2, b"    limit = 25  # seen in the field: more than that is a mistake\n")
    return {**files, path: b"".join(lines)}


def bound(old: Version, new: Version, held: Held) -> int:
    """The bundle of the notes: tree manifest and new files by zstd -19, dictionary: the old ones of the same paths."""
    before = {entry.path: entry for entry in old.tree.files()}
    changed = [entry for entry in new.tree.files() if before.get(entry.path) != entry]
    known = old.tree.encode() + b"".join(held.read(before[e.path].sha256) for e in changed if e.path in before)
    data = new.tree.encode() + b"".join(held.read(entry.sha256) for entry in changed)
    parameters = zstandard.ZstdCompressionParameters.from_level(
        19, window_log=(len(known) + len(data)).bit_length(), write_checksum=False, write_dict_id=False
    )
    dictionary = zstandard.ZstdCompressionDict(known, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    return len(zstandard.ZstdCompressor(compression_params=parameters, dict_data=dictionary).compress(data))


@pytest.mark.parametrize("size", [800, 26_000, 60_000, 107_000])
def test_a_line_in_an_app_of_3000_files_costs_little_more_than_the_line(app, size):
    held, files, old = app
    new = held.version(one_line(files, size))
    start_s = time.process_time()
    data = make_bundle(old, new, held.read)
    made_s = time.process_time() - start_s
    opened(data, old, new, held)
    took_s = time.process_time() - start_s - made_s
    print(f"{len(data)} B, bound {bound(old, new, held)} B, made in {made_s:.3f} s, opened in {took_s:.3f} s")
    assert len(data) <= 1.2 * bound(old, new, held)
    assert made_s + took_s < 1.0


def rebuilt(data: bytes, seed: int) -> bytes:
    """A binary as a compiler makes it anew: code moved by some bytes, and the addresses all over it changed."""
    chance = random.Random(seed)
    out = bytearray()
    for at in range(0, len(data), 4096):
        block = bytearray(data[at : at + 4096])
        for _ in range(6):
            block[chance.randrange(len(block))] = chance.randrange(256)
        out += block
        if at % (64 * 4096) == 0:
            out += chance.randbytes(24)
    return bytes(out)


def test_a_new_build_of_a_library_costs_a_part_of_it_and_little_memory():
    held = Held()
    binary = b"".join(sorted(Path(zstandard.__file__).parent.glob("*.so"), key=os.fspath)[0].read_bytes() for _ in "1")
    binary = (binary * (7_000_000 // len(binary) + 1))[:7_000_000]
    chance = random.Random(1)
    binary = bytes(a ^ (chance.random() < 0.05) for a in binary)
    old, new = (held.version({"usr/bin/app": data}) for data in (binary, rebuilt(binary, 2)))
    data = make_bundle(old, new, held.read)
    whole = len(zstandard.ZstdCompressor(level=3).compress(held.read(new.tree.entries[-1].sha256)))
    print(f"{len(data)} of {whole} B")
    assert len(data) <= 0.3 * whole
    assert len(opened(data, old, new, held)) == 4


def test_every_kind_of_change_arrives(tmp_path):
    held = Held()
    chance = random.Random(3)
    large, larger = chance.randbytes(300_000), chance.randbytes(2_000_000)
    before = {
        "etc/a": b"one", "etc/b": b"two", "etc/gone": b"away", "etc/link": "a", "etc/turns": b"into a link",
        "usr/bin/app": b"program", "usr/lib/large": large, "usr/lib/x/y": b"deep", "usr/share/same": b"same",
    }  # fmt: skip
    after = {
        "etc/a": b"one\nmore", "etc/b": b"one", "etc/link": "b", "etc/turns": "a", "etc/new": b"new", "etc/twice": b"new",
        "usr/bin/app": b"program", "usr/bin/same": b"same", "usr/lib/large": large[:150_000] + b"!" + large[150_000:],
        "usr/lib/larger": larger, "usr/lib/x": b"was a folder", "usr/share/same": b"same", "usr/share/d/e/f": b"",
    }  # fmt: skip
    old, new = held.version(before), held.version(after, msgspec.structs.replace(CONFIG, working_dir="/srv"))
    data = make_bundle(old, new, held.read)
    brought = opened(data, old, new, held)
    assert set(new.tree.objects()) - brought - set(old.tree.objects()) == {hashlib.sha256(larger).hexdigest()}
    assert len(data) < 1500
    assert opened(make_bundle(old, old, held.read), old, old, held)


FILES = st.dictionaries(
    st.sampled_from(["a", "b/c", "b/d", "usr/bin/e", "usr/f", "g"]),
    st.one_of(st.binary(max_size=30), st.sampled_from(["target", "a"]), st.binary(max_size=9).map(lambda x: x * 9000)),
)


@given(FILES, FILES, st.sampled_from(["/", "/srv"]))
@settings(max_examples=150, deadline=None)
def test_any_version_is_reached_from_any_other(before, after, folder):
    held = Held()
    old = held.version(before)
    new = held.version(after, msgspec.structs.replace(CONFIG, working_dir=folder))
    brought = opened(make_bundle(old, new, held.read), old, new, held)
    assert not set(new.tree.objects()) - brought - set(old.tree.objects())


# What a hostile host might send


@pytest.fixture
def pair() -> tuple[Held, Version, Version, b._Bundle]:
    held = Held()
    large = random.Random(4).randbytes(100_000)
    old = held.version({"a": b"one", "l": large, "z": "a"})
    new = held.version({"a": b"two", "l": b"!" + large, "z": "a"})
    made = msgspec.msgpack.decode(make_bundle(old, new, held.read), type=b._Bundle)
    return held, old, new, made


def sent(bundle: b._Bundle, **other: object) -> bytes:
    return msgspec.msgpack.encode(msgspec.structs.replace(bundle, **other))


def refused(data: bytes, held: Held, old: Version, new: Version) -> str:
    with pytest.raises(SkerryError) as told:
        for patch in open_bundle(data, old, digest_of(new), held.read).patches:
            patch.apply(held.read(patch.old))
    return str(told.value)


def test_a_bundle_to_another_image_is_refused(pair):
    held, old, new, bundle = pair
    other = held.version({"a": b"three", "l": b"", "z": "a"})
    assert "another image" in refused(sent(bundle), held, old, other)
    assert "another image" in refused(make_bundle(old, other, held.read), held, old, new)


def test_a_bundle_that_builds_on_another_old_version_is_refused(pair):
    held, _, new, bundle = pair
    refused(sent(bundle), held, held.version({"a": b"on", "l": bytes(9000), "z": "a"}), new)
    refused(sent(bundle), held, held.version({}), new)


def frame(data: bytes, size: int | None = None) -> bytes:
    """Without its magic number, as in a bundle."""
    compressor = zstandard.ZstdCompressor(write_content_size=size is None).compressobj(size=-1 if size else len(data))
    return (compressor.compress(data) + compressor.flush())[4:]


def test_bombs_are_refused_before_they_go_off(pair):
    held, old, new, bundle = pair
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(1 << 30))[4:]
    tracemalloc.start()
    told = refused(sent(bundle, body=bomb), held, old, new)
    patch = msgspec.structs.replace(bundle.patches[0], frame=bomb)
    told += refused(sent(bundle, patches=(patch,)), held, old, new)
    assert told.count("are allowed") == 2
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    unsaid = frame(bytes(1 << 20), size=1)
    assert refused(sent(bundle, body=unsaid), held, old, new)


def test_places_that_are_not_there_are_refused(pair):
    held, old, new, bundle = pair
    for known in ((3,), (99,), (2,), (b.MAX_ENTRIES,), (0, 0)):
        assert refused(sent(bundle, known=known), held, old, new)
    for index in (2, 3, 99):
        patch = msgspec.structs.replace(bundle.patches[0], index=index)
        assert refused(sent(bundle, patches=(patch,)), held, old, new)
    assert "too large" in refused(
        sent(bundle, patches=(msgspec.structs.replace(bundle.patches[0], size=32 << 20),) * 3), held, old, new
    )


def test_files_that_the_image_has_not_are_refused(pair):
    """Unpacked, hashed and kept they would be a way to fill a disk."""
    held, old, new, bundle = pair
    dictionary = b._dictionary(old, bundle.known, held.read)
    body = msgspec.msgpack.decode(b._unpack(bundle.body, dictionary, 1 << 20), type=b._Body)
    for other in (
        {"contents": (*body.contents, b"more")},
        {"contents": ()},
        {"contents": (b"other",)},
        {"gone": (0,)},
        {"gone": (77,)},
        {"added": (b._Added("a/b", 3),), "contents": (*body.contents, b"more")},
        {"added": (b._Added("../x", 2, "y"),)},
        {"added": (b._Added("a\tb\nl\t777\tc", 2, "y"),)},
        {"layer": bytes(32)},
        {"layer": b""},
        {"manifest": b"{}"},
    ):
        packed = b._pack(msgspec.msgpack.encode(msgspec.structs.replace(body, **other)), dictionary, 3)
        assert refused(sent(bundle, body=packed), held, old, new)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_flipped_byte_is_never_taken_for_the_image(data):
    held = Held()
    large = random.Random(5).randbytes(70_000)
    old, new = held.version({"a": b"one", "l": large}), held.version({"a": b"two", "l": large + b"!", "m": b"x"})
    made = bytearray(make_bundle(old, new, held.read))
    at = data.draw(st.integers(0, len(made) - 1))
    made[at] ^= data.draw(st.integers(1, 255))
    try:
        got = open_bundle(bytes(made), old, digest_of(new), held.read)
        files = {*got.files, *(hashlib.sha256(p.apply(held.read(p.old))).hexdigest() for p in got.patches)}
    except SkerryError:
        return
    assert got.tree == new.tree and not set(new.tree.objects()) - files - set(old.tree.objects())


def test_versions_without_anything_in_common_have_no_bundle():
    held = Held()
    chance = random.Random(6)
    files = {f"f{n}": chance.randbytes(900_000) for n in range(3)}
    with_large = {f"l{n}": chance.randbytes(8_000_000) for n in range(3)}
    anew = {name: chance.randbytes(len(data)) for name, data in with_large.items()}
    old, new = held.version({**files, **with_large}), held.version({**files, **anew})
    with pytest.raises(NoBundle):
        b_bytes = b.BUNDLE_BYTES
        try:
            b.BUNDLE_BYTES = 10 << 20
            make_bundle(old, new, held.read)
        finally:
            b.BUNDLE_BYTES = b_bytes
    with pytest.raises(BadBundle):
        open_bundle(b"", old, digest_of(new), held.read)
